//! Judges a [`History`]: pure, one rule a function, each named after the promise that it holds the broker to.
//! It must never call a correct broker wrong, so every interval is taken at its most lenient; what it calls wrong is
//! wrong on any schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::history::{Ack, Change, Delivery, End, History, Hold, Outcome, Recall, Receive};

mod attempts;
mod held;
mod violation;

pub use self::held::owed;
pub use self::violation::Violation;

/// The broker's clock may run faster than ours by this part (its log time is slewed by at most a tenth).
const SLEW: f64 = 0.9;
/// Times are told in whole milliseconds, so a delayed message may seem to come so much too early.
const ROUNDING: Duration = Duration::from_millis(2);
/// Taken off every lease besides, for what timers and rounding cost.
const MARGIN: Duration = Duration::from_millis(200);
/// `INVALID_RECEIPT_HANDLE`.
const INVALID_RECEIPT_HANDLE: i32 = 40013;
/// `INVALID_TRANSACTION_ID`.
const INVALID_TRANSACTION_ID: i32 = 40008;
/// `BAD_REQUEST`: there is no such delayed message.
const BAD_REQUEST: i32 = 40000;

/// All that is wrong with a history that ended in a full drain. Empty if nothing is.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let index = Index::new(history);
    let rules: [fn(&Index<'_>) -> Vec<Violation>; 13] = [
        every_acknowledged_message_is_settled,
        no_confirmed_ack_is_undone,
        message_groups_keep_their_order,
        no_message_has_two_leases,
        what_is_delivered_was_sent,
        held::what_is_delivered_was_committed,
        held::a_transaction_ends_one_way,
        held::nothing_comes_before_its_time,
        held::what_was_recalled_does_not_come,
        held::what_waits_is_found,
        a_retried_send_is_stored_once,
        attempts::attempts_grow_by_one,
        a_current_handle_is_accepted,
    ];
    rules.iter().flat_map(|rule| rule(&index)).collect()
}

/// A message by all of its sends.
struct Message<'a> {
    topic: &'a str,
    lane: Option<&'a str>,
    hold: Hold,
    first_begin: Duration,
    /// Since when it is sure that it is stored.
    stored: Option<Duration>,
    /// Since when it is sure that it is to come.
    acknowledged: Option<Duration>,
    refused_always: bool,
}

/// A delivery with its receive.
#[derive(Clone, Copy)]
struct Handed<'a> {
    receive: &'a Receive,
    delivery: &'a Delivery,
}

impl Handed<'_> {
    /// The same delivery once more: by a receive that was repeated because its answer may not have arrived.
    fn repeats(&self, other: &Handed<'_>) -> bool {
        self.receive.attempt_id.is_some()
            && self.receive.attempt_id == other.receive.attempt_id
            && self.delivery.handle == other.delivery.handle
            && self.delivery.attempt == other.delivery.attempt
    }
}

type Key<'a> = (&'a str, &'a str);

