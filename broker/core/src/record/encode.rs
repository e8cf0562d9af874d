//! Records to bytes, and where a record lies inside another one.

use super::{HeldKey, Hold, MessageRecord, Pop, Record, VERSION, kind};
use crate::codec::{Write, varint_len};
use crate::config::{FlushMode, FlushPolicy};
use crate::ids::{GroupId, LogTime, Lsn, Offset, QueueId, TopicId};
use crate::queue::settings::{Backoff, GroupSettings, TopicSettings};

/// Appends a record's bytes, without its length.
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut start = |kind: u8| {
        out.put_u8(kind);
        out.put_u8(VERSION);
    };
    match record {
        Record::EpochStart { epoch } => {
            start(kind::EPOCH_START);
            out.put_u32(epoch.0);
        }
        Record::FeatureLevel(level) => {
            start(kind::FEATURE_LEVEL);
            out.put_u32(*level);
        }
        Record::DuplicateWindow { millis, entries } => {
            start(kind::DUPLICATE_WINDOW);
            out.put_u64(*millis);
            out.put_u64(*entries);
        }
        Record::FlushMode(policy) => {
            start(kind::FLUSH_MODE);
            put_flush_policy(out, *policy);
        }
        Record::TopicPut { id, name, settings } => {
            start(kind::TOPIC_PUT);
            out.put_u32(id.0);
            out.put_bytes(name.as_bytes());
            put_topic_settings(out, *settings);
        }
        Record::TopicDelete(id) => {
            start(kind::TOPIC_DELETE);
            out.put_u32(id.0);
        }
        Record::GroupPut { id, name, settings } => {
            start(kind::GROUP_PUT);
            out.put_u32(id.0);
            out.put_bytes(name.as_bytes());
            put_group_settings(out, settings);
        }
        Record::GroupDelete(id) => {
            start(kind::GROUP_DELETE);
            out.put_u32(id.0);
        }
        Record::Subscribe { group, topic, start: offsets } => {
            start(kind::SUBSCRIBE);
            put_pair(out, *group, *topic);
            put_offsets(out, offsets);
        }
        _ => encode_message(record, out),
    }
}

/// The records of messages and of where they are.
fn encode_message(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut start = |kind: u8| {
        out.put_u8(kind);
        out.put_u8(VERSION);
    };
    match record {
        Record::Message(message) => put_message(out, message),
        Record::Batch(messages) => {
            start(kind::BATCH);
            for message in messages {
                out.put_varint(message_len(message) as u64);
                put_message(out, message);
            }
        }
        Record::Relocate { topic, queue, offset, record } => {
            start(kind::RELOCATE);
            out.put_u32(topic.0);
            out.put_u16(queue.0);
            out.put_u64(offset.0);
            out.put_bytes(record);
        }
        Record::RelocateHeld { key, record } => {
            start(kind::RELOCATE_HELD);
            put_held_key(out, *key);
            out.put_bytes(record);
        }
        Record::DropBelow(below) => {
            start(kind::DROP_BELOW);
            out.put_u64(below.0);
        }
        Record::StateMark => start(kind::STATE_MARK),
        Record::StateHash { of, hash } => {
            start(kind::STATE_HASH);
            out.put_u64(of.0);
            out.put_u128(*hash);
        }
        Record::Expire { group, topic, below } => {
            start(kind::EXPIRE);
            put_pair(out, *group, *topic);
            out.put_u64(below.0);
        }
        Record::TransactionEnd { .. }
        | Record::TransactionCheck { .. }
        | Record::TransactionGiveUp { .. }
        | Record::TimerFire { .. }
        | Record::Recall { .. } => encode_held(record, out),
        _ => encode_delivery(record, out),
    }
}

