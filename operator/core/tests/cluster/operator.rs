//! The operator of the test: looks with caches that lag, each by its own, plans, and carries out as much as it lives for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};
use rq_core::config::{Change, FlushMode};
use rq_operator_core::observed::{CertificateSeen, Observed};
use rq_operator_core::plan::{Action, Plan, Release, plan};
use rq_operator_core::shard::{QueueShard, QueueShardSpec};
use rq_overseer::{Seen, Told};

use crate::api::{Objects, Refused, same_version};
use crate::machines::{Cluster, SESSION};

const DAY: i64 = 86_400;

/// How far each cache lags, in steps.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Lag {
    pub(crate) queue: usize,
    pub(crate) existing: usize,
    pub(crate) shard: usize,
    pub(crate) pods: usize,
    pub(crate) claims: usize,
    pub(crate) certificate: usize,
}

impl Cluster {
    pub(crate) fn observe(&self, lag: Lag) -> Observed {
        let at = |lag: usize| -> &Objects {
            if lag == 0 {
                &self.objects
            } else {
                self.before.get(lag - 1).or(self.before.last()).unwrap_or(&self.objects)
            }
        };
        Observed {
            queue: at(lag.queue).queue.clone(),
            existing: at(lag.existing).existing.clone(),
            shard: at(lag.shard).shard.clone(),
            pods: at(lag.pods).pods.values().rev().cloned().collect(),
            volumes: at(lag.claims).claims.values().cloned().collect(),
            nodes: BTreeMap::new(),
            certificate: at(lag.certificate).certificate.clone(),
            replicas: self.seen(),
            trouble: None,
            failover: None,
            now_ms: 1_000_000,
            now: self.now(),
        }
    }

    /// One look, and so many acts of what it planned.
    pub(crate) fn operator(&mut self, lag: Lag, acts: usize) -> Plan {
        let observed = self.observe(lag);
        let plan = planned(&observed);
        for action in plan.actions.iter().take(acts) {
            if self.act(&observed, action).is_err() {
                break;
            }
        }
        plan
    }

    fn act(&mut self, observed: &Observed, action: &Action) -> Result<(), Refused> {
        let seen = observed.shard.as_ref();
        let same_shard = same_version(seen, self.objects.shard.as_ref());
        match action {
            Action::IssueCertificate => self.issue(),
            Action::Apply(child) => self.objects.apply(child)?,
            Action::CreateShard { owned } => {
                if self.objects.shard.is_some() {
                    return Err(Refused);
                }
                self.create(QueueShardSpec::unformed(), *owned);
            }
            Action::OwnShard { owned } => {
                let owners = self.owners(*owned);
                let version = self.objects.next();
                let shard = self.objects.shard.as_mut().filter(|_| same_shard).ok_or(Refused)?;
                shard.metadata.owner_references = owners;
                shard.metadata.resource_version = Some(version);
            }
            Action::Rebuild { config, owned } => {
                if !same_shard {
                    return Err(Refused);
                }
                assert!(self.is_newest(config), "a store knows a newer configuration than the one put back");
                self.create(config.into(), *owned);
            }
            Action::Write(change) => {
                let config = seen.and_then(|shard| shard.spec.config().unwrap()).filter(|_| same_shard);
                self.check_write(change);
                self.objects.change(&config.ok_or(Refused)?, change)?;
            }
            Action::SetFlushMode(policy) => self.set_flush(policy.mode).map(|()| self.flush = *policy)?,
            Action::HandOver { to, .. } => {
                let config = self.objects.config().ok_or(Refused)?;
                let keep = config.in_sync.keys().copied().collect();
                self.objects.change(&config, &Change::Promote { to: *to, session: SESSION, keep })?;
            }
            Action::DeletePod { name, uid } => self.delete(name, uid)?,
            Action::ResizeVolume { name, size } => {
                let claim = self.objects.claims.get_mut(name).ok_or(Refused)?;
                let requests =
                    claim.spec.as_mut().unwrap().resources.as_mut().unwrap().requests.as_mut().unwrap();
                let gib = |size: &str| size.trim_end_matches("Gi").parse::<u32>().unwrap();
                if gib(size) < gib(&requests["storage"].0) {
                    return Err(Refused);
                }
                requests.insert("storage".to_owned(), Quantity(size.clone()));
            }
            Action::OrphanStatefulSet => {
                let uid = observed.existing.stateful_set.as_ref().and_then(kube::ResourceExt::uid);
                if self.objects.existing.stateful_set.as_ref().and_then(kube::ResourceExt::uid) != uid {
                    return Err(Refused);
                }
                self.objects.existing.stateful_set = None;
            }
        }
        Ok(())
    }

    fn issue(&mut self) {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        self.objects.certificate = Some(CertificateSeen {
            not_before: at(self.second),
            not_after: at(self.second + 90 * DAY),
            authority_ends: at(self.second + 3_650 * DAY),
        });
    }

    fn owners(&self, owned: bool) -> Option<Vec<OwnerReference>> {
        owned.then(|| vec![self.objects.queue.controller_owner_ref(&()).unwrap()])
    }

    fn create(&mut self, spec: QueueShardSpec, owned: bool) {
        let mut shard = QueueShard::new(&self.objects.queue.name_any(), spec);
        shard.metadata.owner_references = self.owners(owned);
        shard.metadata.resource_version = Some(self.objects.next());
        self.objects.shard = Some(shard);
    }

    /// Nothing that the operator writes by itself takes the last copy away, or one that might have to lead.
    fn check_write(&self, change: &Change) {
        let (Change::Remove { store }, Some(config)) = (change, self.objects.config()) else { return };
        if config.in_sync.contains_key(store) {
            assert!(config.in_sync.len() > 1, "the last copy");
            let seen = self.seen();
            let leads =
                |told: &Told| told.store == config.master && told.epoch == config.epoch && told.serves;
            assert!(seen.iter().filter_map(Seen::answer).any(leads), "no master serves");
        }
    }

    fn set_flush(&mut self, mode: FlushMode) -> Result<(), Refused> {
        let config = self.objects.config().ok_or(Refused)?;
        self.objects.change(&config, &Change::SetFlushMode { by: (config.master, config.epoch), mode })
    }

    /// A pod that runs is taken away only while no other is away, and never with the only copy.
    fn delete(&mut self, name: &str, uid: &str) -> Result<(), Refused> {
        let now = self.now();
        let pod = self
            .objects
            .pods
            .get(name)
            .filter(|pod| pod.metadata.uid.as_deref() == Some(uid))
            .ok_or(Refused)?;
        if pod.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        if self.brokers.contains_key(name) && self.objects.pods.len() > 1 {
            // What a user deletes at the same moment nobody can know; what its broker says is never old.
            let well = |(name, pod): (&String, &Pod)| {
                self.brokers.contains_key(name) && pod.uid().is_none_or(|uid| !self.taken.contains(&uid))
            };
            let of_set = |config: &rq_core::config::Config| config.in_sync.contains_key(&self.store(name));
            if let Some(config) = self.objects.config().filter(of_set) {
                assert!(config.in_sync.len() > 1, "{name} is the only copy in sync");
                assert!(config.master != self.store(name), "{name} is master");
                assert!(self.objects.pods.iter().all(well), "{name} is taken away while another is away");
            }
        }
        self.taken.insert(uid.to_owned());
        let pod = self.objects.pods.get_mut(name).unwrap();
        pod.metadata.deletion_timestamp = Some(now);
        Ok(())
    }
}

pub(crate) fn planned(observed: &Observed) -> Plan {
    plan(observed, &Release { broker_image: "broker:1".to_owned() })
}
