//! Receives that wait for a message, in the order of their coming for each topic and group. Not part of the
//! state: a waiting client asks again elsewhere when its master is gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::request::Receive;
use crate::ids::{AttemptHash, GroupId, LogTime, Ticket, TopicId};

type Key = (TopicId, GroupId);

#[derive(Debug)]
struct Poll {
    receive: Receive,
    key: Key,
    until: LogTime,
}

/// The waiting receives.
#[derive(Debug, Default)]
pub(crate) struct Polls {
    by_ticket: BTreeMap<Ticket, Poll>,
    waiting: BTreeMap<Key, VecDeque<Ticket>>,
    deadlines: BTreeSet<(LogTime, Ticket)>,
    attempts: BTreeMap<(Key, AttemptHash), Ticket>,
    /// Where something may have become deliverable.
    ready: BTreeSet<Key>,
    /// When something becomes deliverable by time.
    visible: BTreeSet<(LogTime, Key)>,
    visible_of: BTreeMap<Key, LogTime>,
}

impl Polls {
    pub(crate) fn len(&self) -> usize {
        self.by_ticket.len()
    }

    pub(crate) fn insert(&mut self, ticket: Ticket, key: Key, until: LogTime, receive: Receive) {
        self.waiting.entry(key).or_default().push_back(ticket);
        self.deadlines.insert((until, ticket));
        if let Some(attempt) = receive.attempt {
            self.attempts.insert((key, attempt), ticket);
        }
        self.by_ticket.insert(ticket, Poll { receive, key, until });
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Receive> {
        let poll = self.by_ticket.remove(&ticket)?;
        self.deadlines.remove(&(poll.until, ticket));
        if let Some(attempt) = poll.receive.attempt {
            self.attempts.remove(&(poll.key, attempt));
        }
        if let Some(waiting) = self.waiting.get_mut(&poll.key) {
            if waiting.front() == Some(&ticket) {
                waiting.pop_front();
            } else {
                waiting.retain(|other| *other != ticket);
            }
            if waiting.is_empty() {
                self.waiting.remove(&poll.key);
                self.set_visible(poll.key, None);
            }
        }
        Some(poll.receive)
    }

    /// Takes the receive that waits for an attempt. There is one at most.
    pub(crate) fn take_attempt(&mut self, key: Key, attempt: AttemptHash) -> Option<Ticket> {
        let ticket = *self.attempts.get(&(key, attempt))?;
        self.remove(ticket).map(|_| ticket)
    }

    /// Tickets that wait for one topic and group, in their order.
    pub(crate) fn of(&self, key: Key) -> Vec<Ticket> {
        self.waiting.get(&key).map(|waiting| waiting.iter().copied().collect()).unwrap_or_default()
    }

    /// The receive of a ticket.
    pub(crate) fn get(&self, ticket: Ticket) -> Option<&Receive> {
        self.by_ticket.get(&ticket).map(|poll| &poll.receive)
    }

    /// A message came into a topic: every group that waits for it may have something.
    pub(crate) fn arrived(&mut self, topic: TopicId) {
        let groups = (topic, GroupId(0))..=(topic, GroupId(u32::MAX));
        self.ready.extend(self.waiting.range(groups).map(|(key, _)| *key));
    }

    /// Something changed for one group in one topic.
    pub(crate) fn changed(&mut self, topic: TopicId, group: GroupId) {
        if self.waiting.contains_key(&(topic, group)) {
            self.ready.insert((topic, group));
        }
    }

    /// Takes a topic and group to look at.
    pub(crate) fn take_ready(&mut self, now: LogTime) -> Option<Key> {
        if let Some(key) = self.ready.pop_first() {
            return Some(key);
        }
        let (time, key) = *self.visible.first()?;
        if time > now {
            return None;
        }
        self.set_visible(key, None);
        Some(key)
    }

    /// When something becomes deliverable to those who wait, by time alone.
    pub(crate) fn set_visible(&mut self, key: Key, time: Option<LogTime>) {
        if let Some(before) = self.visible_of.remove(&key) {
            self.visible.remove(&(before, key));
        }
        if let Some(time) = time.filter(|_| self.waiting.contains_key(&key)) {
            self.visible.insert((time, key));
            self.visible_of.insert(key, time);
        }
    }

    /// Takes a receive that has waited long enough.
    pub(crate) fn take_expired(&mut self, now: LogTime) -> Option<Ticket> {
        let (until, ticket) = *self.deadlines.first()?;
        if until > now {
            return None;
        }
        self.remove(ticket);
        Some(ticket)
    }

    pub(crate) fn take_topic(&mut self, topic: TopicId) -> Vec<Ticket> {
        self.take_where(|key| key.0 == topic)
    }

    pub(crate) fn take_group(&mut self, group: GroupId) -> Vec<Ticket> {
        self.take_where(|key| key.1 == group)
    }

    fn take_where(&mut self, wanted: impl Fn(Key) -> bool) -> Vec<Ticket> {
        let tickets: Vec<Ticket> =
            self.by_ticket.iter().filter(|(_, poll)| wanted(poll.key)).map(|(ticket, _)| *ticket).collect();
        for ticket in &tickets {
            self.remove(*ticket);
        }
        tickets
    }

    /// The next time at which there is something to do.
    pub(crate) fn next_time(&self) -> Option<LogTime> {
        if !self.ready.is_empty() {
            return Some(LogTime(0));
        }
        let deadline = self.deadlines.first().map(|(time, _)| *time);
        let visible = self.visible.first().map(|(time, _)| *time);
        [deadline, visible].into_iter().flatten().min()
    }
}