/// The records of messages that waited.
fn encode_held(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut start = |kind: u8| {
        out.put_u8(kind);
        out.put_u8(VERSION);
    };
    match record {
        Record::TransactionEnd { half, commit } => {
            start(kind::TRANSACTION_END);
            out.put_u64(half.0);
            out.put_u8(u8::from(*commit));
        }
        Record::TransactionCheck { half, next_check } => {
            start(kind::TRANSACTION_CHECK);
            out.put_u64(half.0);
            out.put_u64(next_check.0);
        }
        Record::TransactionGiveUp { half, into } => {
            start(kind::TRANSACTION_GIVE_UP);
            out.put_u64(half.0);
            out.put_u32(into.0);
        }
        Record::TimerFire { up_to, count } => {
            start(kind::TIMER_FIRE);
            out.put_u64(up_to.0);
            out.put_u32(*count);
        }
        Record::Recall { deliver_at, id } => {
            start(kind::RECALL);
            out.put_u64(deliver_at.0);
            out.put_u64(id.0);
        }
        _ => {}
    }
}

/// The records of deliveries.
fn encode_delivery(record: &Record<'_>, out: &mut Vec<u8>) {
    let mut start = |kind: u8| {
        out.put_u8(kind);
        out.put_u8(VERSION);
    };
    match record {
        Record::Pop(pop) => {
            start(kind::POP);
            put_pop(out, pop);
        }
        Record::Ack { group, topic, messages } => {
            start(kind::ACK);
            put_pair(out, *group, *topic);
            put_messages(out, messages);
        }
        Record::ChangeInvisible(change) => {
            start(kind::CHANGE_INVISIBLE);
            put_pair(out, change.group, change.topic);
            out.put_u64(change.visible_at.0);
            out.put_u8(
                u8::from(change.held) | u8::from(change.confirmed) << 1 | u8::from(change.uncounted) << 2,
            );
            put_messages(out, &change.messages);
        }
        Record::Repeat(repeat) => {
            start(kind::REPEAT);
            put_pair(out, repeat.group, repeat.topic);
            out.put_u64(repeat.connection.0);
            out.put_varint(repeat.invisible_ms);
            put_messages(out, &repeat.messages);
        }
        Record::UndoPop { group, topic, messages } => {
            start(kind::UNDO_POP);
            put_pair(out, *group, *topic);
            put_messages(out, messages);
        }
        Record::DeadLetter { group, topic, queue, offset, into } => {
            start(kind::DEAD_LETTER);
            put_pair(out, *group, *topic);
            out.put_u16(queue.0);
            out.put_u64(offset.0);
            out.put_u32(into.0);
        }
        Record::Replay { from, offset, topic, queue, only } => {
            start(kind::REPLAY);
            out.put_u32(from.0);
            out.put_u64(offset.0);
            out.put_u32(topic.0);
            out.put_u16(queue.0);
            out.put_u32(only.0);
        }
        Record::Purge { topic, offsets } => {
            start(kind::PURGE);
            out.put_u32(topic.0);
            put_offsets(out, offsets);
        }
        Record::ResetOffset { group, topic, positions } => {
            start(kind::RESET_OFFSET);
            put_pair(out, *group, *topic);
            put_offsets(out, positions);
        }
        _ => {}
    }
}

/// Where the messages of a batch lie (their length prefixes), given the LSN of the batch's own length prefix.
pub(crate) fn batch_positions<'a>(
    lsn: Lsn,
    messages: &'a [MessageRecord<'a>],
) -> impl Iterator<Item = Lsn> + 'a {
    let sizes = messages.iter().map(|message| {
        let len = message_len(message) as u64;
        varint_len(len) as u64 + len
    });
    let len = 2 + sizes.clone().sum::<u64>();
    sizes.scan(lsn.plus(varint_len(len) as u64 + 2), |at, size| {
        let here = *at;
        *at = here.plus(size);
        Some(here)
    })
}

/// Where a relocated message lies, given the LSN of the length prefix of its [`Record::Relocate`].
pub(crate) fn relocated_position(lsn: Lsn, record: &[u8]) -> Lsn {
    position_in(lsn, 2 + 4 + 2 + 8, record)
}

/// The same for a [`Record::RelocateHeld`].
pub(crate) fn relocated_held_position(lsn: Lsn, record: &[u8]) -> Lsn {
    position_in(lsn, 2 + 1 + 8 + 8, record)
}

/// Where a record lies (its length prefix) that is the last field of one at `lsn`, after so many bytes of others.
fn position_in(lsn: Lsn, before: usize, record: &[u8]) -> Lsn {
    let len = before + varint_len(record.len() as u64) + record.len();
    lsn.plus((varint_len(len as u64) + before) as u64)
}

