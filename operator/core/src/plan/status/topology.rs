//! Whether the copies in sync are spread as the spec asks.

use std::collections::{BTreeMap, BTreeSet};

use crate::conditions::ConditionType::TopologySatisfied;
use crate::conditions::{Finding, Reason};
use crate::queue::scheduling::Spread;

use super::pods::{node, unschedulable};
use super::shown::Shown;
use super::{fails, holds};

pub(super) fn satisfied(shown: &Shown<'_>) -> Finding {
    let homeless = shown.wanted.iter().find_map(|name| Some((name, unschedulable(shown.pod(name)?)?)));
    if let Some((name, why)) = homeless {
        let message = format!(
            "{name} finds no node: {}. Have its node take pods again if it is cordoned, add a node, or loosen scheduling (hostSpread, zoneSpread, nodeSelector, tolerations) or resources",
            why.trim_end_matches('.')
        );
        return fails(TopologySatisfied, Reason::Unschedulable, message);
    }
    let scheduling = &shown.observed.queue.spec.scheduling;
    let mut by_node: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in shown.in_sync() {
        if let Some(node) = shown.pod(name).and_then(node) {
            by_node.entry(node).or_default().push(name);
        }
    }
    let shared = by_node.iter().find(|(_, pods)| pods.len() > 1);
    if let (true, Some((node, pods))) = (scheduling.host_spread != Spread::None, shared) {
        let message = format!(
            "{} share the node {node}, whose loss would take their copies at once: give the cluster another node that takes them, and delete the pod of a slave",
            pods.join(" and ")
        );
        return fails(TopologySatisfied, Reason::SameHost, message);
    }
    let copies: usize = by_node.values().map(Vec::len).sum();
    let zone = |node: &&str| shown.observed.nodes.get(*node).and_then(|seen| seen.zone.as_deref());
    let zones: BTreeSet<_> = by_node.keys().map(zone).collect();
    // A node that names no zone may be anywhere.
    if let (true, [Some(zone)]) = (
        scheduling.zone_spread != Spread::None && copies > 1,
        zones.iter().copied().collect::<Vec<_>>().as_slice(),
    ) {
        let message = format!(
            "all copies in sync are in the zone {zone}: give the cluster nodes in another one, or set scheduling.zoneSpread to None"
        );
        return fails(TopologySatisfied, Reason::SameZone, message);
    }
    holds(TopologySatisfied, "the copies in sync are spread as asked for".to_owned())
}

/// Whether a breach of it is one of what the user demands, not only prefers.
pub(super) fn is_demanded(shown: &Shown<'_>, reason: Reason) -> bool {
    let scheduling = &shown.observed.queue.spec.scheduling;
    match reason {
        Reason::SameHost => scheduling.host_spread == Spread::Required,
        Reason::SameZone => scheduling.zone_spread == Spread::Required,
        _ => true,
    }
}
