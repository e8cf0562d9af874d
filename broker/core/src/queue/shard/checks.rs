//! Whose producer is to be asked, when, and by whom: half messages by the time of their next check, and the gateways that
//! wait for some. Derived from the state and never part of it.
//!
//! A check that nobody can ask does not count: a half message waits for as long as no producer of its topic lives.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{HeldId, LogTime, Ticket, TopicId};
use crate::queue::held::{Half, Held};

/// A gateway that took a check tells what came of it within so long, or another one gets it.
const TAKEN_MS: u64 = 20_000;

/// A gateway that waits for something to ask.
#[derive(Debug)]
struct Taker {
    topics: Vec<TopicId>,
    most: usize,
    until: LogTime,
}

/// What is to be asked of one topic.
#[derive(Debug)]
struct Due {
    halves: BTreeSet<(LogTime, HeldId)>,
    /// Of the topics that have something due, the one with the lowest comes first.
    turn: u64,
}

/// What is to be asked, and who waits to ask.
#[derive(Debug, Default)]
pub(super) struct Checks {
    due: BTreeMap<TopicId, Due>,
    /// Turns given so far.
    turns: u64,
    /// Being asked, until somebody else is to.
    taken: BTreeSet<(LogTime, HeldId)>,
    /// Asked as often as may be; given up at this time.
    exhausted: BTreeSet<(LogTime, HeldId)>,
    /// Which of the three a half message is in, and under which time.
    places: BTreeMap<HeldId, Place>,
    takers: BTreeMap<Ticket, Taker>,
    /// No taker can be served before; None is never.
    next: Option<LogTime>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Due(TopicId, LogTime),
    Taken(LogTime),
    Exhausted(LogTime),
}

impl Checks {
    /// All half messages of a state. Whatever was taken before is due again.
    pub(super) fn of(held: &Held, checks_max: u32) -> Self {
        let mut checks = Self::default();
        for (id, half) in held.halves.iter() {
            checks.put(id, &half, checks_max);
        }
        checks
    }

    /// A half message came, or was asked about.
    pub(super) fn put(&mut self, id: HeldId, half: &Half, checks_max: u32) {
        self.remove(id);
        if half.checks < checks_max {
            self.put_due(id, half.message.topic, half.next_check);
        } else {
            self.exhausted.insert((half.next_check, id));
            self.places.insert(id, Place::Exhausted(half.next_check));
        }
    }

    /// It could not be asked: somebody else is to, from this time on.
    pub(super) fn put_back(&mut self, id: HeldId, half: &Half, at: LogTime) {
        if matches!(self.places.get(&id), Some(Place::Taken(_))) {
            self.remove(id);
            self.put_due(id, half.message.topic, at);
        }
    }

    fn put_due(&mut self, id: HeldId, topic: TopicId, at: LogTime) {
        let turns = &mut self.turns;
        let due =
            self.due.entry(topic).or_insert_with(|| Due { halves: BTreeSet::new(), turn: next_turn(turns) });
        due.halves.insert((at, id));
        self.places.insert(id, Place::Due(topic, at));
        if self.takers.values().any(|taker| taker.topics.binary_search(&topic).is_ok()) {
            self.next = Some(self.next.map_or(at, |next| next.min(at)));
        }
    }

    /// A half message waits no more.
    pub(super) fn remove(&mut self, id: HeldId) {
        match self.places.remove(&id) {
            None => {}
            Some(Place::Due(topic, at)) => {
                if let Some(due) = self.due.get_mut(&topic) {
                    due.halves.remove(&(at, id));
                    if due.halves.is_empty() {
                        self.due.remove(&topic);
                    }
                }
            }
            Some(Place::Taken(until)) => drop(self.taken.remove(&(until, id))),
            Some(Place::Exhausted(at)) => drop(self.exhausted.remove(&(at, id))),
        }
    }

    /// Those of a deleted topic wait no more.
    pub(super) fn forget_where(&mut self, gone: impl Fn(HeldId) -> bool) {
        let ids: Vec<HeldId> = self.places.keys().copied().filter(|id| gone(*id)).collect();
        for id in ids {
            self.remove(id);
        }
    }

