//! The objects of a queue that are missing or differ, in the order in which they need each other. An object that somebody else
//! made is never taken over, and what needs it is not made.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use kube::{Resource, ResourceExt as _};
use rq_core::hash::crc32c;
use serde::Serialize;

use super::differs::{differs, json};
use super::view::View;
use super::{Action, Child, Release, scale, volumes};
use crate::children::{Children, disruption, is_ours};
use crate::observed::Observed;
use crate::queue::ReliableQueue;

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
    /// The first object whose name somebody else has taken. Nothing after it is applied.
    pub(super) taken: Option<Taken>,
}

/// An object that has the name of one of ours, and is not ours: its kind and its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Taken(pub(crate) String);

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
    let mut disruption_budget = wanted.disruption_budget;
    if !may_be_moved(view) {
        disruption_budget = disruption::while_behind(disruption_budget);
    }
    let queue = &view.observed.queue;
    let steps = [
        apply(queue, wanted.service_account, there.service_account.as_ref(), Child::ServiceAccount),
        apply(queue, wanted.role, there.role.as_ref(), Child::Role),
        apply(queue, wanted.role_binding, there.role_binding.as_ref(), Child::RoleBinding),
        apply(queue, pod_service, there.pod_service.as_ref(), Child::Service),
        apply(queue, wanted.service, there.service.as_ref(), Child::Service),
        apply(queue, disruption_budget, there.disruption_budget.as_ref(), Child::PodDisruptionBudget),
    ];
    let mut before = Vec::new();
    for step in steps {
        match step {
            Ok(action) => before.extend(action),
            Err(taken) => return Applies { before, stateful_set: None, taken: Some(taken) },
        }
    }
    let there = there.stateful_set.as_ref();
    let going = there.is_some_and(|set| set.metadata.deletion_timestamp.is_some());
    let set = apply(queue, volumes::with_claims_of(wanted.stateful_set, there), there, Child::StatefulSet);
    // Pods without a certificate could not start.
    let may_start = view.observed.certificate.is_some() && !going;
    match set {
        Ok(set) => Applies { before, stateful_set: set.filter(|_| may_start), taken: None },
        Err(taken) => Applies { before, stateful_set: None, taken: Some(taken) },
    }
}

/// Whether the queue can do without any one of its pods: all copies are in sync, or there is only one, which nothing spares.
fn may_be_moved(view: &View<'_>) -> bool {
    let copies = view.config().map_or(0, |config| config.in_sync.len());
    view.replicas < 2 || u32::try_from(copies).is_ok_and(|copies| copies >= view.replicas)
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
fn apply<K>(
    queue: &ReliableQueue,
    mut wanted: K,
    there: Option<&K>,
    child: impl FnOnce(K) -> Child,
) -> Result<Option<Action>, Taken>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    if there.is_some_and(|there| !is_ours(queue, there)) {
        return Err(Taken(format!("{} {}", K::kind(&()), wanted.name_any())));
    }
    let number = format!("{:08x}", crc32c(json(&wanted).to_string().as_bytes()));
    let annotations: &mut BTreeMap<_, _> = wanted.meta_mut().annotations.get_or_insert_default();
    annotations.insert(APPLIED_ANNOTATION.to_owned(), number);
    let differs = there.is_none_or(|there| differs(&json(&wanted), &json(there)));
    Ok(differs.then(|| Action::Apply(Box::new(child(wanted)))))
}

/// The address of a Service cannot be changed.
fn with_address_of(mut wanted: Service, there: Option<&Service>) -> Service {
    let there = there.and_then(|there| there.spec.as_ref()?.cluster_ip.clone());
    if let (Some(spec), Some(there)) = (&mut wanted.spec, there) {
        spec.cluster_ip = Some(there);
    }
    wanted
}
