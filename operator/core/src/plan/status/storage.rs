//! Whether the volumes have room, and the size that was asked for.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;

use crate::conditions::ConditionType::StorageHealthy;
use crate::conditions::{Finding, Reason};
use crate::quantity;
use crate::units::Size;

use super::shown::Shown;
use super::{fails, holds};

/// A volume is nearly full from here on, in percent.
const NEARLY_FULL_PERCENT: u64 = 85;

pub(super) fn healthy(shown: &Shown<'_>) -> Finding {
    let refuses =
        shown.serving().and_then(|master| shown.told(master)).is_some_and(|told| !told.accepts_messages);
    let full = crowded(shown);
    let remedy = "raise storage.size, or have consumer groups read what they owe: `rq status` names those that hold most";
    if refuses {
        let message = format!("{} too full for new messages: {remedy}", of_volumes(&full));
        return fails(StorageHealthy, Reason::Full, message);
    }
    let size = &shown.observed.queue.spec.storage.size;
    let grows = claims(shown).into_iter().filter_map(|claim| Some((claim, growth(claim, size)?)));
    let growing: Vec<_> = grows.collect();
    if let Some((_, (reason, why))) = growing.iter().find(|(_, (reason, _))| *reason == Reason::ResizeFailed)
    {
        return fails(StorageHealthy, *reason, why.clone());
    }
    if !full.is_empty() {
        let message = format!("{} more than {NEARLY_FULL_PERCENT} % full: {remedy}", of_volumes(&full));
        return fails(StorageHealthy, Reason::NearFull, message);
    }
    match growing.into_iter().next() {
        Some((_, (reason, why))) => fails(StorageHealthy, reason, why),
        None => holds(StorageHealthy, format!("the volumes have room, and {} each", size.0)),
    }
}

/// The replicas whose volumes are nearly full.
fn crowded<'v>(shown: &'v Shown<'_>) -> Vec<&'v str> {
    let is_crowded = |name: &&String| {
        shown.told(name).is_some_and(|told| {
            let used = told.disk.total_bytes.saturating_sub(told.disk.free_bytes);
            used > 0 && used.saturating_mul(100) >= told.disk.total_bytes.saturating_mul(NEARLY_FULL_PERCENT)
        })
    };
    shown.wanted.iter().filter(is_crowded).map(String::as_str).collect()
}

fn of_volumes(names: &[&str]) -> String {
    match names {
        [] => "a volume is".to_owned(),
        [one] => format!("the volume of {one} is"),
        several => format!("the volumes of {} are", several.join(", ")),
    }
}

/// Those of the pods that there should be. Others stay for a replica that may come back.
fn claims<'o>(shown: &Shown<'o>) -> Vec<&'o PersistentVolumeClaim> {
    let is_wanted = |claim: &&PersistentVolumeClaim| {
        shown.wanted.iter().any(|pod| {
            claim.name_any().strip_suffix(pod.as_str()).is_some_and(|volume| volume.ends_with('-'))
        })
    };
    let mut claims: Vec<_> = shown.observed.volumes.iter().filter(is_wanted).collect();
    claims.sort_by_key(|claim| claim.name_any());
    claims
}

/// What a volume lacks to the size that is wanted; none if it has it, or has never had any.
fn growth(claim: &PersistentVolumeClaim, size: &Size) -> Option<(Reason, String)> {
    let name = claim.name_any();
    let wanted = size.bytes().ok()?;
    let status = claim.status.as_ref()?;
    let has = quantity::bytes(&status.capacity.as_ref()?.get("storage")?.0)?;
    if has >= wanted {
        return None;
    }
    let condition = |type_: &str| {
        let conditions = status.conditions.iter().flatten();
        conditions.into_iter().find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    let refused = ["ControllerResizeError", "NodeResizeError"].iter().find_map(|type_| condition(type_));
    let infeasible =
        status.allocated_resource_statuses.iter().flatten().any(|(_, status)| status.ends_with("Infeasible"));
    if refused.is_some() || infeasible {
        let why = refused
            .and_then(|condition| condition.message.as_deref())
            .unwrap_or("the storage refuses that size");
        return Some((
            Reason::ResizeFailed,
            format!(
                "the volume {name} could not grow to {}: {why}; see `kubectl describe pvc {name}`",
                size.0
            ),
        ));
    }
    let why = if condition("FileSystemResizePending").is_some() {
        "its file system grows when its pod is started anew"
    } else if condition("Resizing").is_some() {
        "its storage is making it larger"
    } else {
        "if it stays so, its storage class allows no growth (allowVolumeExpansion)"
    };
    Some((Reason::ResizePending, format!("the volume {name} is to grow to {}: {why}", size.0)))
}
