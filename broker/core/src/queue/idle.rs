//! Which groups owe messages and do not consume them: they keep the log from being dropped, so people must be told.
//! Looks at a snapshot, off the log thread, and changes nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::request::Name;
use super::state::State;
use crate::ids::{LogTime, Lsn};

/// A group that has not used a topic for long, and owes messages of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdleSubscription {
    /// The group.
    pub group: Name,
    /// The topic: of several the one whose unread messages lie furthest back.
    pub topic: Name,
    /// Its last use.
    pub last_used: LogTime,
    /// Where the oldest message lies that the group still owes.
    pub oldest: Lsn,
}

/// A group that keeps the log from being dropped, as people are told of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdleGroup {
    /// The group.
    pub group: Name,
    /// The topic that it does not consume.
    pub topic: Name,
    /// Since both its last use and its oldest unread message, without outages of the broker, in milliseconds.
    pub idle_ms: u64,
    /// The log from its oldest unread message on, in bytes.
    pub pinned_bytes: u64,
}

/// The groups whose last use of a topic of which they owe messages is older than `idle_ms`, outages of the broker not
/// counted; those that reach furthest back come first. A message may have come since: whoever asks must look at the age of the oldest too.
#[must_use]
pub fn idle_subscriptions(state: &State, now: LogTime, idle_ms: u64) -> Vec<IdleSubscription> {
    let mut idle: BTreeMap<&Name, IdleSubscription> = BTreeMap::new();
    for (id, group) in &state.groups {
        for (topic, subscription) in &group.subscriptions {
            let Some(topic) = state.topics.get(topic) else { continue };
            if state.served(subscription.last_used, now) <= idle_ms {
                continue;
            }
            let queues = topic.queues.iter().zip(&subscription.queues);
            let oldest = queues
                .filter_map(|(messages, progress)| progress.oldest(*id, messages, state.log_start))
                .min();
            let known = idle.get(&group.name).map(|known| known.oldest);
            if let Some(oldest) = oldest
                && known.is_none_or(|known| oldest < known)
            {
                let (name, topic) = (Arc::clone(&group.name), Arc::clone(&topic.name));
                let last_used = subscription.last_used;
                idle.insert(&group.name, IdleSubscription { group: name, topic, last_used, oldest });
            }
        }
    }
    let mut idle: Vec<IdleSubscription> = idle.into_values().collect();
    idle.sort_by_key(|idle| idle.oldest);
    idle
}

impl fmt::Display for IdleGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, topic, idle_ms, pinned_bytes } = self;
        write!(f, "consumer group {group} has not consumed topic {topic} for ")?;
        let (count, unit) = SPANS
            .iter()
            .map(|(millis, unit)| (idle_ms / millis, unit))
            .find(|(count, _)| *count >= 2)
            .unwrap_or((idle_ms / 1_000, &"seconds"));
        write!(f, "{count} {unit} and pins ")?;
        let tenths = |unit: u64| (pinned_bytes / unit, pinned_bytes % unit * 10 / unit);
        let ((whole, tenth), unit) =
            if *pinned_bytes >= GIB { (tenths(GIB), "GiB") } else { (tenths(MIB), "MiB") };
        write!(f, "{whole}.{tenth} {unit} of the log")
    }
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Spans as they are told, in milliseconds.
const SPANS: [(u64, &str); 3] = [(86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes")];
