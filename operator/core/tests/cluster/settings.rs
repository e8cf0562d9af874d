//! `spec.config` on its way to the brokers: each has what its pod was made with, whatever happens to it meanwhile.

use std::collections::BTreeMap;

use crate::machines::Cluster;
use crate::operator::Lag;
use crate::steps::{Step, Wish};
use crate::{ROUNDS, new_queue};

impl Cluster {
    /// The size of bodies with which the pod of each broker was made.
    fn sizes(&self) -> BTreeMap<String, String> {
        let pods = self.objects.pods.iter();
        pods.map(|(name, pod)| (name.clone(), setting(pod, "RQ_MAX_BODY").unwrap_or_default())).collect()
    }

    /// The name of the pod that serves as master.
    fn serving(&self) -> String {
        let seen = self.seen();
        let mut serving = seen.iter().filter(|seen| seen.told.as_ref().is_some_and(|told| told.serves));
        serving.next().unwrap().name.clone()
    }

    /// The process of a broker ends, and the operator looks before it is started again.
    fn end_seen(&mut self, name: &str) {
        self.end(name);
        self.operator(Lag::default(), usize::MAX);
    }

    /// A round of everybody, and a look of the operator; the reason of the condition `UpToDate`.
    fn look(&mut self) -> String {
        self.step(&Step::Round);
        let plan = self.operator(Lag::default(), usize::MAX);
        let found = plan.status.conditions.into_iter().find(|found| found.type_ == "UpToDate");
        found.unwrap().reason
    }
}

/// The value of a variable of the broker in this pod.
pub(crate) fn setting(pod: &k8s_openapi::api::core::v1::Pod, name: &str) -> Option<String> {
    let env = pod.spec.as_ref()?.containers[0].env.as_ref()?;
    env.iter().find(|variable| variable.name == name)?.value.clone()
}

#[test]
fn another_setting_is_rolled_out_slaves_first() {
    let mut cluster = Cluster::new(new_queue(3));
    cluster.wish(&Wish::MaxBody("1MiB"));
    cluster.settle();
    let master = cluster.serving();
    cluster.wish(&Wish::MaxBody("2MiB"));
    let mut order = Vec::new();
    for _ in 0..ROUNDS {
        cluster.look();
        let renewed = cluster.sizes().into_iter().filter(|(_, size)| size == "2MiB").map(|(name, _)| name);
        for name in renewed.collect::<Vec<_>>() {
            if !order.contains(&name) {
                order.push(name);
            }
        }
    }
    assert_eq!((order.len(), order.last()), (3, Some(&master)), "{order:?}");
    cluster.settle();
}

#[test]
fn a_setting_that_no_broker_takes_stops_at_the_first_slave_and_never_reaches_the_master() {
    let mut cluster = Cluster::new(new_queue(3));
    cluster.wish(&Wish::MaxBody("1MiB"));
    cluster.settle();
    let master = cluster.serving();
    cluster.wish(&Wish::MaxBody("bad"));
    // Its process ends before and after the rollout has begun, and starts again with what its pod was made with.
    cluster.end_seen(&master);
    let mut told = String::new();
    for nth in 0..ROUNDS {
        told = cluster.look();
        if nth % 20 == 10 {
            let master = cluster.serving();
            cluster.end_seen(&master);
        }
        let bad = cluster.sizes().into_values().filter(|size| size == "bad").count();
        assert!(bad <= 1, "{:?}", cluster.sizes());
    }
    assert_eq!(told, "RolloutFailed");
    let serving = cluster.serving();
    assert_eq!(cluster.sizes()[&serving], "1MiB");
    assert_eq!(cluster.sizes().values().filter(|size| *size == "bad").count(), 1);
    cluster.wish(&Wish::MaxBody("2MiB"));
    cluster.settle();
    assert!(cluster.sizes().values().all(|size| size == "2MiB"), "{:?}", cluster.sizes());
}
