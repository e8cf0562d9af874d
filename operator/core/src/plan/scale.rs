//! How many pods there are. More are made at once; fewer only when the shard knows nothing of those that go: a master
//! among them hands over first, then they are taken out of the configuration, then their pods go.

use k8s_openapi::api::apps::v1::StatefulSet;
use rq_core::config::{Change, Config};
use rq_core::ids::StoreId;

use super::Action;
use super::view::{BrokerPod, ShardState, View, ordinal, traces};

/// Pods that the `StatefulSet` is to have now: those of the spec, or as many as there are while some of them are members.
pub(super) fn pods(view: &View<'_>) -> u32 {
    let there = view.observed.existing.stateful_set.as_ref().and_then(replicas_of);
    let pods =
        |ordinals: &mut dyn Iterator<Item = u32>| ordinals.max().map_or(0, |most| most.saturating_add(1));
    let (held, needed) = match &view.shard {
        ShardState::Formed(config) => {
            let of_set = config.in_sync.keys().filter_map(|store| config.members.get(store));
            (
                pods(&mut config.members.values().filter_map(|member| view.ordinal_of(member))),
                pods(&mut of_set.filter_map(|member| view.ordinal_of(member))),
            )
        }
        // Any replica may know of a configuration: those that left no more than a volume as well.
        ShardState::Unknown | ShardState::Lost | ShardState::Malformed => {
            let traces = traces(view.observed, &view.name);
            let all = pods(&mut traces.iter().filter_map(|pod| ordinal(&view.name, pod)));
            (all, all)
        }
        ShardState::New | ShardState::Unformed => (0, 0),
    };
    let there = there.unwrap_or(held).max(needed);
    if held > view.replicas { there.max(view.replicas) } else { view.replicas }
}

/// Pods that the `StatefulSet` has now.
pub(super) fn replicas_of(set: &StatefulSet) -> Option<u32> {
    set.spec.as_ref()?.replicas.and_then(|replicas| u32::try_from(replicas).ok())
}

/// The next step of a scale-in; none if no member is one too many.
pub(super) fn step(view: &View<'_>) -> Option<Step> {
    let config = view.config()?;
    let leaving: Vec<StoreId> = config
        .members
        .iter()
        .filter(|(_, member)| view.ordinal_of(member).is_some_and(|ordinal| ordinal >= view.replicas))
        .map(|(store, _)| *store)
        .collect();
    if leaving.contains(&config.master) {
        return Some(hand_over(view));
    }
    let leaving = leaving.into_iter().max_by_key(|store| ordinal_of(view, config, *store))?;
    let remove = || Step::Act(Action::Write(Change::Remove { store: leaving }));
    if !config.in_sync.contains_key(&leaving) {
        return Some(remove());
    }
    // Where no master serves it may be the one that must lead, and a copy that does not answer may be no more.
    if view.serving_master().is_none() {
        return Some(Step::Wait("no copy in sync is taken away while no master serves".to_owned()));
    }
    let stays = |pod: &&BrokerPod<'_>| pod.store() != Some(leaving) && view.in_sync(pod);
    let left = view.pods.iter().filter(stays).count();
    let needed = usize::try_from(view.observed.queue.spec.min_in_sync()).unwrap_or(1).max(1);
    Some(if left < needed {
        Step::Wait(format!("without the replicas that go, {left} of {needed} copies would be in sync"))
    } else {
        remove()
    })
}

/// What a scale-in does next.
pub(super) enum Step {
    Act(Action),
    Wait(String),
}

/// To a replica that stays and can lead.
fn hand_over(view: &View<'_>) -> Step {
    let to = view.successor(|pod| pod.ordinal < view.replicas && !pod.terminating && view.in_sync(pod));
    match (view.serving_master(), to) {
        (Some(_), Some(act)) => Step::Act(act),
        (None, _) => {
            Step::Wait("the master is one of the replicas that go, and it does not serve".to_owned())
        }
        (_, None) => {
            Step::Wait("the master is one of the replicas that go, and none that stays is in sync".to_owned())
        }
    }
}

fn ordinal_of(view: &View<'_>, config: &Config, store: StoreId) -> Option<u32> {
    config.members.get(&store).and_then(|member| view.ordinal_of(member))
}
