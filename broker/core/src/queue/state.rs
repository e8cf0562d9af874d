//! The replicated state: everything that the log says, in the shape that decisions need. Cloning it clones
//! pointers, so that a checkpoint is written from a clone while the log goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::duplicates::Duplicates;
use super::held::{Held, HeldCounts};
use super::index::{Entry, MessageQueue};
use super::outages::Outages;
use super::progress::Progress;
use super::request::{GroupView, Name, TopicView};
use super::settings::{GroupSettings, TopicSettings};
use crate::config::FlushPolicy;
use crate::ids::{AttemptHash, Epoch, GroupId, LogTime, Lsn, Offset, QueueId, TopicId};
use crate::replication::EpochHistory;

/// A topic with its queues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Topic {
    pub(crate) name: Name,
    pub(crate) settings: TopicSettings,
    pub(crate) queues: Vec<MessageQueue>,
    /// Whether its name is one of a dead-letter topic.
    pub(crate) dead_letters: bool,
    /// Of a dead-letter topic: when each kept message came into queue 0, oldest first.
    pub(crate) dead_since: std::collections::VecDeque<LogTime>,
}

/// A consumer group with its positions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    pub(crate) name: Name,
    pub(crate) settings: GroupSettings,
    pub(crate) subscriptions: BTreeMap<TopicId, Subscription>,
    /// Messages that it owed and that were given up because it did not consume.
    pub(crate) expired: u64,
}

/// A group's positions in one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Subscription {
    /// One a queue.
    pub(crate) queues: Vec<Arc<Progress>>,
    /// Log time of its beginning or of the newest record that a consumer's call or its life caused.
    pub(crate) last_used: LogTime,
    /// What each receive attempt was handed and has not ended.
    pub(crate) attempts: BTreeMap<AttemptHash, Vec<(QueueId, Offset)>>,
}

/// The state of a shard.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Everything below is in here: the end of the newest record applied.
    pub(crate) applied: Lsn,
    /// Log time of the newest record.
    pub(crate) log_time: LogTime,
    /// Where each epoch begins; see [`State::epochs`].
    pub(crate) epochs: EpochHistory,
    pub(crate) feature_level: u32,
    pub(crate) flush: FlushPolicy,
    /// Messages below are gone.
    pub(crate) log_start: Lsn,
    pub(crate) topics: BTreeMap<TopicId, Arc<Topic>>,
    pub(crate) topic_names: BTreeMap<Name, TopicId>,
    /// Numbers given so far.
    pub(crate) last_topic: TopicId,
    pub(crate) groups: BTreeMap<GroupId, Arc<Group>>,
    pub(crate) group_names: BTreeMap<Name, GroupId>,
    /// Numbers given so far.
    pub(crate) last_group: GroupId,
    pub(crate) duplicates: Duplicates,
    pub(crate) held: Held,
    pub(crate) outages: Outages,
    /// Messages given up because their group did not consume, of all groups that ever were.
    pub(crate) expired: u64,
    /// What the log asks the driver to do; not part of the state.
    pub(crate) compare: Compare,
}

/// Name of the dead-letter topic of a group.
#[must_use]
pub fn dead_letter_topic(group: &str) -> String {
    format!("{DEAD_LETTER_PREFIX}{group}")
}

/// The topic with the dead letters of a group, or [`UNRESOLVED_TOPIC`] by its own name.
#[must_use]
pub fn dead_letters_of(of: &str) -> String {
    if of == UNRESOLVED_TOPIC { of.to_owned() } else { dead_letter_topic(of) }
}

/// What names of dead-letter topics begin with, as in RocketMQ.
pub const DEAD_LETTER_PREFIX: &str = "%DLQ%";

/// Where half messages go whose producers never said how their transaction ended. RocketMQ's name.
pub const UNRESOLVED_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// Whether messages come into a topic by failing elsewhere, so that nobody sends to it or makes it.
#[must_use]
pub fn is_dead_letter_topic(name: &str) -> bool {
    name.starts_with(DEAD_LETTER_PREFIX) || name == UNRESOLVED_TOPIC
}

/// What the log asked to have compared with other replicas.
#[derive(Clone, Debug, Default)]
pub struct Compare {
    /// The state at the newest mark; its `applied` is the position of the mark.
    pub marked: Option<Arc<State>>,
    /// A mark, and the hash that the master says its state had there.
    pub told: Option<(Lsn, u128)>,
}

