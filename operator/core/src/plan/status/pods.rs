//! What pods say of themselves, as the status asks for it.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

use crate::children::{BROKER_CONTAINER, ROLE_LABEL};
use crate::plan::view::condition;

/// The node that a pod runs on.
pub(super) fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Whether it serves.
pub(super) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
        && pod.metadata.deletion_timestamp.is_none()
}

pub(super) fn is_labelled_master(pod: &Pod) -> bool {
    pod.labels().get(ROLE_LABEL).is_some_and(|role| role == "master")
}

/// Why a pod finds no node, in the words of the scheduler.
pub(super) fn unschedulable(pod: &Pod) -> Option<&str> {
    let (status, message) = condition(pod, "PodScheduled")?;
    (status == "False").then_some(message)
}

/// The broker's container.
pub(super) fn broker(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == BROKER_CONTAINER)
}

/// The last words of a broker that ended: the line in which it says why.
pub(super) fn last_words(broker: &ContainerStatus) -> Option<&str> {
    let ended = [broker.state.as_ref(), broker.last_state.as_ref()];
    let mut messages =
        ended.into_iter().flatten().filter_map(|state| state.terminated.as_ref()?.message.as_deref());
    let said = |line: &&str| line.starts_with("rq-broker: ") || line.starts_with("error: ");
    messages.find_map(|message| message.lines().map(str::trim).rev().find(said))
}

/// What keeps a pod from running its broker: a clause that goes after its name. Nothing in it changes while the pod waits.
pub(super) fn hindrance(pod: &Pod) -> Option<String> {
    let name = pod.name_any();
    if let Some(why) = unschedulable(pod) {
        return Some(format!("finds no node: {why}"));
    }
    let broker = broker(pod)?;
    let state = broker.state.as_ref()?;
    let waiting = state.waiting.as_ref();
    let crashes = || match last_words(broker) {
        Some(words) => format!("ends at its start: {words}"),
        None => format!("has ended and is started again: see `kubectl logs {name} --previous`"),
    };
    match waiting.and_then(|waiting| waiting.reason.as_deref()) {
        Some("CrashLoopBackOff") => Some(crashes()),
        Some("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull") => {
            Some(format!(
                "cannot get its image {}: correct spec.image, or see `kubectl describe pod {name}`",
                broker.image
            ))
        }
        Some("ContainerCreating" | "PodInitializing") | None if state.terminated.is_none() => {
            waiting.map(|_| format!("is being started by its node: see `kubectl describe pod {name}`"))
        }
        Some(reason) => Some(format!("cannot start ({reason}): see `kubectl describe pod {name}`")),
        None => Some(crashes()),
    }
}
