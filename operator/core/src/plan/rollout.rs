//! Replacing pods that are not as the spec says: one at a time, slaves first, and the master only when it has handed over.
//! Nothing is taken away while another replica is not well, and nothing goes on when a new pod does not come up.

use std::time::Duration;

use k8s_openapi::api::core::v1::ContainerState;
use kube::ResourceExt as _;
use rq_core::config::Config;

use super::children::Taken;
use super::view::{BrokerPod, ShardState, View};
use super::{Action, Note, scale};

/// A new pod that is not ready after so long stops the rollout.
const PROGRESS_DEADLINE: Duration = Duration::from_mins(5);
/// What a container waits for that no time brings.
const HOPELESS: [&str; 5] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "InvalidImageName",
];

/// How far the pods are as the spec says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Rollout {
    /// All are.
    UpToDate,
    /// This pod is being replaced or waited for.
    Rolling {
        /// Its name.
        pod: String,
        /// So many are not as the spec says.
        left: usize,
    },
    /// Something else must be well first.
    Waiting {
        /// What, in words.
        why: String,
        /// So many are not as the spec says.
        left: usize,
    },
    /// A new pod does not come up, and no further one is replaced.
    Failed {
        /// Which.
        pod: String,
        /// What it says.
        why: String,
    },
    /// The API server refused some of the plan, in its words.
    Refused(String),
    /// An object that the pods need has the name of one that somebody else made.
    Taken(Taken),
    /// Something would be changed, if `reconcile` were not `Paused`.
    Paused {
        /// So many pods are known not to be as the spec says.
        left: usize,
    },
}

/// What comes before the replacement of pods.
pub(super) enum Busy {
    /// Something is changed now, and must be seen to have changed.
    Acting(String),
    /// Something cannot be done yet. Pods that are of no use may be replaced: it may be waiting for them.
    Waiting(String),
}

/// How it stands, and the next act.
pub(super) fn next(view: &View<'_>, busy: Option<Busy>) -> (Rollout, Option<Action>) {
    let left = view.pods.iter().filter(|pod| pod.outdated).count();
    if view.paused() {
        return (if left == 0 { Rollout::UpToDate } else { Rollout::Paused { left } }, None);
    }
    let wait = |why: String| (Rollout::Waiting { why, left }, None);
    let waiting = match busy {
        Some(Busy::Acting(why)) => return wait(why),
        Some(Busy::Waiting(why)) => Some(why),
        None => None,
    };
    if super::view::update_revision(view.observed).is_none() {
        return wait("the controller of the StatefulSet has not looked at it yet".to_owned());
    }
    // One on a node that is gone stays until Kubernetes knows that the node is off: nobody deletes it by force here, because
    // its volume may still be mounted there. The shard does without it meanwhile.
    if let Some(gone) = view.pods.iter().find(|pod| pod.terminating) {
        let rolling = Rollout::Rolling { pod: gone.name.clone(), left };
        return if left > 0 { (rolling, None) } else { (Rollout::UpToDate, None) };
    }
    let missing = missing(view);
    let failed = |why: fn(&View<'_>, &BrokerPod<'_>) -> Option<String>| {
        let mut new = view.pods.iter().filter(|pod| !pod.ready && !pod.outdated);
        new.find_map(|pod| Some(Rollout::Failed { pod: pod.name.clone(), why: why(view, pod)? }))
    };
    // What no pod starts with, no other one gets: a master whose process has just ended comes back with what it had.
    if let Some(failed) = failed(|_, pod| hopeless(pod)) {
        return (failed, None);
    }
    // What does not run is missed by nobody, whatever else is wrong: so a bad image that is put right heals.
    if let Some(broken) = view.pods.iter().rev().find(|pod| pod.outdated && is_broken(view, pod)) {
        return match missing {
            Some(name) => wait(format!("{name} is being made")),
            None => replace(broken, left),
        };
    }
    if let Some(failed) = failed(late) {
        return (failed, None);
    }
    if left == 0 {
        return match missing {
            Some(name) => wait(format!(
                "{name} is not made yet: if that stays so, see `kubectl describe statefulset {}`",
                view.name
            )),
            None => (Rollout::UpToDate, None),
        };
    }
    if let Some(why) = waiting {
        return wait(why);
    }
    if let Some(name) = missing {
        return (Rollout::Rolling { pod: name, left }, None);
    }
    orderly(view, left)
}