/// Bytes of a message record before its content.
const MESSAGE_PREFIX: usize = 2 + 4 + 2 + 8 + 1 + 1 + 8 + 16 + 8 + 8 + 8;

fn message_len(message: &MessageRecord<'_>) -> usize {
    MESSAGE_PREFIX + message.content.len()
}

fn put_pair(out: &mut Vec<u8>, group: GroupId, topic: TopicId) {
    out.put_u32(group.0);
    out.put_u32(topic.0);
}

fn put_messages(out: &mut Vec<u8>, messages: &[(QueueId, Offset)]) {
    out.put_varint(messages.len() as u64);
    for (queue, offset) in messages {
        out.put_varint(u64::from(queue.0));
        out.put_varint(offset.0);
    }
}

fn put_offsets(out: &mut Vec<u8>, offsets: &[Offset]) {
    out.put_varint(offsets.len() as u64);
    for offset in offsets {
        out.put_varint(offset.0);
    }
}

fn put_held_key(out: &mut Vec<u8>, key: HeldKey) {
    let (kind, time, id) = match key {
        HeldKey::Until(time, id) => (1, time, id),
        HeldKey::Transaction(id) => (2, LogTime(0), id),
    };
    out.put_u8(kind);
    out.put_u64(time.0);
    out.put_u64(id.0);
}

fn put_message(out: &mut Vec<u8>, message: &MessageRecord<'_>) {
    out.put_u8(kind::MESSAGE);
    out.put_u8(VERSION);
    out.put_u32(message.topic.0);
    out.put_u16(message.queue.0);
    out.put_u64(message.offset.0);
    out.put_u8(message.kind as u8);
    let (hold, until) = match message.hold {
        Hold::None => (0, LogTime(0)),
        Hold::Until(time) => (1, time),
        Hold::Transaction(time) => (2, time),
    };
    out.put_u8(hold);
    out.put_u64(until.0);
    out.put_u128(message.key.0);
    out.put_u64(message.tag.0);
    out.put_u64(message.lane.0);
    out.put_u64(message.stored_at.0);
    out.put(message.content);
}

fn put_pop(out: &mut Vec<u8>, pop: &Pop) {
    put_pair(out, pop.group, pop.topic);
    out.put_u64(pop.nonce.0);
    out.put_u64(pop.client.0);
    out.put_u64(pop.connection.0);
    out.put_u64(pop.attempt.0);
    out.put_varint(pop.invisible_ms);
    out.put_u8(u8::from(pop.auto_renew));
    out.put_varint(pop.queues.len() as u64);
    for queue in &pop.queues {
        out.put_varint(u64::from(queue.queue.0));
        out.put_varint(queue.again.len() as u64);
        for offset in &queue.again {
            out.put_varint(offset.0);
        }
        out.put_varint(queue.runs.len() as u64);
        for (fate, count) in &queue.runs {
            out.put_u8(*fate as u8);
            out.put_varint(u64::from(*count));
        }
    }
}

pub(crate) fn put_flush_policy(out: &mut dyn Write, policy: FlushPolicy) {
    out.put_u8(match policy.mode {
        FlushMode::Sync => 1,
        FlushMode::Async => 2,
    });
    out.put_u32(policy.interval_ms);
}

/// Settings of a topic, as in its record and in the checkpoint.
pub(crate) fn put_topic_settings(out: &mut (impl Write + ?Sized), settings: TopicSettings) {
    out.put_u8(settings.kind as u8);
    out.put_u16(settings.queues);
}

/// Settings of a group, as in its record and in the checkpoint.
pub(crate) fn put_group_settings(out: &mut (impl Write + ?Sized), settings: &GroupSettings) {
    out.put_u8(u8::from(settings.ordered));
    out.put_u32(settings.max_attempts);
    out.put_u8(settings.start as u8);
    match &settings.backoff {
        Backoff::Exponential { initial_ms, max_ms, multiplier_milli } => {
            out.put_u8(1);
            out.put_u64(*initial_ms);
            out.put_u64(*max_ms);
            out.put_u32(*multiplier_milli);
        }
        Backoff::Customized(delays) => {
            out.put_u8(2);
            out.put_varint(delays.len() as u64);
            for delay in delays {
                out.put_u64(*delay);
            }
        }
    }
}
