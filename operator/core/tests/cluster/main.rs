//! The plan against a Kubernetes in memory: caches lag, the operator dies between any two acts, pods and processes die, the
//! shard is deleted or put back to an older version, the spec changes meanwhile. Nothing unsafe is done on the way, and when
//! that ends, all is as the spec says and nothing more is planned.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod api;
mod machines;
mod operator;
mod settings;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rq_core::config::{FlushMode, FlushPolicy};
use rq_operator_core::observed::Existing;
use rq_operator_core::plan::Plan;
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::queue::spec::{FlushMode as Asked, OnDelete, Reconcile};
use serde_json::json;

use crate::api::Objects;
use crate::machines::Cluster;
use crate::operator::{Lag, planned};
use crate::steps::{Fault, Step, Wish, step};

/// Snapshots that a cache may still show.
const HISTORY: usize = 6;
/// Rounds in which everybody has a turn, after which all must be well.
const ROUNDS: usize = 120;

fn new_queue(replicas: i32) -> ReliableQueue {
    serde_json::from_value(json!({
        "apiVersion": "reliablequeue.dev/v1alpha1",
        "kind": "ReliableQueue",
        "metadata": { "name": "orders", "namespace": "shop", "uid": "7", "generation": 1 },
        "spec": { "replicas": replicas, "storage": { "size": "10Gi" } },
    }))
    .unwrap()
}

impl Cluster {
    fn new(queue: ReliableQueue) -> Self {
        let objects = Objects {
            queue,
            existing: Existing::default(),
            shard: None,
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            certificate: None,
            number: 0,
        };
        Self {
            objects,
            before: Vec::new(),
            stores: BTreeMap::new(),
            brokers: BTreeMap::new(),
            flush: FlushPolicy::default(),
            taken: BTreeSet::new(),
            second: 1_700_000_000,
        }
    }

    fn step(&mut self, step: &Step) {
        self.second += 1;
        self.before.insert(0, self.objects.clone());
        self.before.truncate(HISTORY);
        let pod = |ordinal: &i32| format!("orders-{ordinal}");
        match step {
            Step::Operator { lag, acts } => {
                self.operator(*lag, *acts);
            }
            Step::StatefulSet => self.stateful_set(),
            Step::Kubelet(ordinal) => self.kubelet(&pod(ordinal)),
            Step::Broker(ordinal) => self.broker(&pod(ordinal)),
            Step::Detector => self.detector(),
            Step::Round => self.round(),
            Step::User(wish) => self.wish(wish),
            Step::Fault(fault) => self.fault(fault),
        }
    }

    /// Everybody has a turn.
    fn round(&mut self) {
        self.stateful_set();
        for name in self.objects.pods.keys().cloned().collect::<Vec<_>>() {
            self.kubelet(&name);
            self.broker(&name);
        }
        self.detector();
    }

    fn wish(&mut self, wish: &Wish) {
        let spec = &mut self.objects.queue.spec;
        match wish {
            Wish::Replicas(replicas) => spec.replicas = *replicas,
            Wish::MinInSync(copies) => spec.replication.min_in_sync = *copies,
            Wish::Cpu(cores) => {
                let limits = json!({ "limits": { "cpu": format!("{}m", u32::from(*cores) * 1000 + 1000) } });
                spec.resources = serde_json::from_value(limits).unwrap();
            }
            Wish::Flush(sync) => spec.flush_mode = if *sync { Asked::Sync } else { Asked::Async },
            Wish::Image(image) => spec.image = Some((*image).to_owned()),
            Wish::OnDelete(delete) => {
                spec.storage.on_delete = if *delete { OnDelete::Delete } else { OnDelete::Retain }
            }
            Wish::Grow => {
                let gib = spec.storage.size.bytes().unwrap() >> 30;
                spec.storage.size.0 = format!("{}Gi", gib + 5);
            }
            Wish::Paused(paused) => {
                spec.reconcile = if *paused { Reconcile::Paused } else { Reconcile::Active }
            }
            Wish::MaxBody(size) => {
                spec.config.insert("max-body".to_owned(), (*size).to_owned());
            }
        }
        // The API server lets no number through that could never be reached.
        spec.replication.min_in_sync = spec.replication.min_in_sync.map(|copies| copies.min(spec.replicas));
        *self.objects.queue.metadata.generation.as_mut().unwrap() += 1;
    }

