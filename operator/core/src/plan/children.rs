//! The objects of a queue that are missing or differ, in the order in which they need each other.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use kube::{Resource, ResourceExt as _};
use rq_core::hash::crc32c;
use serde::Serialize;
use serde_json::Value;

use super::differs::differs;
use super::view::View;
use super::{Action, Child, Release, scale, volumes};
use crate::children::Children;
use crate::observed::Observed;

/// Annotation of an object: a number for all that was asked for when it was applied last. What is no longer asked for
/// cannot be told from what the API server filled in; this number can.
pub const APPLIED_ANNOTATION: &str = "reliablequeue.dev/applied";
/// Annotation of a `StatefulSet` whose queue names no image: the one that it runs instead.
const RELEASED_ANNOTATION: &str = "reliablequeue.dev/released-image";

/// Applies of what is missing or differs: first what the `StatefulSet` needs, then that.
pub(super) struct Applies {
    /// All but the `StatefulSet`.
    pub(super) before: Vec<Action>,
    /// The `StatefulSet`.
    pub(super) stateful_set: Option<Action>,
}

pub(super) fn applies(view: &View<'_>) -> Applies {
    let mut queue = view.observed.queue.clone();
    queue.spec.replicas = i32::try_from(scale::pods(view)).unwrap_or(queue.spec.replicas);
    let there = &view.observed.existing;
    let mut wanted = Children::of(&queue, &image(view.observed, view.release));
    if queue.spec.image.is_none() {
        let released = image(view.observed, view.release);
        wanted.stateful_set.annotations_mut().insert(RELEASED_ANNOTATION.to_owned(), released);
    }
    let pod_service = with_address_of(wanted.pod_service, there.pod_service.as_ref());
    let before = [
        apply(wanted.service_account, there.service_account.as_ref(), Child::ServiceAccount),
        apply(wanted.role, there.role.as_ref(), Child::Role),
        apply(wanted.role_binding, there.role_binding.as_ref(), Child::RoleBinding),
        apply(wanted.config_map, there.config_map.as_ref(), Child::ConfigMap),
        apply(pod_service, there.pod_service.as_ref(), Child::Service),
        apply(wanted.service, there.service.as_ref(), Child::Service),
        apply(wanted.disruption_budget, there.disruption_budget.as_ref(), Child::PodDisruptionBudget),
    ];
    let going = there.stateful_set.as_ref().is_some_and(|set| set.metadata.deletion_timestamp.is_some());
    // Pods without a certificate could not start.
    let certificate = view.observed.certificate.as_ref();
    let stateful_set = certificate.filter(|_| !going).and_then(|_| {
        let there = there.stateful_set.as_ref();
        apply(volumes::with_claims_of(wanted.stateful_set, there), there, Child::StatefulSet)
    });
    Applies { before: before.into_iter().flatten().collect(), stateful_set }
}

/// What the pods are to run: what the spec names, or else what the operator was released with when the queue had to do without
/// a name first. A new release of the operator restarts no broker.
pub(super) fn image(observed: &Observed, release: &Release) -> String {
    let there = observed.existing.stateful_set.as_ref();
    let released = there.and_then(|set| set.annotations().get(RELEASED_ANNOTATION));
    let named = observed.queue.spec.image.as_ref();
    named.or(released).unwrap_or(&release.broker_image).clone()
}

/// Applies it where it is missing or differs.
fn apply<K>(mut wanted: K, there: Option<&K>, child: impl FnOnce(K) -> Child) -> Option<Action>
where
    K: Resource + Serialize,
{
    let number = format!("{:08x}", crc32c(json(&wanted).to_string().as_bytes()));
    let annotations: &mut BTreeMap<_, _> = wanted.meta_mut().annotations.get_or_insert_default();
    annotations.insert(APPLIED_ANNOTATION.to_owned(), number);
    let differs = there.is_none_or(|there| differs(&json(&wanted), &json(there)));
    differs.then(|| Action::Apply(Box::new(child(wanted))))
}

/// The address of a Service cannot be changed.
fn with_address_of(mut wanted: Service, there: Option<&Service>) -> Service {
    let there = there.and_then(|there| there.spec.as_ref()?.cluster_ip.clone());
    if let (Some(spec), Some(there)) = (&mut wanted.spec, there) {
        spec.cluster_ip = Some(there);
    }
    wanted
}

/// Objects of Kubernetes have no value that JSON cannot hold.
pub(super) fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Pods that the `StatefulSet` has now.
pub(super) fn replicas_of(set: &StatefulSet) -> Option<u32> {
    set.spec.as_ref()?.replicas.and_then(|replicas| u32::try_from(replicas).ok())
}
