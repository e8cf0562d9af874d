//! What Kubernetes and the brokers do by themselves: the controller of the `StatefulSet`, the kubelet, brokers that keep the
//! rules of the shard, and the failure detector.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSetStatus;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use rq_core::config::{Change, Config, FlushPolicy, Member};
use rq_core::failover::Decision;
use rq_core::hash::crc32c;
use rq_core::ids::{Epoch, Lsn, Session, StoreId};
use rq_overseer::{Disk, First, Seen, Told};
use serde_json::json;

use crate::api::Objects;
use crate::settings::setting;

/// What lies on a volume.
#[derive(Clone)]
pub(crate) struct Store {
    id: StoreId,
    kept: Option<Config>,
}

/// A process.
#[derive(Clone, Default)]
pub(crate) struct Broker {
    /// It has looked at the configuration since it started.
    begun: bool,
    /// As master.
    serves: Option<Epoch>,
    registered: bool,
}

/// The world: what is, and what the operator may still see.
pub(crate) struct Cluster {
    pub(crate) objects: Objects,
    /// Newest first.
    pub(crate) before: Vec<Objects>,
    pub(crate) stores: BTreeMap<String, Store>,
    pub(crate) brokers: BTreeMap<String, Broker>,
    pub(crate) flush: FlushPolicy,
    /// Uids of the pods that the operator deleted.
    pub(crate) taken: BTreeSet<String>,
    pub(crate) second: i64,
}

impl Cluster {
    pub(crate) fn now(&self) -> Time {
        Time(Timestamp::from_second(self.second).unwrap())
    }

    /// One look of the controller of the `StatefulSet`.
    pub(crate) fn stateful_set(&mut self) {
        let Some(set) = self.objects.existing.stateful_set.clone() else { return };
        let spec = set.spec.clone().unwrap();
        let text = serde_json::to_string(&spec.template).unwrap();
        let revision = format!("orders-{:x}", crc32c(text.as_bytes()));
        let now = self.now();
        for ordinal in 0..spec.replicas.unwrap() {
            let name = format!("orders-{ordinal}");
            let number = self.objects.next();
            let claim = format!("data-{name}");
            if !self.objects.claims.contains_key(&claim) {
                let mut made = spec.volume_claim_templates.clone().unwrap().remove(0);
                made.metadata.name = Some(claim.clone());
                self.objects.claims.insert(claim.clone(), made);
                let id = StoreId(u128::from(self.objects.number));
                self.stores.insert(name.clone(), Store { id, kept: None });
            }
            self.objects.pods.entry(name.clone()).or_insert_with(|| {
                let mut pod = Pod {
                    metadata: spec.template.metadata.clone().unwrap(),
                    spec: spec.template.spec.clone(),
                    ..Pod::default()
                };
                pod.metadata.name = Some(name);
                pod.metadata.uid = Some(format!("uid-{number}"));
                pod.metadata.creation_timestamp = Some(now.clone());
                pod.labels_mut().insert("controller-revision-hash".to_owned(), revision.clone());
                pod
            });
        }
        for (name, pod) in &mut self.objects.pods {
            if ordinal(name) >= spec.replicas.unwrap() {
                pod.metadata.deletion_timestamp.get_or_insert(now.clone());
            }
        }
        self.objects.existing.stateful_set.as_mut().unwrap().status = Some(StatefulSetStatus {
            observed_generation: set.metadata.generation,
            update_revision: Some(revision),
            ..StatefulSetStatus::default()
        });
    }

    /// One look of the kubelet at a pod.
    pub(crate) fn kubelet(&mut self, name: &str) {
        let formed = self.objects.config().is_some();
        let Some(pod) = self.objects.pods.get_mut(name) else { return };
        if pod.metadata.deletion_timestamp.is_some() {
            self.objects.pods.remove(name);
            self.brokers.remove(name);
            return;
        }
        let image = pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
        let refuses = setting(pod, "RQ_MAX_BODY").is_some_and(|size| size == "bad");
        let starts = self.objects.certificate.is_some() && !image.contains("bad") && !refuses;
        if starts {
            self.brokers.entry(name.to_owned()).or_default();
        }
        let state = if starts {
            json!({ "running": {} })
        } else {
            let reason = if image.contains("bad") {
                "ImagePullBackOff"
            } else if refuses {
                "CrashLoopBackOff"
            } else {
                "ContainerCreating"
            };
            json!({ "waiting": { "reason": reason } })
        };
        let ready = starts && formed && self.brokers[name].begun;
        pod.status = serde_json::from_value(json!({
            "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
            "containerStatuses": [{
                "name": "broker", "image": image, "imageID": "", "ready": ready, "restartCount": 0, "state": state,
            }],
        }))
        .unwrap();
    }

    /// The process of a broker ends, and its kubelet tells so before it starts it again.
    pub(crate) fn end(&mut self, name: &str) {
        self.brokers.remove(name);
        let Some(status) = self.objects.pods.get_mut(name).and_then(|pod| pod.status.as_mut()) else {
            return;
        };
        for condition in status.conditions.iter_mut().flatten() {
            "False".clone_into(&mut condition.status);
        }
        for container in status.container_statuses.iter_mut().flatten() {
            container.ready = false;
            container.state = serde_json::from_value(json!({ "terminated": { "exitCode": 137 } })).unwrap();
        }
    }