    fn fault(&mut self, fault: &Fault) {
        match fault {
            Fault::PodDeleted(ordinal) => {
                let now = self.now();
                if let Some(pod) = self.objects.pods.get_mut(&format!("orders-{ordinal}")) {
                    pod.metadata.deletion_timestamp.get_or_insert(now);
                }
            }
            Fault::ProcessKilled(ordinal) => {
                self.end(&format!("orders-{ordinal}"));
            }
            Fault::ShardDeleted => self.objects.shard = None,
            Fault::ShardPutBack(lag) => {
                let old = self.before.get(*lag).and_then(Objects::config);
                if let (Some(old), true) = (old, self.objects.shard.is_some()) {
                    self.objects.write(&old);
                }
            }
            Fault::Days(days) => self.second += days * 86_400,
        }
    }

    /// What is not as the spec says; none if all is.
    fn amiss(&self) -> Option<String> {
        let spec = &self.objects.queue.spec;
        let Some(config) = self.objects.config() else { return Some("no configuration".to_owned()) };
        let set = self.objects.existing.stateful_set.clone()?;
        let revision = set.status.and_then(|status| status.update_revision).unwrap_or_default();
        let outdated = self
            .objects
            .pods
            .values()
            .any(|pod| pod.metadata.labels.as_ref().unwrap()["controller-revision-hash"] != revision);
        let replicas = usize::try_from(spec.replicas).unwrap();
        let image = spec.image.as_deref().unwrap_or("broker:1");
        let template = set.spec.unwrap();
        let mode = match spec.flush_mode {
            Asked::Sync => FlushMode::Sync,
            Asked::Async => FlushMode::Async,
        };
        let size = |claim: &k8s_openapi::api::core::v1::PersistentVolumeClaim| {
            claim.spec.clone().unwrap().resources.unwrap().requests.unwrap()["storage"].0.clone()
        };
        let checks = [
            (self.objects.pods.len() == replicas, "pods"),
            (!outdated, "revisions"),
            (template.template.spec.unwrap().containers[0].image.as_deref() == Some(image), "image"),
            (config.in_sync.len() == replicas && config.members.len() == replicas, "copies"),
            (i32::from(config.min_in_sync) == spec.min_in_sync(), "minInSync"),
            (config.flush_mode == mode && self.flush.mode == mode, "flushMode"),
            (self.objects.claims.values().all(|claim| size(claim) == spec.storage.size.0), "volumes"),
            (
                size(&template.volume_claim_templates.unwrap()[0]) == spec.storage.size.0,
                "template of volumes",
            ),
            (
                self.objects.shard.as_ref().unwrap().metadata.owner_references.is_some()
                    == (spec.storage.on_delete == OnDelete::Delete),
                "owner",
            ),
        ];
        checks.iter().find(|(well, _)| !well).map(|(_, what)| format!("{what}: {config:#?}"))
    }

    /// Nothing disturbs any more: it must come to rest, as the spec says.
    fn settle(&mut self) -> Plan {
        for _ in 0..ROUNDS {
            self.step(&Step::Round);
            let plan = self.operator(Lag::default(), usize::MAX);
            if plan.actions.is_empty() && self.amiss().is_none() {
                return plan;
            }
        }
        let plan = planned(&self.observe(Lag::default()));
        panic!("it does not come to rest: {:?}\nplanned: {plan:#?}", self.amiss());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_on_the_way_a_queue_comes_to_rest_as_its_spec_says(
        replicas in 1..=5_i32,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut cluster = Cluster::new(new_queue(replicas));
        for step in &steps {
            cluster.step(step);
        }
        cluster.wish(&Wish::Paused(false));
        if cluster.objects.queue.spec.image.as_deref() == Some("bad") {
            cluster.wish(&Wish::Image("good:3"));
        }
        if cluster.objects.queue.spec.config.get("max-body").is_some_and(|size| size == "bad") {
            cluster.wish(&Wish::MaxBody("3MiB"));
        }
        cluster.settle();
        // At rest nothing is planned, whatever cache lags.
        for lag in 0..HISTORY {
            cluster.step(&Step::Round);
            let lag = Lag { queue: lag, existing: lag, shard: lag, pods: lag, claims: lag, certificate: lag };
            let _ = cluster.operator(lag, 0);
        }
        cluster.step(&Step::Round);
        prop_assert_eq!(planned(&cluster.observe(Lag::default())).actions, vec![]);
    }
}

#[test]
fn a_new_queue_comes_up() {
    let mut cluster = Cluster::new(new_queue(3));
    let plan = cluster.settle();
    assert_eq!((plan.status.epoch, plan.status.in_sync.len()), (Some(1), 3));
}
