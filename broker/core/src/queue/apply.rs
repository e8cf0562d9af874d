//! What each record means. Total over well-formed logs: a record that does not fit the state is an error that
//! halts the replica, since its state would differ from its peers' from there on.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::held::HeldMessage;
use super::index::Entry;
use super::progress::{Lease, Progress};
use super::state::{Group, State, Subscription, Topic};
use crate::codec::Malformed;
use crate::ids::{AttemptHash, Epoch, GroupId, Lane, LogTime, Lsn, Offset, QueueId, TopicId};
use crate::record::{self, ChangeInvisible, Fate, Hold, MessageRecord, Pop, Record};

/// Longest extension of a lease when a master starts: who held one while there was no master gets this much to
/// finish.
const EXTENSION_MAX_MS: u64 = 30_000;

/// A record could not be applied. The replica halts: going on would make its state differ from its peers'.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ApplyError {
    /// The record is of another format.
    #[error("the record at {lsn} cannot be read: {source}")]
    Malformed {
        /// Where it lies.
        lsn: Lsn,
        /// What is wrong.
        source: Malformed,
    },
    /// The record speaks of something that is not there, or not as it says.
    #[error("the record at {lsn} does not fit the state: {what}")]
    Inconsistent {
        /// Where it lies.
        lsn: Lsn,
        /// What does not fit.
        what: &'static str,
    },
}

type Applied = Result<(), &'static str>;

impl State {
    /// Applies one record that lies at `lsn` in a frame of `log_time`, given as bytes.
    pub fn apply_bytes(&mut self, lsn: Lsn, log_time: LogTime, bytes: &[u8]) -> Result<(), ApplyError> {
        let record = record::decode(bytes).map_err(|source| ApplyError::Malformed { lsn, source })?;
        self.apply(lsn, log_time, &record)
    }

    /// Applies one record that lies at `lsn` in a frame of `log_time`.
    pub fn apply(&mut self, lsn: Lsn, log_time: LogTime, record: &Record<'_>) -> Result<(), ApplyError> {
        self.apply_record(lsn, log_time, record).map_err(|what| ApplyError::Inconsistent { lsn, what })?;
        self.log_time = self.log_time.max(log_time);
        Ok(())
    }

    /// Everything below `end` was applied: said by the driver after each frame.
    pub fn applied_up_to(&mut self, end: Lsn) {
        self.applied = self.applied.max(end);
    }

    fn apply_record(&mut self, lsn: Lsn, now: LogTime, record: &Record<'_>) -> Applied {
        match record {
            Record::EpochStart { epoch } => self.start_epoch(*epoch, now),
            Record::FeatureLevel(level) => {
                self.feature_level = *level;
                Ok(())
            }
            Record::DuplicateWindow { millis, entries } => {
                self.duplicates.window_ms = *millis;
                self.duplicates.window_entries = *entries;
                Ok(())
            }
            Record::TopicPut { id, name, settings } => {
                let topic = Topic::new(Arc::from(*name), *settings);
                self.topic_names.insert(Arc::clone(&topic.name), *id);
                self.topics.insert(*id, Arc::new(topic));
                self.last_topic = self.last_topic.max(*id);
                Ok(())
            }
            Record::TopicDelete(id) => self.delete_topic(*id),
            Record::GroupPut { id, name, settings } => {
                let subscriptions =
                    self.groups.get(id).map(|group| group.subscriptions.clone()).unwrap_or_default();
                let group = Group { name: Arc::from(*name), settings: settings.clone(), subscriptions };
                self.group_names.insert(Arc::clone(&group.name), *id);
                self.groups.insert(*id, Arc::new(group));
                self.last_group = self.last_group.max(*id);
                Ok(())
            }
            Record::GroupDelete(id) => {
                let group = self.groups.remove(id).ok_or("deleted group")?;
                self.group_names.remove(&group.name);
                Ok(())
            }
            Record::Subscribe { group, topic, start } => {
                let queues = start.iter().map(|offset| Arc::new(Progress::new(*offset))).collect();
                let subscription = Subscription { queues, ..Subscription::default() };
                self.group_mut(*group)?.subscriptions.insert(*topic, subscription);
                Ok(())
            }
            Record::Message(message) => self.store(lsn, now, message),
            Record::Batch(messages) => {
                for (message, at) in messages.iter().zip(record::batch_positions(lsn, messages)) {
                    self.store(at, now, message)?;
                }
                Ok(())
            }
            _ => self.apply_delivery(lsn, now, record),
        }
    }

