//! Every record reads back as it was written, and nothing else is read.

use proptest::prelude::*;

use super::decode::message;
use super::*;
use crate::codec::{Reader, Write as _};
use crate::config::FlushMode;
use crate::queue::settings::Backoff;

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
        Record::FlushMode(FlushPolicy { mode: FlushMode::Async, interval_ms: 500 }),
        Record::FlushMode(FlushPolicy::default()),
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
            settings: GroupSettings { backoff: Backoff::Customized(vec![1, 2]), ..GroupSettings::default() },
        },
        Record::GroupDelete(group),
        Record::Subscribe { group, topic, start: vec![Offset(0), Offset(900)] },
        Record::Message(a_message(6, b"content")),
        Record::Batch(vec![a_message(6, b"content"), a_message(7, &[1; 200])]),
        Record::TransactionEnd { half: HeldId(5), commit: true },
        Record::TransactionCheck { half: HeldId(5), next_check: LogTime(6) },
        Record::TransactionGiveUp { half: HeldId(5), into: topic },
        Record::TimerFire { up_to: LogTime(8), count: 1_000 },
        Record::Recall { deliver_at: LogTime(8), id: HeldId(5) },
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
        Record::Repeat(Repeat {
            group,
            topic,
            connection: ConnectionId(5),
            invisible_ms: 60_000,
            messages: messages.clone(),
        }),
        Record::UndoPop { group, topic, messages },
        Record::DeadLetter { group, topic, queue, offset: Offset(5), into: TopicId(9) },
        Record::Replay { from: TopicId(9), offset: Offset(3), topic, queue, only: group },
        Record::Purge { topic: TopicId(9), offsets: vec![Offset(3), Offset(900)] },
        Record::ResetOffset { group, topic, positions: vec![Offset(0), Offset(900)] },
        Record::Relocate { topic, queue, offset: Offset(5), record: b"record" },
        Record::RelocateHeld { key: HeldKey::Until(LogTime(8), HeldId(5)), record: b"record" },
        Record::RelocateHeld { key: HeldKey::Transaction(HeldId(5)), record: b"record" },
        Record::DropBelow(Lsn(1 << 33)),
        Record::Expire { group, topic, below: Lsn(1 << 34) },
        Record::StateMark,
        Record::StateHash { of: Lsn(1 << 35), hash: u128::MAX - 1 },
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

/// Each record as it is written today, in hexadecimal digits: a line each.
const FIXTURE: &str = include_str!("../../fixtures/records-1.txt");

#[test]
fn records_have_the_bytes_that_logs_are_full_of() {
    let hex = |record: &Record<'_>| {
        bytes_of(record).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    };
    let written: String = one_of_each().iter().map(|record| hex(record) + "\n").collect();
    assert!(written == FIXTURE, "a record has other bytes and no other version: now they are\n{written}");
}

#[test]
fn records_of_released_logs_mean_what_they_meant() {
    let bytes = |line: &str| -> Vec<u8> {
        let digits = line.as_bytes().chunks(2).map(|two| str::from_utf8(two).unwrap());
        digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
    };
    let lines: Vec<_> = FIXTURE.lines().map(bytes).collect();
    let read: Vec<_> = lines.iter().map(|bytes| decode(bytes).unwrap()).collect();
    assert_eq!(read, one_of_each());
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
    for (at, expected) in batch_positions(Lsn(0), &messages).zip(&messages) {
        let bytes = Reader::new(&log[at.0 as usize..]).bytes("message").unwrap();
        assert_eq!(&message(bytes).unwrap(), expected);
    }

    let inner = bytes_of(&Record::Message(messages[1].clone()));
    let outer = Record::Relocate { topic: TopicId(1), queue: QueueId(2), offset: Offset(2), record: &inner };
    let mut log = Vec::new();
    log.put_bytes(&bytes_of(&outer));
    let at = relocated_position(Lsn(0), &inner);
    let bytes = Reader::new(&log[at.0 as usize..]).bytes("message").unwrap();
    assert_eq!(message(bytes).unwrap(), messages[1]);

    let outer = Record::RelocateHeld { key: HeldKey::Transaction(HeldId(1)), record: &inner };
    let mut log = Vec::new();
    log.put_bytes(&bytes_of(&outer));
    let at = relocated_held_position(Lsn(0), &inner);
    let bytes = Reader::new(&log[at.0 as usize..]).bytes("message").unwrap();
    assert_eq!(message(bytes).unwrap(), messages[1]);
}

#[test]
fn fuzzed_records_are_refused_or_have_this_one_encoding() {
    rq_fuzz::fuzz(one_of_each().iter().map(bytes_of), |input| match decode(input) {
        Ok(record) => {
            assert_eq!(bytes_of(&record), input);
            drop(decode_message(&Bytes::copy_from_slice(input)));
            Ok(input[0])
        }
        Err(malformed) => Err(malformed.to_string()),
    });
}

proptest! {
    /// Mutated real records get much further into the decoder than random bytes do.
    #[test]
    fn damaged_records_are_refused_or_have_this_one_encoding(which in 0_usize..64, at: usize, bit in 0..8) {
        let records = one_of_each();
        let mut bytes = bytes_of(&records[which % records.len()]);
        let at = at % bytes.len();
        bytes[at] ^= 1_u8 << bit;
        if let Ok(record) = decode(&bytes) {
            prop_assert_eq!(bytes_of(&record), bytes);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_have_this_one_encoding(kind in 0_u8..50, body: Vec<u8>) {
        let bytes = [&[kind, VERSION][..], &body].concat();
        if let Ok(record) = decode(&bytes) {
            prop_assert_eq!(bytes_of(&record), bytes);
        }
    }
}
