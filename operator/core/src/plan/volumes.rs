//! Volumes grow when the spec says so. The claims are asked one by one; the template of the `StatefulSet` cannot be changed,
//! so that it is deleted without its pods and made anew. No pod waits for any of that.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;

use super::Action;
use super::differs::{amount, quantity};
use super::view::View;

/// Has each claim grow that is smaller than the spec says; when all were asked, has the `StatefulSet` made anew.
pub(super) fn grow(view: &View<'_>) -> Vec<Action> {
    let size = &view.observed.queue.spec.storage.size.0;
    let Some(wanted) = amount(size) else { return Vec::new() };
    let small =
        view.observed.volumes.iter().filter(|claim| requested(claim).is_some_and(|there| there < wanted));
    let grown: Vec<_> =
        small.map(|claim| Action::ResizeVolume { name: claim.name_any(), size: size.clone() }).collect();
    let template = view.observed.existing.stateful_set.as_ref().and_then(claims).and_then(<[_]>::first);
    let old = template.and_then(requested).is_some_and(|there| there != wanted);
    if grown.is_empty() && old { vec![Action::OrphanStatefulSet] } else { grown }
}

/// The `StatefulSet` with the claims of the one there: they cannot be changed.
pub(super) fn with_claims_of(mut wanted: StatefulSet, there: Option<&StatefulSet>) -> StatefulSet {
    if let (Some(spec), Some(claims)) = (&mut wanted.spec, there.and_then(claims)) {
        spec.volume_claim_templates = Some(claims.to_vec());
    }
    wanted
}

fn claims(set: &StatefulSet) -> Option<&[PersistentVolumeClaim]> {
    set.spec.as_ref()?.volume_claim_templates.as_deref()
}

/// What a claim asks for.
fn requested(claim: &PersistentVolumeClaim) -> Option<i128> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    quantity(requests.get("storage"))
}