    fn apply_delivery(&mut self, lsn: Lsn, now: LogTime, record: &Record<'_>) -> Applied {
        match record {
            Record::TransactionEnd { half, commit } => match self.held.remove(*half) {
                Some(message) if *commit => self.show(&message),
                Some(_) => Ok(()),
                None => Err("half message"),
            },
            Record::TransactionCheck { half, next_check } => {
                self.held.checked(*half, *next_check);
                Ok(())
            }
            Record::TimerFire { up_to } => {
                while let Some(message) = self.held.take_due(*up_to) {
                    self.show(&message)?;
                }
                Ok(())
            }
            Record::Pop(pop) => self.pop(pop, now),
            Record::Ack { group, topic, messages } => {
                for (queue, offset) in messages {
                    self.finish(*group, *topic, *queue, *offset)?;
                }
                Ok(())
            }
            Record::ChangeInvisible(change) => self.change_invisible(change),
            Record::UndoPop { group, topic, messages } => self.undo_pop(*group, *topic, messages),
            Record::DeadLetter { group, topic, queue, offset, into } => {
                self.finish(*group, *topic, *queue, *offset)?;
                let entry = self
                    .message_queue(*topic, *queue)
                    .and_then(|queue| queue.get(*offset))
                    .ok_or("message")?;
                let dead_letters = Arc::make_mut(self.topics.get_mut(into).ok_or("dead-letter topic")?);
                dead_letters.dead_since.push_back(now);
                dead_letters.queues.first_mut().ok_or("dead-letter queue")?.push(entry);
                Ok(())
            }
            Record::Relocate { topic, queue, offset, record } => {
                self.queue_mut(*topic, *queue)?.relocate(*offset, record::relocated_position(lsn, record));
                Ok(())
            }
            Record::DropBelow(below) => {
                self.drop_below(*below);
                Ok(())
            }
            Record::StateHash { .. } => Ok(()),
            _ => Err("record"),
        }
    }