    /// Whether one was handed out, or could be now. What was told of twice is neither by then: its next check is to come.
    pub(super) fn is_asked(&self, id: HeldId, now: LogTime) -> bool {
        match self.places.get(&id) {
            Some(Place::Taken(_)) => true,
            Some(Place::Due(_, at)) => *at <= now,
            Some(Place::Exhausted(_)) | None => false,
        }
    }

    /// Takes half messages of these topics that are to be asked about now: one of each topic after the other, so that however
    /// many are due in one topic, those of another come with the next turn; within a topic the longest due first.
    pub(super) fn take(&mut self, topics: &[TopicId], most: usize, now: LogTime) -> Vec<HeldId> {
        let waits = |topic: &TopicId| {
            let due = self.due.get(topic)?;
            due.halves.first().filter(|(at, _)| *at <= now).map(|_| (due.turn, *topic))
        };
        let mut topics: Vec<(u64, TopicId)> = topics.iter().filter_map(waits).collect();
        topics.sort_unstable();
        topics.truncate(most);
        let of_topic = |(_, topic): &(u64, TopicId)| {
            let halves = self.due.get(topic).into_iter().flat_map(|due| &due.halves);
            halves.take_while(|(at, _)| *at <= now).map(|(_, id)| *id)
        };
        let mut rest: Vec<_> = topics.iter().map(of_topic).collect();
        let mut taken = Vec::new();
        while !rest.is_empty() && taken.len() < most {
            rest.retain_mut(|halves| {
                let half = if taken.len() < most { halves.next() } else { None };
                taken.extend(half);
                half.is_some()
            });
        }
        drop(rest);
        for (_, topic) in &topics {
            if let Some(due) = self.due.get_mut(topic) {
                due.turn = next_turn(&mut self.turns);
            }
        }
        for id in &taken {
            self.remove(*id);
            let until = now.plus(TAKEN_MS);
            self.taken.insert((until, *id));
            self.places.insert(*id, Place::Taken(until));
        }
        taken
    }

    /// A gateway waits. The topics are sorted.
    pub(super) fn wait(&mut self, ticket: Ticket, topics: Vec<TopicId>, most: usize, until: LogTime) {
        self.takers.insert(ticket, Taker { topics, most, until });
        self.find_next();
    }

    /// It waits no more.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        self.takers.remove(&ticket);
    }

    /// Serves those who wait: each with what it took, which may be nothing once it has waited long enough.
    pub(super) fn serve(&mut self, now: LogTime) -> Vec<(Ticket, Vec<HeldId>)> {
        let mut served = Vec::new();
        if self.next.is_some_and(|next| next <= now) {
            let waiting: Vec<Ticket> = self.takers.keys().copied().collect();
            for ticket in waiting {
                let Some(taker) = self.takers.remove(&ticket) else { continue };
                let taken = self.take(&taker.topics, taker.most, now);
                if taken.is_empty() {
                    self.takers.insert(ticket, taker);
                } else {
                    served.push((ticket, taken));
                }
            }
            self.find_next();
        }
        let late = self.takers.extract_if(.., |_, taker| taker.until <= now);
        served.extend(late.map(|(ticket, _)| (ticket, Vec::new())));
        served
    }

    /// Takes those that were taken and never heard of again.
    pub(super) fn lapsed(&mut self, now: LogTime) -> Option<HeldId> {
        self.taken.first().filter(|(until, _)| *until <= now).map(|(_, id)| *id)
    }

    /// One that was asked about as often as may be, in vain.
    pub(super) fn given_up(&self, now: LogTime) -> Option<HeldId> {
        self.exhausted.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// When there is something to do next.
    pub(super) fn next_time(&self) -> Option<LogTime> {
        let exhausted = self.exhausted.first().map(|(at, _)| *at);
        let lapses = self.taken.first().map(|(until, _)| *until);
        let patience = self.takers.values().map(|taker| taker.until).min();
        [exhausted, lapses, patience, self.next].into_iter().flatten().min()
    }

    fn find_next(&mut self) {
        let wanted: BTreeSet<TopicId> =
            self.takers.values().flat_map(|taker| taker.topics.iter().copied()).collect();
        let first =
            |topic: TopicId| self.due.get(&topic).and_then(|due| due.halves.first()).map(|(at, _)| *at);
        self.next = wanted.into_iter().filter_map(first).min();
    }
}

fn next_turn(turns: &mut u64) -> u64 {
    *turns += 1;
    *turns
}