/// The history by message; (group, id) names a message's life in one group.
struct Index<'a> {
    history: &'a History,
    messages: BTreeMap<&'a str, Message<'a>>,
    handed: BTreeMap<Key<'a>, Vec<Handed<'a>>>,
    by_handle: BTreeMap<&'a str, Handed<'a>>,
    acks: BTreeMap<Key<'a>, Vec<&'a Ack>>,
    ends: BTreeMap<&'a str, Vec<&'a End>>,
    recalls: BTreeMap<&'a str, Vec<&'a Recall>>,
    changes: BTreeMap<&'a str, &'a Change>,
    groups: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Index<'a> {
    /// What is known of messages before anybody consumes them.
    fn of_producers(history: &'a History) -> Self {
        let mut index = Index {
            history,
            messages: BTreeMap::new(),
            handed: BTreeMap::new(),
            by_handle: BTreeMap::new(),
            acks: BTreeMap::new(),
            ends: BTreeMap::new(),
            recalls: BTreeMap::new(),
            changes: history.changes.iter().map(|change| (change.handle.as_str(), change)).collect(),
            groups: BTreeMap::new(),
        };
        index.add_sends();
        index.add_what_was_held();
        index
    }

    fn new(history: &'a History) -> Self {
        let mut index = Self::of_producers(history);
        for receive in &history.receives {
            index.groups.entry(&receive.topic).or_default().insert(&receive.group);
            for delivery in &receive.deliveries {
                let handed = Handed { receive, delivery };
                index.handed.entry((&receive.group, &delivery.id)).or_default().push(handed);
                index.by_handle.insert(&delivery.handle, handed);
            }
        }
        for ack in &history.acks {
            index.acks.entry((&ack.group, &ack.id)).or_default().push(ack);
        }
        index
    }

    fn add_sends(&mut self) {
        for send in &self.history.sends {
            let message = self.messages.entry(&send.id).or_insert(Message {
                topic: &send.topic,
                lane: send.message_group.as_deref(),
                hold: send.hold,
                first_begin: send.span.begin,
                stored: None,
                acknowledged: None,
                refused_always: true,
            });
            message.first_begin = message.first_begin.min(send.span.begin);
            message.refused_always &= send.outcome.is_fail();
            if send.outcome.is_ok() {
                let end = message.acknowledged.map_or(send.span.end, |end| end.min(send.span.end));
                (message.stored, message.acknowledged) = (Some(end), Some(end));
            }
        }
    }

    fn acks_of(&self, key: Key<'a>) -> impl Iterator<Item = &'a Ack> {
        self.acks.get(&key).into_iter().flatten().copied()
    }

    /// The earliest moment at which the lease of a delivery may have ended by itself. It began after the receive
    /// did, so that is what counts. Zero where the broker may take the delivery back: it saw the stream break.
    fn leased_until(&self, handed: Handed<'a>) -> Duration {
        let Handed { receive, delivery } = handed;
        if !receive.outcome.is_ok() {
            return Duration::ZERO;
        }
        let asked = receive.span.begin + receive.invisible.mul_f64(SLEW);
        let changed = self.changes.get(delivery.handle.as_str()).map(|change| change.span.begin);
        changed.map_or(asked, |changed| asked.min(changed)).saturating_sub(MARGIN)
    }
}

fn every_acknowledged_message_is_settled(index: &Index<'_>) -> Vec<Violation> {
    let settled = |key| index.acks_of(key).any(|ack| !ack.outcome.is_fail());
    let mut lost = Vec::new();
    for (&id, message) in &index.messages {
        for &group in index.groups.get(message.topic).into_iter().flatten() {
            let deliveries = index.handed.get(&(group, id)).map_or(0, Vec::len);
            if (message.acknowledged.is_some() || deliveries > 0) && !settled((group, id)) {
                lost.push(Violation::Lost { id: id.into(), group: group.into(), deliveries });
            }
        }
    }
    lost
}

fn no_confirmed_ack_is_undone(index: &Index<'_>) -> Vec<Violation> {
    let mut returned = Vec::new();
    for (&key, handed) in &index.handed {
        let confirmed = index.acks_of(key).filter(|ack| ack.outcome.is_ok()).map(|ack| ack.span.end).min();
        let Some(acked) = confirmed else { continue };
        for again in handed.iter().filter(|handed| handed.receive.span.begin > acked) {
            let received = again.receive.span;
            returned.push(Violation::ReturnedAfterAck { id: key.1.into(), acked, received });
        }
    }
    returned
}

