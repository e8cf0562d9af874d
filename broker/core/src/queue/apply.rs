//! What each record means. Total over well-formed logs: a record that does not fit the state is an error that
//! halts the replica, since its state would differ from its peers' from there on.

mod delivery;
mod expire;
mod held;
mod replay;

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::duplicates::StoredAs;
use super::index::{Entry, MessageQueue};
use super::progress::Progress;
use super::settings::{GroupSettings, TopicKind, TopicSettings};
use super::state::{Group, State, Subscription, Topic};
use crate::codec::Malformed;
use crate::ids::{Epoch, GroupId, LogTime, Lsn, Offset, QueueId, TopicId};
use crate::record::{self, Hold, MessageRecord, Record};
use crate::replication::EpochStart;

/// Newest feature level that this code applies.
pub(crate) const FEATURE_LEVEL: u32 = 1;

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

/// Epochs that are remembered though they ended below the start of the log. A replica removes its segments when its own
/// checkpoints let it, so its log may start further back: whoever compares logs there must still know who wrote them.
pub(super) const EPOCHS_KEPT: usize = 1_000;

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

    /// A frame of `epoch` follows, whose first record would lie at `first_record`; said by the driver before each frame,
    /// also before one without records. Where the master went to the next segment first, its epoch begins with such a
    /// frame, before its [`Record::EpochStart`]: whoever has another frame there has parted from this log.
    pub fn begin_frame(&mut self, epoch: Epoch, first_record: Lsn) {
        self.epochs.extend(&[EpochStart { epoch, start: first_record }]);
    }

    /// Everything below `end` was applied: said by the driver after each frame.
    pub fn applied_up_to(&mut self, end: Lsn) {
        self.applied = self.applied.max(end);
    }

    fn apply_record(&mut self, lsn: Lsn, now: LogTime, record: &Record<'_>) -> Applied {
        match record {
            Record::EpochStart { epoch } => {
                self.start_epoch(*epoch, lsn)?;
                self.extend_leases(now);
                self.outages.add(self.log_time, now);
            }
            Record::FeatureLevel(level) => {
                if !(self.feature_level..=FEATURE_LEVEL).contains(level) {
                    return Err("feature level: older than the last one, or of a newer release");
                }
                self.feature_level = *level;
            }
            Record::DuplicateWindow { millis, entries } => {
                self.duplicates.window_ms = *millis;
                self.duplicates.window_entries = *entries;
            }
            Record::FlushMode(policy) => self.flush = *policy,
            Record::TopicPut { id, name, settings } => self.put_topic(*id, name, *settings)?,
            Record::TopicDelete(id) => self.delete_topic(*id)?,
            Record::GroupPut { id, name, settings } => self.put_group(*id, name, settings)?,
            Record::GroupDelete(id) => {
                let group = self.groups.remove(id).ok_or("deleted group")?;
                self.group_names.remove(&group.name);
            }
            Record::Subscribe { group, topic, start } => self.subscribe(*group, *topic, start, now)?,
            Record::Message(message) => self.store(lsn, now, message)?,
            Record::Batch(messages) => {
                for (message, at) in messages.iter().zip(record::batch_positions(lsn, messages)) {
                    self.store(at, now, message)?;
                }
            }
            Record::TransactionEnd { .. }
            | Record::TransactionCheck { .. }
            | Record::TransactionGiveUp { .. }
            | Record::TimerFire { .. }
            | Record::Recall { .. }
            | Record::RelocateHeld { .. } => self.apply_held(lsn, now, record)?,
            Record::Replay { .. } | Record::Purge { .. } | Record::ResetOffset { .. } => {
                self.apply_replay(now, record)?;
            }
            Record::Relocate { topic, queue, offset, record } => {
                record::message(record).map_err(|_| "relocated record")?;
                let at = record::relocated_position(lsn, record);
                self.queue_mut(*topic, *queue)?.relocate(*offset, at).ok_or("relocated message")?;
            }
            Record::DropBelow(below) if *below > lsn => return Err("log start ahead of its record"),
            Record::DropBelow(below) => self.drop_below(*below),
            Record::Expire { below, .. } if *below > lsn => return Err("expiry ahead of its record"),
            Record::Expire { group, topic, below } => self.expire(*group, *topic, *below)?,
            Record::StateMark => self.compare.mark(self.as_of(lsn)),
            Record::StateHash { of, .. } if *of >= lsn => return Err("state hash ahead of its mark"),
            Record::StateHash { of, hash } => self.compare.tell(*of, *hash),
            Record::Pop(_)
            | Record::Ack { .. }
            | Record::ChangeInvisible(_)
            | Record::Repeat(_)
            | Record::UndoPop { .. }
            | Record::DeadLetter { .. } => self.apply_delivery(now, record)?,
        }
        Ok(())
    }

    fn start_epoch(&mut self, epoch: Epoch, lsn: Lsn) -> Applied {
        if epoch < self.epoch() {
            return Err("epoch that falls");
        }
        self.epochs.extend(&[EpochStart { epoch, start: lsn }]);
        Ok(())
    }

    /// A new topic, or the decision which messages one takes. A number given twice, or a name, would hand one
    /// topic's messages to another's consumers.
    fn put_topic(&mut self, id: TopicId, name: &str, settings: TopicSettings) -> Applied {
        if let Some(topic) = self.topics.get_mut(&id).filter(|topic| &*topic.name == name) {
            let TopicSettings { kind, queues } = topic.settings;
            if kind != TopicKind::Undecided || settings.kind == kind || settings.queues != queues {
                return Err("settings of a topic that are decided");
            }
            Arc::make_mut(topic).settings = settings;
            return Ok(());
        }
        if id <= self.last_topic || self.topic_names.contains_key(name) {
            return Err("topic that exists, or existed");
        }
        if !(TopicSettings::QUEUES_MIN..=TopicSettings::QUEUES_MAX).contains(&settings.queues) {
            return Err("number of queues");
        }
        let topic = Topic::new(Arc::from(name), settings);
        self.topic_names.insert(Arc::clone(&topic.name), id);
        self.topics.insert(id, Arc::new(topic));
        self.last_topic = id;
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

    /// A new group, or new settings of one that keeps its positions.
    fn put_group(&mut self, id: GroupId, name: &str, settings: &GroupSettings) -> Applied {
        let named = self.group_names.get(name);
        if let Some(group) = self.groups.get_mut(&id).filter(|_| named == Some(&id)) {
            Arc::make_mut(group).settings = settings.clone();
            return Ok(());
        }
        if id <= self.last_group || named.is_some() {
            return Err("consumer group that exists, or existed");
        }
        let name: Arc<str> = Arc::from(name);
        let group = Group {
            name: Arc::clone(&name),
            settings: settings.clone(),
            subscriptions: BTreeMap::new(),
            expired: 0,
        };
        self.group_names.insert(name, id);
        self.groups.insert(id, Arc::new(group));
        self.last_group = id;
        Ok(())
    }

    fn subscribe(&mut self, group: GroupId, topic: TopicId, start: &[Offset], now: LogTime) -> Applied {
        let queues = &self.topics.get(&topic).ok_or("topic")?.queues;
        let fits = queues.iter().zip(start).all(|(queue, start)| *start <= queue.next);
        if start.len() != queues.len() || !fits {
            return Err("start of a subscription");
        }
        let subscriptions = &mut self.group_mut(group)?.subscriptions;
        if subscriptions.contains_key(&topic) {
            return Err("subscription that exists");
        }
        let queues = start.iter().map(|offset| Arc::new(Progress::new(*offset))).collect();
        subscriptions.insert(topic, Subscription { queues, last_used: now, ..Subscription::default() });
        Ok(())
    }

    fn store(&mut self, lsn: Lsn, now: LogTime, message: &MessageRecord<'_>) -> Applied {
        let (topic, queue) = (message.topic, message.queue);
        let stored = match message.hold {
            Hold::None => {
                let entry = Entry::new(lsn, message.tag, message.lane);
                if self.push(topic, queue, entry, now)? != message.offset {
                    return Err("offset of a message");
                }
                StoredAs::Visible(message.offset)
            }
            Hold::Until(time) => self.hold_until(time, lsn, message)?,
            Hold::Transaction(next_check) => self.hold_half(next_check, lsn, message)?,
        };
        let key = super::duplicates::key_in(topic, message.key);
        self.duplicates.insert(key, now, queue, stored);
        Ok(())
    }

    /// Adds a message to its queue.
    fn push(
        &mut self,
        topic: TopicId,
        queue: QueueId,
        entry: Entry,
        now: LogTime,
    ) -> Result<Offset, &'static str> {
        let topic = Arc::make_mut(self.topics.get_mut(&topic).ok_or("topic")?);
        let offset = topic.queues.get_mut(usize::from(queue.0)).ok_or("queue")?.push(entry);
        if topic.dead_letters && queue == QueueId(0) {
            topic.dead_since.push_back(now);
        }
        Ok(offset)
    }

    /// Oldest messages go as far as their records do; what lies behind a kept one is passed over when met.
    fn drop_below(&mut self, below: Lsn) {
        self.log_start = self.log_start.max(below);
        self.epochs.forget_oldest_below(below, EPOCHS_KEPT);
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
                    if number == 0 {
                        topic.dead_since.drain(..(gone as usize).min(topic.dead_since.len()));
                    }
                }
            }
        }
    }

    fn group_mut(&mut self, id: GroupId) -> Result<&mut Group, &'static str> {
        self.groups.get_mut(&id).map(Arc::make_mut).ok_or("group")
    }

    fn queue_mut(&mut self, topic: TopicId, queue: QueueId) -> Result<&mut MessageQueue, &'static str> {
        let topic = self.topics.get_mut(&topic).ok_or("topic")?;
        Arc::make_mut(topic).queues.get_mut(usize::from(queue.0)).ok_or("queue")
    }
}
