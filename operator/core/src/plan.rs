//! What is to be done about a queue, decided from what is seen of it. Pure: the same is planned from the same, and nothing
//! where all is as it should be. Whoever carries a plan out does one action after the other and stops at the first that fails:
//! the next look sees what came of it. Promotions are no part of it: they cannot wait for a queue of work, so the failure
//! detector makes them by itself ([`rq_overseer`]).

mod certificate;
mod children;
mod differs;
mod loss;
mod rollout;
mod scale;
mod settings;
mod shard;
mod status;
mod view;
mod volumes;

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use rq_core::config::{Change, Config, FlushPolicy};
use rq_core::ids::StoreId;

pub use self::children::APPLIED_ANNOTATION;
pub use self::loss::ACCEPT_DATA_LOSS;
use self::rollout::Busy;
pub(crate) use self::rollout::Rollout;
use self::scale::Step;
use self::view::{ShardState, View};
use crate::observed::Observed;
use crate::queue::status::ReliableQueueStatus;

/// A queue at rest is looked at again after so long: a change that no watch told of is found then.
const AT_REST: Duration = Duration::from_mins(1);
/// What is under way is looked at again after so long.
const BUSY: Duration = Duration::from_secs(1);
/// What others must bring about first, which watches tell of, is looked at again after so long.
const WAITING: Duration = Duration::from_secs(10);

/// What the operator was released with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// The image of queues whose spec names none.
    pub broker_image: String,
}

/// What is to be done, and what is to be told.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// The whole status; to be written where it differs from the one there.
    pub status: ReliableQueueStatus,
    /// What people are told has happened.
    pub events: Vec<Note>,
    /// To look again after this, though nothing may have changed.
    pub look_again: Duration,
}

/// One act.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Make a certificate, with an authority for it where there is none, and write both as Secrets.
    IssueCertificate,
    /// Apply an object by server-side apply, as its only manager.
    Apply(Box<Child>),
    /// Make the `QueueShard`, never formed. It has the queue for an owner if it is to go with it.
    CreateShard {
        /// Whether it has.
        owned: bool,
    },
    /// Give the `QueueShard` that owner, or take it away.
    OwnShard {
        /// Which of both.
        owned: bool,
    },
    /// Put back a configuration that was lost, or replace an older version by it: delete what is there, if it still is what
    /// was seen, and make it anew.
    Rebuild {
        /// What the brokers have kept.
        config: Config,
        /// Whether it has the queue for an owner.
        owned: bool,
    },
    /// Change the configuration, by compare-and-set from the version that was seen.
    Write(Change),
    /// Ask the master for another flush mode: it is a record of the log.
    SetFlushMode(FlushPolicy),
    /// Ask the master to hand its mastership over.
    HandOver {
        /// To this store.
        to: StoreId,
        /// The pod that has it.
        pod: String,
    },
    /// Delete a pod, if it still is this one, so that a newer one takes its place.
    DeletePod {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Have a volume grow.
    ResizeVolume {
        /// Name of its claim.
        name: String,
        /// To this size, as the spec spells it.
        size: String,
    },
    /// Delete the `StatefulSet` and leave its pods: its claims cannot be changed. The next look makes it anew.
    OrphanStatefulSet,
}

/// An object that the operator makes.
#[expect(clippy::large_enum_variant, reason = "an action boxes it")]
#[derive(Clone, PartialEq, Debug)]
pub enum Child {
    /// The account of the brokers.
    ServiceAccount(ServiceAccount),
    /// What they may do.
    Role(Role),
    /// That they may.
    RoleBinding(RoleBinding),
    /// For clients, or for names of pods.
    Service(Service),
    /// One pod at a time may be moved.
    PodDisruptionBudget(PodDisruptionBudget),
    /// The pods.
    StatefulSet(StatefulSet),
}

/// Something that people are told, as an event of the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Whether somebody should worry.
    pub warning: bool,
    /// One word for machines, CamelCase.
    pub reason: String,
    /// What was done, one word for machines.
    pub action: String,
    /// A sentence for people.
    pub note: String,
}

impl Plan {
    /// The same where the API server refused some of it, in its words: that is told instead of what the rollout waits for.
    #[must_use]
    pub fn refused(mut self, observed: &Observed, release: &Release, why: &[String]) -> Self {
        let before = observed.queue.status.as_ref();
        // They were told last.
        let told = status::events(before, &self.status).len();
        self.events.truncate(self.events.len().saturating_sub(told));
        self.status = status::status(observed, release, &Rollout::Refused(why.join("; ")));
        self.events.extend(status::events(before, &self.status));
        self
    }
}

