//! Bytes to records. Strict: a record has one encoding, and whatever differs from it is refused, so that no two
//! replicas can read the same bytes differently.

use bytes::Bytes;

use super::{
    ChangeInvisible, Fate, HeldKey, Hold, MessageRecord, Pop, PopQueue, Record, Repeat, StoredMessage,
    VERSION, kind,
};
use crate::codec::{Malformed, Reader};
use crate::config::{FlushMode, FlushPolicy};
use crate::hash::SendKey;
use crate::ids::{
    AttemptHash, ClientHash, ConnectionId, Epoch, GroupId, HeldId, Lane, LogTime, Lsn, Nonce, Offset,
    QueueId, TagHash, TopicId,
};
use crate::queue::settings::{Backoff, GroupSettings, StartFrom, TopicKind, TopicSettings};

/// Reads a record. Bytes left over are an error, as is an unknown type or version.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let mut reader = Reader::new(bytes);
    let kind = reader.u8("record type")?;
    if reader.u8("record version")? != VERSION {
        return Err(reader.malformed("record version: written by a newer release"));
    }
    let r = &mut reader;
    let record = match kind {
        kind::EPOCH_START => Record::EpochStart { epoch: Epoch(r.u32("epoch")?) },
        kind::FEATURE_LEVEL => Record::FeatureLevel(r.u32("feature level")?),
        kind::DUPLICATE_WINDOW => {
            Record::DuplicateWindow { millis: r.u64("window")?, entries: r.u64("window")? }
        }
        kind::FLUSH_MODE => Record::FlushMode(flush_policy(r)?),
        kind::TOPIC_PUT => Record::TopicPut {
            id: TopicId(r.u32("topic")?),
            name: r.str("topic name")?,
            settings: topic_settings(r)?,
        },
        kind::TOPIC_DELETE => Record::TopicDelete(TopicId(r.u32("topic")?)),
        kind::GROUP_PUT => Record::GroupPut {
            id: GroupId(r.u32("group")?),
            name: r.str("group name")?,
            settings: group_settings(r)?,
        },
        kind::GROUP_DELETE => Record::GroupDelete(GroupId(r.u32("group")?)),
        kind::SUBSCRIBE => {
            let (group, topic) = pair(r)?;
            Record::Subscribe { group, topic, start: offsets(r)? }
        }
        kind::MESSAGE => Record::Message(message_body(r)?),
        kind::BATCH => {
            let mut messages = Vec::new();
            while !r.is_empty() {
                messages.push(message(r.bytes("message of a batch")?)?);
            }
            Record::Batch(messages)
        }
        kind::TRANSACTION_END
        | kind::TRANSACTION_CHECK
        | kind::TRANSACTION_GIVE_UP
        | kind::TIMER_FIRE
        | kind::RECALL => decode_held(kind, r)?,
        _ => decode_delivery(kind, r)?,
    };
    if reader.is_empty() { Ok(record) } else { Err(reader.malformed("end of record")) }
}

fn decode_held<'a>(kind: u8, r: &mut Reader<'a>) -> Result<Record<'a>, Malformed> {
    Ok(match kind {
        kind::TRANSACTION_END => Record::TransactionEnd { half: held_id(r)?, commit: r.bool("resolution")? },
        kind::TRANSACTION_CHECK => {
            Record::TransactionCheck { half: held_id(r)?, next_check: LogTime(r.u64("next check")?) }
        }
        kind::TRANSACTION_GIVE_UP => {
            Record::TransactionGiveUp { half: held_id(r)?, into: TopicId(r.u32("dead-letter topic")?) }
        }
        kind::TIMER_FIRE => {
            Record::TimerFire { up_to: LogTime(r.u64("timer")?), count: r.u32("due messages")? }
        }
        kind::RECALL => Record::Recall { deliver_at: LogTime(r.u64("delivery time")?), id: held_id(r)? },
        _ => return Err(r.malformed("record type: written by a newer release")),
    })
}

