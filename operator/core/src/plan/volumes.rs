//! Volumes grow when the spec says so. The claims are asked one by one; the template of the `StatefulSet` cannot be changed,
//! so that it is deleted without its pods and made anew. No pod waits for any of that.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;

use super::Action;
use super::differs::{differs, json};
use super::view::View;
use crate::quantity;

/// Has each claim grow that is smaller than the spec says; when all were asked, has the `StatefulSet` made anew.
pub(super) fn grow(view: &View<'_>) -> Vec<Action> {
    let size = &view.observed.queue.spec.storage.size.0;
    let Some(wanted) = quantity::thousandths(size) else { return Vec::new() };
    let small =
        view.observed.volumes.iter().filter(|claim| requested(claim).is_some_and(|there| there < wanted));
    let grown: Vec<_> =
        small.map(|claim| Action::ResizeVolume { name: claim.name_any(), size: size.clone() }).collect();
    let set =
        view.observed.existing.stateful_set.as_ref().filter(|set| set.metadata.deletion_timestamp.is_none());
    let template = set.and_then(claims).and_then(<[_]>::first);
    let old = template.and_then(requested).is_some_and(|there| there != wanted);
    if grown.is_empty() && old { vec![Action::OrphanStatefulSet] } else { grown }
}

/// Whether the `StatefulSet` that is there would take its volumes with it.
pub(super) fn go_with_the_queue(view: &View<'_>) -> bool {
    let spec = view.observed.existing.stateful_set.as_ref().and_then(|set| set.spec.as_ref());
    let policy = spec.and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    policy.is_some_and(|policy| policy.when_deleted.as_deref() == Some("Delete"))
}

/// The `StatefulSet` with the claims of the one there: they cannot be changed.
pub(super) fn with_claims_of(mut wanted: StatefulSet, there: Option<&StatefulSet>) -> StatefulSet {
    let (Some(spec), Some(there)) = (&mut wanted.spec, there.and_then(claims)) else { return wanted };
    let mut claims = spec.volume_claim_templates.take().unwrap_or_default();
    for (claim, there) in claims.iter_mut().zip(there) {
        let size = there.spec.as_ref().and_then(|spec| spec.resources.clone());
        if let Some(spec) = &mut claim.spec {
            spec.resources = size;
        }
    }
    let differ = differs(&json(&claims), &json(&there));
    spec.volume_claim_templates = Some(if differ { there.to_vec() } else { claims });
    wanted
}

fn claims(set: &StatefulSet) -> Option<&[PersistentVolumeClaim]> {
    set.spec.as_ref()?.volume_claim_templates.as_deref()
}

/// What a claim asks for, in thousandths of a byte.
fn requested(claim: &PersistentVolumeClaim) -> Option<i128> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    quantity::thousandths(&requests.get("storage")?.0)
}