    /// Whoever holds a lease gets time to finish: there was no master to ack to.
    fn start_epoch(&mut self, epoch: Epoch, now: LogTime) -> Applied {
        if epoch <= self.epoch {
            return Err("epoch that does not rise");
        }
        self.epoch = epoch;
        let before = self.log_time;
        for group in self.groups.values_mut() {
            let live = |lease: &Lease, visible_at: LogTime| lease.held && visible_at > before;
            for subscription in Arc::make_mut(group).subscriptions.values_mut() {
                for progress in subscription.queues.iter_mut().filter(|progress| progress.in_flight > 0) {
                    let progress = Arc::make_mut(progress);
                    let leased: Vec<(Offset, u64)> = progress
                        .pending
                        .iter()
                        .filter_map(|(offset, pending)| Some((offset, pending.visible_at, pending.lease?)))
                        .filter(|(_, visible_at, lease)| live(lease, *visible_at))
                        .map(|(offset, _, lease)| (*offset, lease.length_ms.min(EXTENSION_MAX_MS)))
                        .collect();
                    for (offset, extension) in leased {
                        progress.change(offset, |pending| {
                            pending.visible_at = pending.visible_at.max(now.plus(extension));
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn delete_topic(&mut self, id: TopicId) -> Applied {
        let topic = self.topics.remove(&id).ok_or("deleted topic")?;
        self.topic_names.remove(&topic.name);
        self.held.forget_topic(id);
        for group in self.groups.values_mut() {
            if group.subscriptions.contains_key(&id) {
                Arc::make_mut(group).subscriptions.remove(&id);
            }
        }
        Ok(())
    }

    fn store(&mut self, lsn: Lsn, now: LogTime, message: &MessageRecord<'_>) -> Applied {
        let entry = Entry { lsn, tag: message.tag, lane: message.lane };
        match message.hold {
            Hold::None => {
                let offset = self.queue_mut(message.topic, message.queue)?.push(entry);
                if offset != message.offset {
                    return Err("offset of a message");
                }
            }
            hold => {
                let (topic, queue) = (message.topic, message.queue);
                self.held.insert(lsn, HeldMessage { topic, queue, entry, hold, checks: 0 });
            }
        }
        let key = super::duplicates::key_in(message.topic, message.key);
        self.duplicates.insert(key, now, message.queue, message.offset);
        Ok(())
    }

    /// A held message becomes visible, under the next offset of its queue.
    fn show(&mut self, message: &HeldMessage) -> Applied {
        self.queue_mut(message.topic, message.queue)?.push(message.entry);
        Ok(())
    }

    fn pop(&mut self, pop: &Pop, now: LogTime) -> Applied {
        let visible_at = now.plus(pop.invisible_ms);
        let lease = Lease {
            nonce: pop.nonce,
            client: pop.client,
            connection: pop.connection,
            attempt: pop.attempt,
            popped_at: now,
            length_ms: pop.invisible_ms,
            auto_renew: pop.auto_renew,
            confirmed: false,
            held: true,
        };
        let ordered = self.groups.get(&pop.group).ok_or("group")?.settings.ordered;
        let mut delivered = Vec::new();
        for part in &pop.queues {
            for offset in &part.again {
                self.end_attempt(pop.group, pop.topic, part.queue, *offset);
            }
            let queue =
                self.topics.get(&pop.topic).and_then(|topic| topic.queues.get(usize::from(part.queue.0)));
            let queue = queue.ok_or("popped queue")?;
            let lane_of = |offset| match queue.get(offset) {
                Some(entry) if ordered => entry.lane,
                _ => Lane(0),
            };
            let progress = progress_in(&mut self.groups, pop.group, pop.topic, part.queue)?;
            for offset in &part.again {
                progress.deliver(*offset, lane_of(*offset), visible_at, lease);
                delivered.push((part.queue, *offset));
            }
            for (fate, count) in &part.runs {
                for _ in 0..*count {
                    let offset = progress.next;
                    progress.next = offset.next();
                    match fate {
                        Fate::Taken => {
                            progress.deliver(offset, lane_of(offset), visible_at, lease);
                            delivered.push((part.queue, offset));
                        }
                        Fate::Parked => progress.park(offset, lane_of(offset)),
                        Fate::Skipped => {}
                    }
                }
            }
        }
        if pop.attempt != AttemptHash(0) && !delivered.is_empty() {
            let subscription = self.group_mut(pop.group)?.subscriptions.get_mut(&pop.topic);
            subscription.ok_or("subscription")?.attempts.insert(pop.attempt, delivered);
        }
        Ok(())
    }

    fn finish(&mut self, group: GroupId, topic: TopicId, queue: QueueId, offset: Offset) -> Applied {
        self.end_attempt(group, topic, queue, offset);
        self.progress_mut(group, topic, queue)?.finish(offset).map(drop).ok_or("pending message")
    }

    fn change_invisible(&mut self, change: &ChangeInvisible) -> Applied {
        for (queue, offset) in &change.messages {
            self.progress_mut(change.group, change.topic, *queue)?.change(*offset, |pending| {
                pending.visible_at = change.visible_at;
                if change.uncounted {
                    pending.attempts = pending.attempts.saturating_sub(1);
                }
                if let Some(lease) = &mut pending.lease {
                    lease.held = change.held;
                    lease.confirmed |= change.confirmed;
                }
            });
        }
        Ok(())
    }

    fn undo_pop(&mut self, group: GroupId, topic: TopicId, messages: &[(QueueId, Offset)]) -> Applied {
        for (queue, offset) in messages {
            self.end_attempt(group, topic, *queue, *offset);
            self.progress_mut(group, topic, *queue)?.change(*offset, |pending| {
                pending.visible_at = LogTime(0);
                pending.attempts = pending.attempts.saturating_sub(1);
                pending.lease = None;
            });
        }
        Ok(())
    }

    /// A delivery ends: a repeat of its receive attempt no longer gets it.
    fn end_attempt(&mut self, group: GroupId, topic: TopicId, queue: QueueId, offset: Offset) {
        let pending = self.progress(group, topic, queue).and_then(|progress| progress.pending.get(&offset));
        let Some(lease) = pending.and_then(|pending| pending.lease) else { return };
        if lease.attempt == AttemptHash(0) {
            return;
        }
        let Ok(group) = self.group_mut(group) else { return };
        let Some(subscription) = group.subscriptions.get_mut(&topic) else { return };
        if let Some(handed) = subscription.attempts.get_mut(&lease.attempt) {
            handed.retain(|message| *message != (queue, offset));
            if handed.is_empty() {
                subscription.attempts.remove(&lease.attempt);
            }
        }
    }

    /// Oldest messages go as far as their records do; what lies behind a kept one is passed over when met.
    fn drop_below(&mut self, below: Lsn) {
        self.log_start = self.log_start.max(below);
        for topic in self.topics.values_mut() {
            for number in 0..topic.queues.len() {
                let Some(queue) = topic.queues.get(number) else { continue };
                let mut min = queue.min;
                while queue.get(min).is_some_and(|entry| entry.lsn < below) {
                    min = min.next();
                }
                let gone = min.0 - queue.min.0;
                if gone > 0 {
                    let topic = Arc::make_mut(topic);
                    if let Some(queue) = topic.queues.get_mut(number) {
                        queue.trim(min);
                    }
                    topic.dead_since.drain(..(gone as usize).min(topic.dead_since.len()));
                }
            }
        }
    }

    fn group_mut(&mut self, id: GroupId) -> Result<&mut Group, &'static str> {
        self.groups.get_mut(&id).map(Arc::make_mut).ok_or("group")
    }

    fn queue_mut(
        &mut self,
        topic: TopicId,
        queue: QueueId,
    ) -> Result<&mut super::index::MessageQueue, &'static str> {
        let topic = self.topics.get_mut(&topic).ok_or("topic")?;
        Arc::make_mut(topic).queues.get_mut(usize::from(queue.0)).ok_or("queue")
    }

    fn progress_mut(
        &mut self,
        group: GroupId,
        topic: TopicId,
        queue: QueueId,
    ) -> Result<&mut Progress, &'static str> {
        progress_in(&mut self.groups, group, topic, queue)
    }
}

fn progress_in(
    groups: &mut BTreeMap<GroupId, Arc<Group>>,
    group: GroupId,
    topic: TopicId,
    queue: QueueId,
) -> Result<&mut Progress, &'static str> {
    let group = groups.get_mut(&group).map(Arc::make_mut).ok_or("group")?;
    let subscription = group.subscriptions.get_mut(&topic).ok_or("subscription")?;
    subscription.queues.get_mut(usize::from(queue.0)).map(Arc::make_mut).ok_or("queue")
}