    /// One turn of a broker.
    pub(crate) fn broker(&mut self, name: &str) {
        let (Some(mut broker), Some(config)) = (self.brokers.get(name).cloned(), self.objects.config())
        else {
            return;
        };
        let store = self.stores.get_mut(name).unwrap();
        if store.kept.as_ref().is_some_and(|kept| kept.version > config.version) {
            return; // It knows better.
        }
        let used = store.kept.is_some();
        store.kept = Some(config.clone());
        let id = store.id;
        let member = member(name);
        let mut change = None;
        if config.members.get(&id) != Some(&member) && !broker.registered {
            change = Some(Change::Register { store: id, member });
        } else if config.master == id && broker.serves != Some(config.epoch) {
            if broker.begun || !used {
                broker.serves = Some(config.epoch);
            } else {
                // A restarted master takes a new epoch; it was not away long enough to lose its place.
                change = Some(Change::Promote {
                    to: id,
                    session: SESSION,
                    keep: config.in_sync.keys().copied().collect(),
                });
            }
        } else if config.master == id {
            change = self.of_master(&config);
        }
        broker.begun = true;
        if let Some(change) = change {
            broker.registered |= matches!(change, Change::Register { .. });
            let _ = self.objects.change(&config, &change);
        }
        self.brokers.insert(name.to_owned(), broker);
    }

    /// A silent slave goes out of the set, one that follows comes in.
    fn of_master(&self, config: &Config) -> Option<Change> {
        let by = (config.master, config.epoch);
        let follows = |id: &StoreId| {
            self.brokers.keys().any(|name| {
                let store = &self.stores[name];
                store.id == *id && store.kept.as_ref().is_some_and(|kept| kept.epoch == config.epoch)
            })
        };
        let runs = |id: &StoreId| self.brokers.keys().any(|name| self.stores[name].id == *id);
        if let Some(remove) = config.in_sync.keys().copied().find(|id| !runs(id)) {
            return Some(Change::Shrink { by, remove });
        }
        let add =
            config.members.keys().copied().find(|id| !config.in_sync.contains_key(id) && follows(id))?;
        Some(Change::Expand { by, add, session: SESSION })
    }

    /// What the pods say, as the failure detector has it.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let seen = |name: &String| Seen {
            running: self.brokers.contains_key(name),
            silent_since: None,
            told: self.told(name),
            ..Seen::new(name.clone(), member(name).address)
        };
        self.objects.pods.keys().map(seen).collect()
    }

    fn told(&self, name: &str) -> Option<Told> {
        let (broker, store) = (self.brokers.get(name)?, &self.stores[name]);
        let epoch = store.kept.as_ref().map_or(Epoch(0), |kept| kept.epoch);
        let used = store.kept.is_some();
        Some(Told {
            store: store.id,
            session: SESSION,
            serves: broker.serves == Some(epoch),
            epoch,
            promised: epoch,
            log_epoch: epoch,
            config_version: store.kept.as_ref().map_or(0, |kept| kept.version),
            config: store.kept.clone(),
            end: Lsn(if used { 100 } else { 0 }),
            durable: Lsn(if used { 100 } else { 0 }),
            master_silent_since: None,
            halted: false,
            disk: Disk::default(),
            accepts_messages: true,
            flush_policy: Some(self.flush),
            version: String::new(),
        })
    }

    /// One turn of the failure detector.
    pub(crate) fn detector(&mut self) {
        let Some(shard) = &self.objects.shard else { return };
        let replicas = self.objects.queue.spec.replicas;
        let mut seen = self.seen();
        seen.retain(|seen| ordinal(&seen.name) < replicas);
        let Some(config) = shard.spec.config().unwrap() else {
            for name in (0..replicas).map(|ordinal| format!("orders-{ordinal}")) {
                if seen.iter().all(|seen| seen.name != name) {
                    seen.push(Seen::new(name.clone(), member(&name).address));
                }
            }
            let least = u8::try_from(self.objects.queue.spec.min_in_sync()).unwrap();
            if let Ok(First::Form(config)) = rq_overseer::first(&seen, least) {
                self.objects.write(&config);
            }
            return;
        };
        let all = self.seen();
        if rq_overseer::is_newest(&config, &all).is_err() {
            return;
        }
        // A pod that is gone is proof of its end.
        let mut all = all;
        for member in config.members.values() {
            if all.iter().all(|seen| seen.name != member.name) {
                all.push(Seen::new(member.name.clone(), member.address.clone()));
            }
        }
        let change = match rq_overseer::promotion(&config, &all, 2_000, 1_000_000) {
            Decision::Promote { to, session, keep } => Some(Change::Promote { to, session, keep }),
            _ => rq_overseer::membership(&config, &seen),
        };
        if let Some(change) = change {
            let _ = self.objects.change(&config, &change);
        }
    }

    pub(crate) fn store(&self, pod: &str) -> StoreId {
        self.stores[pod].id
    }

    /// No store knows of another mastership or another set. One that registered itself may know of no more than that.
    pub(crate) fn is_newest(&self, config: &Config) -> bool {
        let same = |kept: &Config| (kept.epoch, &kept.in_sync) == (config.epoch, &config.in_sync);
        // It is older than what is put back, or no member's and of the same mastership.
        let harmless = |id: &StoreId, kept: &Config| {
            kept.version <= config.version || (same(kept) && !config.members.contains_key(id))
        };
        self.stores.values().all(|store| store.kept.as_ref().is_none_or(|kept| harmless(&store.id, kept)))
    }
}

pub(crate) const SESSION: Session = Session(7);

pub(crate) fn ordinal(pod: &str) -> i32 {
    pod.rsplit('-').next().unwrap().parse().unwrap()
}

fn member(name: &str) -> Member {
    Member { name: name.to_owned(), address: format!("10.0.0.{}:8083", ordinal(name)) }
}