fn message_groups_keep_their_order(index: &Index<'_>) -> Vec<Violation> {
    let mut lanes: BTreeMap<(&str, &str), Vec<(&str, &Message<'_>)>> = BTreeMap::new();
    for (&id, message) in &index.messages {
        if let Some(lane) = message.lane {
            lanes.entry((message.topic, lane)).or_default().push((id, message));
        }
    }
    let mut disordered = Vec::new();
    for ((topic, _), mut lane) in lanes {
        lane.sort_by_key(|(_, message)| message.first_begin);
        for &group in index.groups.get(topic).into_iter().flatten() {
            if index.history.ordered_groups.contains(group) {
                disordered.extend(order_of_lane(index, group, &lane));
            }
        }
    }
    disordered
}

/// Each message waits for the acknowledged one before it; by induction it waits for all before it.
fn order_of_lane(index: &Index<'_>, group: &str, lane: &[(&str, &Message<'_>)]) -> Vec<Violation> {
    let mut disordered = Vec::new();
    let mut before: Option<(&str, Duration)> = None;
    for &(id, message) in lane {
        if let Some((earlier, acknowledged)) = before
            && acknowledged <= message.first_begin
        {
            let done = index.acks_of((group, earlier)).filter(|ack| !ack.outcome.is_fail());
            let done = done.map(|ack| ack.span.begin).min();
            let mut handed = index.handed.get(&(group, id)).into_iter().flatten();
            if handed.any(|handed| done.is_none_or(|done| done >= handed.receive.span.end)) {
                disordered.push(Violation::OutOfOrder { id: id.into(), before: earlier.into() });
            }
        }
        if let Some(acknowledged) = message.acknowledged {
            before = Some((id, acknowledged));
        }
    }
    disordered
}

fn no_message_has_two_leases(index: &Index<'_>) -> Vec<Violation> {
    let mut double = Vec::new();
    for (&(_, id), handed) in &index.handed {
        let mut handed = handed.clone();
        handed.sort_by_key(|handed| handed.receive.span.end);
        let mut holder: Option<(Handed<'_>, Duration)> = None;
        for next in handed {
            let received = next.receive.span;
            if let Some((holding, leased_until)) = holder
                && received.end < leased_until
                && !next.repeats(&holding)
            {
                double.push(Violation::TwoLeases { id: id.into(), leased_until, received });
            }
            let until = index.leased_until(next);
            if holder.is_none_or(|(_, leased_until)| leased_until <= until) {
                holder = Some((next, until));
            }
        }
    }
    double
}

fn what_is_delivered_was_sent(index: &Index<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for (&(_, id), handed) in &index.handed {
        match index.messages.get(id) {
            None => wrong.push(Violation::Phantom { id: id.into() }),
            Some(message) if message.refused_always => {
                wrong.push(Violation::RefusedYetStored { id: id.into() });
            }
            Some(_) if handed.iter().any(|handed| !handed.delivery.intact) => {
                wrong.push(Violation::Damaged { id: id.into() });
            }
            Some(_) => {}
        }
    }
    wrong
}

fn a_retried_send_is_stored_once(index: &Index<'_>) -> Vec<Violation> {
    let mut places: BTreeMap<&str, BTreeSet<(i32, i64)>> = BTreeMap::new();
    for (&(_, id), handed) in &index.handed {
        places.entry(id).or_default().extend(handed.iter().map(|handed| handed.delivery.place));
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice
        .map(|(id, places)| Violation::StoredTwice { id: id.into(), places: places.into_iter().collect() })
        .collect()
}

fn a_current_handle_is_accepted(index: &Index<'_>) -> Vec<Violation> {
    let mut refused = Vec::new();
    for (&key, acks) in &index.acks {
        for (nth, ack) in acks.iter().enumerate() {
            let stale = matches!(ack.outcome, Outcome::Fail { code: INVALID_RECEIPT_HANDLE, .. });
            let others = || acks.iter().enumerate().filter(|(other, _)| *other != nth).map(|(_, ack)| ack);
            let only = others().all(|other| other.outcome.is_fail() || other.span.begin > ack.span.end);
            let current = index.by_handle.get(ack.handle.as_str());
            if stale && only && current.is_some_and(|&handed| ack.span.end < index.leased_until(handed)) {
                refused.push(Violation::LiveHandleRefused { id: key.1.into(), acked: ack.span });
            }
        }
    }
    refused
}

#[cfg(test)]
mod tests;