impl Compare {
    pub(crate) fn mark(&mut self, state: State) {
        self.marked = Some(Arc::new(state));
    }

    pub(crate) fn tell(&mut self, of: Lsn, hash: u128) {
        self.told = Some((of, hash));
    }
}

impl State {
    /// Everything below this position is in the state.
    pub fn applied(&self) -> Lsn {
        self.applied
    }

    /// Log time of the newest record.
    pub fn log_time(&self) -> LogTime {
        self.log_time
    }

    /// Epoch of the newest frame.
    pub fn epoch(&self) -> Epoch {
        self.epochs.last_epoch()
    }

    /// Which epoch began where: `start` is the position that the first record of the epoch's first frame has, or would
    /// have if that frame had one. Epochs that ended before the log starts are forgotten.
    pub fn epochs(&self) -> &EpochHistory {
        &self.epochs
    }

    /// How the log is flushed.
    pub fn flush_policy(&self) -> FlushPolicy {
        self.flush
    }

    /// Messages below this position are gone.
    pub fn log_start(&self) -> Lsn {
        self.log_start
    }

    /// Sends that are recognised when repeated.
    pub fn remembered_sends(&self) -> u64 {
        self.duplicates.len()
    }

    /// Sends that fell out of the window of recognition for want of room, since the log began.
    pub fn forgotten_sends(&self) -> u64 {
        self.duplicates.forgotten_early
    }

    /// Messages that were dropped although a group owed them, because it had not consumed for long; since the log
    /// began.
    pub fn expired_messages(&self) -> u64 {
        self.expired
    }

    /// Messages that no consumer can see yet, of all topics.
    pub fn held(&self) -> HeldCounts {
        let (delayed, halves) = (self.held.delayed.len() as u64, self.held.halves.len() as u64);
        HeldCounts { delayed, halves }
    }

    /// Half messages that became dead letters because nobody ended their transaction; since the log began.
    pub fn given_up_transactions(&self) -> u64 {
        self.held.given_up
    }

    /// For how long groups could consume since a log time, in milliseconds: without the outages of the broker.
    pub fn served(&self, since: LogTime, now: LogTime) -> u64 {
        self.outages.served(since, now)
    }

    /// What is to be hashed and compared since this was asked last.
    pub fn take_compare(&mut self) -> Compare {
        std::mem::take(&mut self.compare)
    }

    /// This state as of the record at `lsn`, the next one.
    pub(crate) fn as_of(&self, lsn: Lsn) -> Self {
        let mut state = Self { compare: Compare::default(), ..self.clone() };
        state.applied_up_to(lsn);
        state
    }

    pub(crate) fn topic(&self, name: &str) -> Option<(TopicId, &Topic)> {
        let id = *self.topic_names.get(name)?;
        Some((id, self.topics.get(&id)?))
    }

    pub(crate) fn group(&self, name: &str) -> Option<(GroupId, &Group)> {
        let id = *self.group_names.get(name)?;
        Some((id, self.groups.get(&id)?))
    }

    pub(crate) fn progress(&self, group: GroupId, topic: TopicId, queue: QueueId) -> Option<&Progress> {
        let subscription = self.groups.get(&group)?.subscriptions.get(&topic)?;
        subscription.queues.get(usize::from(queue.0)).map(Arc::as_ref)
    }

    /// A message that is still in the log.
    pub(crate) fn entry(&self, topic: TopicId, queue: QueueId, offset: Offset) -> Option<Entry> {
        self.message_queue(topic, queue)?.get(offset).filter(|entry| entry.is_kept(self.log_start))
    }

    pub(crate) fn message_queue(&self, topic: TopicId, queue: QueueId) -> Option<&MessageQueue> {
        self.topics.get(&topic)?.queues.get(usize::from(queue.0))
    }
}

impl Topic {
    pub(crate) fn new(name: Name, settings: TopicSettings) -> Self {
        let queues = vec![MessageQueue::default(); usize::from(settings.queues)];
        let dead_letters = is_dead_letter_topic(&name);
        Self { name, settings, queues, dead_letters, dead_since: std::collections::VecDeque::new() }
    }

    pub(crate) fn view(&self, id: TopicId) -> TopicView {
        TopicView { name: Arc::clone(&self.name), id, settings: self.settings }
    }
}

impl Group {
    pub(crate) fn view(&self, id: GroupId) -> GroupView {
        GroupView { name: Arc::clone(&self.name), id, settings: self.settings.clone() }
    }
}
