//! One pod of a queue may be moved at a time, and none while a copy is not in sync: a pod is ready before it is. A master that
//! is moved hands its mastership over first.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use super::{metadata, selector};
use crate::queue::ReliableQueue;

/// No pod may be moved now: what is moved could be the only copy in sync.
pub(crate) fn while_behind(mut budget: PodDisruptionBudget) -> PodDisruptionBudget {
    if let Some(spec) = &mut budget.spec {
        spec.max_unavailable = Some(IntOrString::Int(0));
    }
    budget
}

pub(super) fn budget(queue: &ReliableQueue) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(queue, queue.name_any()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector { match_labels: Some(selector(queue)), ..LabelSelector::default() }),
            // A pod that never becomes ready must not keep its node from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