fn decode_delivery<'a>(kind: u8, r: &mut Reader<'a>) -> Result<Record<'a>, Malformed> {
    Ok(match kind {
        kind::POP => Record::Pop(pop(r)?),
        kind::ACK => {
            let (group, topic) = pair(r)?;
            Record::Ack { group, topic, messages: messages(r)? }
        }
        kind::CHANGE_INVISIBLE => {
            let (group, topic) = pair(r)?;
            let visible_at = LogTime(r.u64("visible at")?);
            let flags = r.u8("flags")?;
            if flags > 7 {
                return Err(r.malformed("flags"));
            }
            Record::ChangeInvisible(ChangeInvisible {
                group,
                topic,
                visible_at,
                held: flags & 1 != 0,
                confirmed: flags & 2 != 0,
                uncounted: flags & 4 != 0,
                messages: messages(r)?,
            })
        }
        kind::REPEAT => {
            let (group, topic) = pair(r)?;
            Record::Repeat(Repeat {
                group,
                topic,
                connection: ConnectionId(r.u64("connection")?),
                invisible_ms: r.varint("invisible duration")?,
                messages: messages(r)?,
            })
        }
        kind::UNDO_POP => {
            let (group, topic) = pair(r)?;
            Record::UndoPop { group, topic, messages: messages(r)? }
        }
        kind::DEAD_LETTER => {
            let (group, topic) = pair(r)?;
            Record::DeadLetter {
                group,
                topic,
                queue: QueueId(r.u16("queue")?),
                offset: Offset(r.u64("offset")?),
                into: TopicId(r.u32("dead-letter topic")?),
            }
        }
        kind::REPLAY => Record::Replay {
            from: TopicId(r.u32("dead-letter topic")?),
            offset: Offset(r.u64("offset")?),
            topic: TopicId(r.u32("topic")?),
            queue: QueueId(r.u16("queue")?),
            only: GroupId(r.u32("group")?),
        },
        kind::PURGE => Record::Purge { topic: TopicId(r.u32("dead-letter topic")?), offsets: offsets(r)? },
        kind::RESET_OFFSET => {
            let (group, topic) = pair(r)?;
            Record::ResetOffset { group, topic, positions: offsets(r)? }
        }
        kind::RELOCATE_HELD => {
            Record::RelocateHeld { key: held_key(r)?, record: r.bytes("relocated record")? }
        }
        kind::RELOCATE => Record::Relocate {
            topic: TopicId(r.u32("topic")?),
            queue: QueueId(r.u16("queue")?),
            offset: Offset(r.u64("offset")?),
            record: r.bytes("relocated record")?,
        },
        kind::DROP_BELOW => Record::DropBelow(Lsn(r.u64("log start")?)),
        kind::EXPIRE => {
            let (group, topic) = pair(r)?;
            Record::Expire { group, topic, below: Lsn(r.u64("position")?) }
        }
        kind::STATE_MARK => Record::StateMark,
        kind::STATE_HASH => {
            Record::StateHash { of: Lsn(r.u64("position of the mark")?), hash: r.u128("state hash")? }
        }
        _ => return Err(r.malformed("record type: written by a newer release")),
    })
}

/// Reads the message record that lies at a delivery's LSN, sharing its bytes.
pub fn decode_message(bytes: &Bytes) -> Result<StoredMessage, Malformed> {
    let record = message(bytes)?;
    let content = bytes.slice(bytes.len() - record.content.len()..);
    let deliver_at = match record.hold {
        Hold::Until(time) => time,
        Hold::None | Hold::Transaction(_) => LogTime(0),
    };
    Ok(StoredMessage {
        topic: record.topic,
        queue: record.queue,
        kind: record.kind,
        stored_at: record.stored_at,
        deliver_at,
        content,
    })
}

/// A whole message record, type and version included.
pub(crate) fn message(bytes: &[u8]) -> Result<MessageRecord<'_>, Malformed> {
    let mut reader = Reader::new(bytes);
    match (reader.u8("record type")?, reader.u8("record version")?) {
        (kind::MESSAGE, VERSION) => message_body(&mut reader),
        _ => Err(reader.malformed("message record")),
    }
}

fn message_body<'a>(r: &mut Reader<'a>) -> Result<MessageRecord<'a>, Malformed> {
    Ok(MessageRecord {
        topic: TopicId(r.u32("topic")?),
        queue: QueueId(r.u16("queue")?),
        offset: Offset(r.u64("offset")?),
        kind: match topic_kind(r)? {
            TopicKind::Undecided => return Err(r.malformed("message type")),
            kind => kind,
        },
        hold: {
            let hold = r.u8("hold")?;
            let time = LogTime(r.u64("hold until")?);
            match hold {
                0 if time == LogTime(0) => Hold::None,
                1 => Hold::Until(time),
                2 => Hold::Transaction(time),
                _ => return Err(r.malformed("hold")),
            }
        },
        key: SendKey(r.u128("send key")?),
        tag: TagHash(r.u64("tag")?),
        lane: Lane(r.u64("lane")?),
        stored_at: LogTime(r.u64("store time")?),
        content: r.rest(),
    })
}

