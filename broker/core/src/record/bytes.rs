//! Records as bytes. Numbers never change their meaning; new ones are added at the end.

use bytes::Bytes;

use super::{ChangeInvisible, Fate, Hold, MessageRecord, Pop, PopQueue, Record, StoredMessage};
use crate::codec::{Malformed, Reader, Write, varint_len};
use crate::hash::SendKey;
use crate::ids::{
    AttemptHash, ClientHash, ConnectionId, Epoch, GroupId, Lane, LogTime, Lsn, Nonce, Offset, QueueId,
    TagHash, TopicId,
};
use crate::queue::settings::{Backoff, GroupSettings, StartFrom, TopicKind, TopicSettings};

mod kind {
    pub(super) const EPOCH_START: u8 = 1;
    pub(super) const FEATURE_LEVEL: u8 = 2;
    pub(super) const DUPLICATE_WINDOW: u8 = 3;
    pub(super) const TOPIC_PUT: u8 = 10;
    pub(super) const TOPIC_DELETE: u8 = 11;
    pub(super) const GROUP_PUT: u8 = 12;
    pub(super) const GROUP_DELETE: u8 = 13;
    pub(super) const SUBSCRIBE: u8 = 14;
    pub(super) const MESSAGE: u8 = 20;
    pub(super) const BATCH: u8 = 21;
    pub(super) const TRANSACTION_END: u8 = 22;
    pub(super) const TRANSACTION_CHECK: u8 = 23;
    pub(super) const TIMER_FIRE: u8 = 24;
    pub(super) const POP: u8 = 30;
    pub(super) const ACK: u8 = 31;
    pub(super) const CHANGE_INVISIBLE: u8 = 32;
    pub(super) const UNDO_POP: u8 = 33;
    pub(super) const DEAD_LETTER: u8 = 34;
    pub(super) const RELOCATE: u8 = 40;
    pub(super) const DROP_BELOW: u8 = 41;
    pub(super) const STATE_HASH: u8 = 42;
}

/// Version of every record body so far.
const VERSION: u8 = 1;

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
            out.put_varint(offsets.len() as u64);
            for offset in offsets {
                out.put_varint(offset.0);
            }
        }
        _ => encode_delivery(record, out),
    }
}

/// The records of messages and of their deliveries.
fn encode_delivery(record: &Record<'_>, out: &mut Vec<u8>) {
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
        Record::TimerFire { up_to } => {
            start(kind::TIMER_FIRE);
            out.put_u64(up_to.0);
        }
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
        Record::Relocate { topic, queue, offset, record } => {
            start(kind::RELOCATE);
            out.put_u32(topic.0);
            out.put_u16(queue.0);
            out.put_u64(offset.0);
            out.put_bytes(record);
        }
        Record::DropBelow(below) => {
            start(kind::DROP_BELOW);
            out.put_u64(below.0);
        }
        Record::StateHash { hash } => {
            start(kind::STATE_HASH);
            out.put_u128(*hash);
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
    const BEFORE: usize = 2 + 4 + 2 + 8;
    let len = BEFORE + varint_len(record.len() as u64) + record.len();
    lsn.plus((varint_len(len as u64) + BEFORE) as u64)
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
            let mut start = Vec::new();
            for _ in 0..r.count("start offsets")? {
                start.push(Offset(r.varint("start offset")?));
            }
            Record::Subscribe { group, topic, start }
        }
        kind::MESSAGE => Record::Message(message_body(r)?),
        kind::BATCH => {
            let mut messages = Vec::new();
            while !r.is_empty() {
                messages.push(message(r.bytes("message of a batch")?)?);
            }
            Record::Batch(messages)
        }
        _ => decode_delivery(kind, r)?,
    };
    if reader.is_empty() { Ok(record) } else { Err(reader.malformed("end of record")) }
}

