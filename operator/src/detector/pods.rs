//! What a pod tells of its broker.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use rq_operator_core::children::BROKER_CONTAINER;
use rq_operator_core::observed::OUT_OF_SERVICE_TAINT;
use rq_operator_core::queue::status::FailoverCause;

use crate::peers;

/// A pod, as far as failures go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct PodSeen {
    /// Which pod of its name.
    pub(super) uid: String,
    /// The container that runs in it, if one does.
    pub(super) container: Option<String>,
    /// Where its broker serves other brokers.
    pub(super) address: Option<String>,
    /// Where it runs.
    pub(super) node: Option<String>,
    /// Its node is surely off.
    pub(super) node_off: bool,
    /// It is being deleted. Until its container ends it lives: it hands over by itself.
    pub(super) terminating: bool,
}

/// A process of a broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Process {
    /// The pod.
    pub(super) uid: String,
    /// The container.
    pub(super) container: String,
    /// Where it serves other brokers.
    pub(super) address: String,
}

impl PodSeen {
    /// What the pod says itself.
    pub(super) fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let containers = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
        let broker =
            containers.filter(|container| container.name == BROKER_CONTAINER).find_map(|container| {
                container.state.as_ref()?.running.as_ref()?;
                // Without an id it was never seen to run.
                container.container_id.clone()
            });
        let ip = status.and_then(|status| status.pod_ip.as_ref()?.parse::<IpAddr>().ok());
        Self {
            uid: pod.uid().unwrap_or_default(),
            container: broker,
            address: ip.map(peers::address),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            node_off: false,
            terminating: pod.metadata.deletion_timestamp.is_some(),
        }
    }

    /// The process in it, if one may run.
    pub(super) fn process(&self) -> Option<Process> {
        let (container, address) = (self.container.clone()?, self.address.clone()?);
        (!self.node_off).then(|| Process { uid: self.uid.clone(), container, address })
    }
}

/// Why a process that ran is gone, with the pod of its name that is there now, if any.
pub(super) fn cause(process: Option<&Process>, now: Option<&PodSeen>) -> FailoverCause {
    let Some(pod) = now.filter(|pod| process.is_none_or(|process| process.uid == pod.uid)) else {
        return FailoverCause::PodDeleted;
    };
    if pod.node_off {
        FailoverCause::NodeOutOfService
    } else if pod.terminating {
        FailoverCause::PodDeleted
    } else {
        FailoverCause::ContainerTerminated
    }
}

/// Whether a node is surely off.
pub(super) fn is_off(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().any(|taint| taint.key == OUT_OF_SERVICE_TAINT)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(state: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "orders-0", "uid": "u1"},
            "spec": {"nodeName": "n1", "containers": []},
            "status": {"podIP": "10.0.0.7", "containerStatuses": [
                {"name": "sidecar", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "containerID": "c0", "state": {"running": {}}},
                {"name": "broker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "containerID": "c1", "state": state},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_broker_runs_while_its_own_container_does() {
        let seen = PodSeen::of(&pod(&json!({"running": {}})));
        let process = seen.process().unwrap();
        assert_eq!((process.uid.as_str(), process.address.as_str()), ("u1", "10.0.0.7:8083"));
        for state in
            [json!({"terminated": {"exitCode": 137}}), json!({"waiting": {"reason": "CrashLoopBackOff"}})]
        {
            assert_eq!(PodSeen::of(&pod(&state)).process(), None, "{state}");
        }
        assert_eq!(PodSeen::of(&Pod::default()).process(), None, "not started yet");
    }

    #[test]
    fn a_pod_that_is_being_deleted_lives_until_its_container_ends() {
        let mut deleted = pod(&json!({"running": {}}));
        deleted.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-11-28T10:00:00Z")).unwrap());
        assert!(PodSeen::of(&deleted).process().is_some());
    }

    #[test]
    fn on_a_node_that_is_off_nothing_runs() {
        let seen = PodSeen { node_off: true, ..PodSeen::of(&pod(&json!({"running": {}}))) };
        assert_eq!(seen.process(), None);
        let node = |taints| {
            serde_json::from_value::<Node>(json!({"metadata": {}, "spec": {"taints": taints}})).unwrap()
        };
        assert!(is_off(&node(json!([{"key": OUT_OF_SERVICE_TAINT, "effect": "NoExecute"}]))));
        assert!(!is_off(&node(json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]))));
    }

    #[test]
    fn the_end_of_a_process_has_a_cause() {
        let running = PodSeen::of(&pod(&json!({"running": {}})));
        let process = running.process();
        let ended = PodSeen { container: None, ..running.clone() };
        let caused = |now: Option<&PodSeen>| cause(process.as_ref(), now);
        assert_eq!(caused(None), FailoverCause::PodDeleted);
        assert_eq!(caused(Some(&ended)), FailoverCause::ContainerTerminated);
        let other = PodSeen { uid: "u2".to_owned(), ..ended.clone() };
        assert_eq!(caused(Some(&other)), FailoverCause::PodDeleted, "another pod of the name");
        let deleted = PodSeen { terminating: true, ..ended.clone() };
        assert_eq!(caused(Some(&deleted)), FailoverCause::PodDeleted);
        let off = PodSeen { node_off: true, ..running };
        assert_eq!(caused(Some(&off)), FailoverCause::NodeOutOfService);
    }
}