fn pop(r: &mut Reader<'_>) -> Result<Pop, Malformed> {
    let (group, topic) = pair(r)?;
    let mut pop = Pop {
        group,
        topic,
        nonce: Nonce(r.u64("nonce")?),
        client: ClientHash(r.u64("client")?),
        connection: ConnectionId(r.u64("connection")?),
        attempt: AttemptHash(r.u64("attempt")?),
        invisible_ms: r.varint("invisible duration")?,
        auto_renew: r.bool("auto renew")?,
        queues: Vec::new(),
    };
    for _ in 0..r.count("queues")? {
        let mut queue = PopQueue { queue: queue_id(r)?, ..PopQueue::default() };
        for _ in 0..r.count("offsets")? {
            queue.again.push(Offset(r.varint("offset")?));
        }
        for _ in 0..r.count("runs")? {
            let fate = match r.u8("fate")? {
                1 => Fate::Taken,
                2 => Fate::Skipped,
                3 => Fate::Parked,
                _ => return Err(r.malformed("fate")),
            };
            let count = u32::try_from(r.varint("run")?).map_err(|_| r.malformed("run"))?;
            queue.runs.push((fate, count));
        }
        pop.queues.push(queue);
    }
    Ok(pop)
}

fn pair(r: &mut Reader<'_>) -> Result<(GroupId, TopicId), Malformed> {
    Ok((GroupId(r.u32("group")?), TopicId(r.u32("topic")?)))
}

fn offsets(r: &mut Reader<'_>) -> Result<Vec<Offset>, Malformed> {
    let count = r.count("offsets")?;
    let mut offsets = Vec::with_capacity(count);
    for _ in 0..count {
        offsets.push(Offset(r.varint("offset")?));
    }
    Ok(offsets)
}

fn held_id(r: &mut Reader<'_>) -> Result<HeldId, Malformed> {
    Ok(HeldId(r.u64("held message")?))
}

fn held_key(r: &mut Reader<'_>) -> Result<HeldKey, Malformed> {
    let kind = r.u8("hold")?;
    let (time, id) = (LogTime(r.u64("hold until")?), held_id(r)?);
    match kind {
        1 => Ok(HeldKey::Until(time, id)),
        2 if time == LogTime(0) => Ok(HeldKey::Transaction(id)),
        _ => Err(r.malformed("hold")),
    }
}

fn queue_id(r: &mut Reader<'_>) -> Result<QueueId, Malformed> {
    u16::try_from(r.varint("queue")?).map(QueueId).map_err(|_| r.malformed("queue"))
}

fn messages(r: &mut Reader<'_>) -> Result<Vec<(QueueId, Offset)>, Malformed> {
    let count = r.count("messages")?;
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        messages.push((queue_id(r)?, Offset(r.varint("offset")?)));
    }
    Ok(messages)
}

fn topic_kind(r: &mut Reader<'_>) -> Result<TopicKind, Malformed> {
    match r.u8("message type")? {
        1 => Ok(TopicKind::Normal),
        2 => Ok(TopicKind::Fifo),
        3 => Ok(TopicKind::Delay),
        4 => Ok(TopicKind::Transaction),
        5 => Ok(TopicKind::Undecided),
        _ => Err(r.malformed("message type")),
    }
}

pub(crate) fn flush_policy(r: &mut Reader<'_>) -> Result<FlushPolicy, Malformed> {
    let mode = match r.u8("flush mode")? {
        1 => FlushMode::Sync,
        2 => FlushMode::Async,
        _ => return Err(r.malformed("flush mode")),
    };
    Ok(FlushPolicy { mode, interval_ms: r.u32("flush interval")? })
}

/// Reads what [`put_topic_settings`] wrote.
pub(crate) fn topic_settings(r: &mut Reader<'_>) -> Result<TopicSettings, Malformed> {
    Ok(TopicSettings { kind: topic_kind(r)?, queues: r.u16("number of queues")? })
}

/// Reads what [`put_group_settings`] wrote.
pub(crate) fn group_settings(r: &mut Reader<'_>) -> Result<GroupSettings, Malformed> {
    let ordered = r.bool("ordered")?;
    let max_attempts = r.u32("max attempts")?;
    let start = match r.u8("start")? {
        1 => StartFrom::Earliest,
        2 => StartFrom::Latest,
        _ => return Err(r.malformed("start")),
    };
    let backoff = match r.u8("back-off")? {
        1 => Backoff::Exponential {
            initial_ms: r.u64("back-off")?,
            max_ms: r.u64("back-off")?,
            multiplier_milli: r.u32("back-off")?,
        },
        2 => {
            let mut delays = Vec::new();
            for _ in 0..r.count("back-off")? {
                delays.push(r.u64("back-off")?);
            }
            Backoff::Customized(delays)
        }
        _ => return Err(r.malformed("back-off")),
    };
    Ok(GroupSettings { ordered, max_attempts, backoff, start })
}