fn decode_delivery<'a>(kind: u8, r: &mut Reader<'a>) -> Result<Record<'a>, Malformed> {
    Ok(match kind {
        kind::TRANSACTION_END => {
            Record::TransactionEnd { half: Lsn(r.u64("half message")?), commit: r.u8("resolution")? == 1 }
        }
        kind::TRANSACTION_CHECK => Record::TransactionCheck {
            half: Lsn(r.u64("half message")?),
            next_check: LogTime(r.u64("next check")?),
        },
        kind::TIMER_FIRE => Record::TimerFire { up_to: LogTime(r.u64("timer")?) },
        kind::POP => Record::Pop(pop(r)?),
        kind::ACK => {
            let (group, topic) = pair(r)?;
            Record::Ack { group, topic, messages: messages(r)? }
        }
        kind::CHANGE_INVISIBLE => {
            let (group, topic) = pair(r)?;
            let visible_at = LogTime(r.u64("visible at")?);
            let flags = r.u8("flags")?;
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
        kind::RELOCATE => Record::Relocate {
            topic: TopicId(r.u32("topic")?),
            queue: QueueId(r.u16("queue")?),
            offset: Offset(r.u64("offset")?),
            record: r.bytes("relocated record")?,
        },
        kind::DROP_BELOW => Record::DropBelow(Lsn(r.u64("log start")?)),
        kind::STATE_HASH => Record::StateHash { hash: r.u128("state hash")? },
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
        kind: topic_kind(r)?,
        hold: {
            let hold = r.u8("hold")?;
            let time = LogTime(r.u64("hold until")?);
            match hold {
                0 => Hold::None,
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
        auto_renew: r.u8("auto renew")? == 1,
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
        _ => Err(r.malformed("message type")),
    }
}

/// Reads what [`put_topic_settings`] wrote.
pub(crate) fn topic_settings(r: &mut Reader<'_>) -> Result<TopicSettings, Malformed> {
    Ok(TopicSettings { kind: topic_kind(r)?, queues: r.u16("number of queues")? })
}

/// Reads what [`put_group_settings`] wrote.
pub(crate) fn group_settings(r: &mut Reader<'_>) -> Result<GroupSettings, Malformed> {
    let ordered = r.u8("ordered")? == 1;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a_message(offset: u64, content: &[u8]) -> MessageRecord<'_> {
        MessageRecord {
            topic: TopicId(1),
            queue: QueueId(2),
            offset: Offset(offset),
            kind: TopicKind::Fifo,
            hold: Hold::Until(LogTime(77)),
            key: SendKey(9),
            tag: TagHash(3),
            lane: Lane(4),
            stored_at: LogTime(5),
            content,
        }
    }

    fn one_of_each() -> Vec<Record<'static>> {
        let (group, topic, queue) = (GroupId(7), TopicId(8), QueueId(300));
        let messages = vec![(queue, Offset(1)), (QueueId(0), Offset(1 << 50))];
        vec![
            Record::EpochStart { epoch: Epoch(3) },
            Record::FeatureLevel(2),
            Record::DuplicateWindow { millis: 1, entries: 2 },
            Record::TopicPut {
                id: topic,
                name: "orders",
                settings: TopicSettings { kind: TopicKind::Delay, queues: 8 },
            },
            Record::TopicDelete(topic),
            Record::GroupPut { id: group, name: "billing", settings: GroupSettings::default() },
            Record::GroupPut {
                id: group,
                name: "billing",
                settings: GroupSettings {
                    backoff: Backoff::Customized(vec![1, 2]),
                    ..GroupSettings::default()
                },
            },
            Record::GroupDelete(group),
            Record::Subscribe { group, topic, start: vec![Offset(0), Offset(900)] },
            Record::Message(a_message(6, b"content")),
            Record::Batch(vec![a_message(6, b"content"), a_message(7, &[1; 200])]),
            Record::TransactionEnd { half: Lsn(5), commit: true },
            Record::TransactionCheck { half: Lsn(5), next_check: LogTime(6) },
            Record::TimerFire { up_to: LogTime(8) },
            Record::Pop(Pop {
                group,
                topic,
                nonce: Nonce(1),
                client: ClientHash(2),
                connection: ConnectionId(3),
                attempt: AttemptHash(4),
                invisible_ms: 30_000,
                auto_renew: true,
                queues: vec![PopQueue {
                    queue,
                    again: vec![Offset(4)],
                    runs: vec![(Fate::Taken, 1), (Fate::Skipped, 500), (Fate::Parked, 2)],
                }],
            }),
            Record::Ack { group, topic, messages: messages.clone() },
            Record::ChangeInvisible(ChangeInvisible {
                group,
                topic,
                visible_at: LogTime(4),
                held: true,
                confirmed: false,
                uncounted: true,
                messages: messages.clone(),
            }),
            Record::UndoPop { group, topic, messages },
            Record::DeadLetter { group, topic, queue, offset: Offset(5), into: TopicId(9) },
            Record::Relocate { topic, queue, offset: Offset(5), record: b"record" },
            Record::DropBelow(Lsn(1 << 33)),
            Record::StateHash { hash: u128::MAX - 1 },
        ]
    }

    fn bytes_of(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(record, &mut bytes);
        bytes
    }

    #[test]
    fn every_record_reads_back() {
        for record in one_of_each() {
            assert_eq!(decode(&bytes_of(&record)), Ok(record));
        }
    }

    #[test]
    fn a_record_that_is_cut_short_is_refused() {
        for record in one_of_each() {
            let bytes = bytes_of(&record);
            // The content of a message and the list of a batch end where the record ends: the log's length
            // prefix and checksum guard those.
            if !matches!(record, Record::Message(_) | Record::Batch(_)) {
                for at in 0..bytes.len() {
                    assert!(decode(&bytes[..at]).is_err(), "{record:?} cut at {at}");
                }
            }
        }
    }

    #[test]
    fn an_unknown_type_or_version_is_refused() {
        assert!(decode(&[255, VERSION]).is_err());
        assert!(decode(&[kind::TIMER_FIRE, VERSION + 1, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn messages_inside_other_records_are_found_at_their_positions() {
        let messages = [a_message(1, b"first"), a_message(2, &[9; 300]), a_message(3, b"")];
        let batch = bytes_of(&Record::Batch(messages.to_vec()));
        let mut log = Vec::new();
        log.put_bytes(&batch);
        for (at, message) in batch_positions(Lsn(0), &messages).zip(&messages) {
            let bytes = Reader::new(&log[at.0 as usize..]).bytes("message").unwrap();
            assert_eq!(&super::message(bytes).unwrap(), message);
        }

        let inner = bytes_of(&Record::Message(messages[1].clone()));
        let outer =
            Record::Relocate { topic: TopicId(1), queue: QueueId(2), offset: Offset(2), record: &inner };
        let mut log = Vec::new();
        log.put_bytes(&bytes_of(&outer));
        let at = relocated_position(Lsn(0), &inner);
        let bytes = Reader::new(&log[at.0 as usize..]).bytes("message").unwrap();
        assert_eq!(super::message(bytes).unwrap(), messages[1]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused_without_panic(bytes: Vec<u8>) {
            if let Ok(record) = decode(&bytes) {
                let again = bytes_of(&record);
                prop_assert_eq!(decode(&again), Ok(record));
            }
        }
    }
}