/// All pods are there: the next one that is taken away though it is well.
fn orderly(view: &View<'_>, left: usize) -> (Rollout, Option<Action>) {
    let outdated = || view.pods.iter().rev().filter(|pod| pod.outdated);
    if let ([alone], 1) = (view.pods.as_slice(), view.replicas) {
        return replace(alone, left);
    }
    let wait = |why: String| (Rollout::Waiting { why, left }, None);
    if let Some(pod) = view.pods.iter().find(|pod| !pod.ready || !view.in_sync(pod)) {
        let what = if pod.ready { "in sync" } else { "ready" };
        return if pod.outdated {
            wait(format!("{} is not {what}", pod.name))
        } else {
            (Rollout::Rolling { pod: pod.name.clone(), left }, None)
        };
    }
    if !view.settled() {
        return wait("not every broker has seen the present configuration".to_owned());
    }
    let Some(master) = view.master() else { return wait("there is no master".to_owned()) };
    if let Some(slave) = outdated().find(|pod| pod.ordinal != master.ordinal) {
        return replace(slave, left);
    }
    match view.successor(|pod| pod.ordinal != master.ordinal && pod.ordinal < view.replicas) {
        Some(act) => (Rollout::Rolling { pod: master.name.clone(), left }, Some(act)),
        None => wait("the master has nobody to hand over to".to_owned()),
    }
}

fn replace(pod: &BrokerPod<'_>, left: usize) -> (Rollout, Option<Action>) {
    let delete = pod.pod.uid().map(|uid| Action::DeletePod { name: pod.name.clone(), uid });
    (Rollout::Rolling { pod: pod.name.clone(), left }, delete)
}

/// Nothing is lost with it: its broker does not run, or it neither serves nor holds everything acknowledged.
fn is_broken(view: &View<'_>, pod: &BrokerPod<'_>) -> bool {
    let needed = |config: &Config| {
        let copies = config.in_sync.keys().filter_map(|store| config.members.get(store));
        copies.into_iter().any(|copy| copy.name == pod.name)
            || pod.store().is_some_and(|store| config.in_sync.contains_key(&store))
    };
    // The master is one of the set.
    let needed = match &view.shard {
        ShardState::Formed(config) => needed(config),
        ShardState::New | ShardState::Unformed => false,
        ShardState::Unknown | ShardState::Lost | ShardState::Malformed => true,
    };
    // What answers runs, whatever a cache says.
    !pod.ready && (!needed || (pod.told.is_none() && !runs(pod)))
}

/// Whether a container of the pod runs, or has just ended: the kubelet starts that again at once, or says why not.
fn runs(pod: &BrokerPod<'_>) -> bool {
    let containers = pod.pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let runs = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
    containers.into_iter().any(|container| container.state.as_ref().is_some_and(runs))
}

/// That a new pod is not ready although it had the time.
fn late(view: &View<'_>, pod: &BrokerPod<'_>) -> Option<String> {
    let made = pod.pod.metadata.creation_timestamp.as_ref()?.0.as_second();
    let age = u64::try_from(view.observed.now.0.as_second().saturating_sub(made)).unwrap_or(0);
    let late = age >= PROGRESS_DEADLINE.as_secs();
    late.then(|| format!("it is not ready after {} minutes", PROGRESS_DEADLINE.as_secs() / 60))
}

/// What a container of the pod waits for in vain, in the words of the kubelet.
fn hopeless(pod: &BrokerPod<'_>) -> Option<String> {
    let status = pod.pod.status.as_ref()?;
    let containers =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    let waits = |state: &ContainerState| {
        let waiting = state.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| HOPELESS.contains(reason))?;
        Some(match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        })
    };
    containers.into_iter().find_map(|container| container.state.as_ref().and_then(waits))
}

/// The name of a pod that is to be there and is not.
fn missing(view: &View<'_>) -> Option<String> {
    let ordinal =
        (0..scale::pods(view)).find(|ordinal| view.pods.iter().all(|pod| pod.ordinal != *ordinal))?;
    Some(format!("{}-{ordinal}", view.name))
}

/// What people are told of an act of the rollout.
pub(super) fn note(action: &Action) -> Option<Note> {
    let (reason, verb, note) = match action {
        Action::DeletePod { name, .. } => {
            ("ReplacingPod", "Delete", format!("{name} is not as the spec says and is replaced"))
        }
        Action::HandOver { pod, .. } => {
            ("HandingOver", "HandOver", format!("the master hands over to {pod} before its pod goes"))
        }
        _ => return None,
    };
    Some(Note { warning: false, reason: reason.to_owned(), action: verb.to_owned(), note })
}