/// What is to be done about a queue.
#[must_use]
pub fn plan(observed: &Observed, release: &Release) -> Plan {
    let view = View::of(observed, release);
    let mut events = Vec::new();
    let (actions, rollout) = if observed.queue.metadata.deletion_timestamp.is_some() {
        // What goes with the queue must not be made anew while it goes.
        (Vec::new(), rollout::next(&view, Some(Busy::Acting("the queue is being deleted".to_owned()))).0)
    } else {
        actions(&view, &mut events)
    };
    let wait = wait(&view, &actions, &rollout);
    let renewal = certificate::until_renewal(&view).filter(|left| !left.is_zero());
    let status = status::status(observed, release, &rollout);
    events.extend(status::events(observed.queue.status.as_ref(), &status));
    Plan { actions, status, events, look_again: renewal.map_or(wait, |left| wait.min(left)) }
}

/// How long until the next look.
fn wait(view: &View<'_>, actions: &[Action], rollout: &Rollout) -> Duration {
    if !actions.is_empty() || matches!(rollout, Rollout::Rolling { .. }) || loss::is_asked(view) {
        return BUSY;
    }
    let waits = matches!(rollout, Rollout::Waiting { .. } | Rollout::Taken(_));
    let at_rest = matches!(view.shard, ShardState::Formed(_)) && !waits;
    if at_rest { AT_REST } else { WAITING }
}

/// All acts, and how far the pods are as the spec says. What others must wait for comes first.
fn actions(view: &View<'_>, notes: &mut Vec<Note>) -> (Vec<Action>, Rollout) {
    // A shard that was lost, and a human who waits, wait for nothing: none of the other acts may fail before these.
    let (mut actions, made) = shard::keep(view, notes)
        .into_iter()
        .partition::<Vec<_>, _>(|act| matches!(act, Action::Rebuild { .. }));
    let rebuilds = !actions.is_empty();
    let accepted = loss::accepted(view, notes);
    let accepts = accepted.is_some();
    actions.extend(accepted);
    actions.extend(certificate::issue(view));
    if view.paused() {
        actions.extend(made);
        let applies = children::applies(view);
        let changes = !applies.before.is_empty() || applies.stateful_set.is_some();
        return match rollout::next(view, None).0 {
            Rollout::UpToDate if changes => (actions, Rollout::Paused { left: 0 }),
            rollout => (actions, rollout),
        };
    }
    // It goes with the queue before its volumes do, and stays from when they stay: it may be lost alone, for the brokers keep
    // it, and never be left alone.
    let own = if rebuilds { None } else { shard::own(view) };
    let (own_first, own_last) = if view.owned() { (own, None) } else { (None, own) };
    let applies = children::applies(view);
    actions.extend(applies.before);
    if let Some(taken) = applies.taken {
        // The brokers that may be there go on; nothing is changed that would have to be finished.
        return (actions, Rollout::Taken(taken));
    }
    // A new one is made when the brokers may read it, and before they start.
    actions.extend(made.into_iter().chain(own_first));
    let mut busy =
        applies.stateful_set.is_some().then(|| Busy::Acting("the pods' template changes".to_owned()));
    let volumes_stay = applies.stateful_set.is_some() || !volumes::go_with_the_queue(view);
    actions.extend(applies.stateful_set);
    actions.extend(own_last.filter(|_| volumes_stay));
    actions.extend(volumes::grow(view));
    let changing = || Busy::Acting("the shard is being changed".to_owned());
    let min_in_sync = || settings::min_in_sync(view).map(Step::Act);
    let flush_mode = || settings::flush_mode(view).map(Step::Act);
    // One change of the shard at a time: each is made from the version that was seen.
    match min_in_sync().or_else(|| scale::step(view)).or_else(flush_mode) {
        _ if accepts => busy = busy.or_else(|| Some(changing())),
        Some(Step::Act(action)) => {
            busy = busy.or_else(|| Some(changing()));
            actions.push(action);
        }
        Some(Step::Wait(why)) => busy = busy.or(Some(Busy::Waiting(why))),
        None => {}
    }
    let (rollout, act) = rollout::next(view, busy);
    actions.extend(act);
    notes.extend(actions.iter().filter_map(rollout::note));
    (actions, rollout)
}

#[cfg(test)]
mod tests;
