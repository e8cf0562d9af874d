//! Records that no master would write: refused, whatever they say, and never a panic or an endless loop.

use proptest::prelude::*;

use super::*;
use crate::ids::{GroupId, HeldId, Offset, QueueId, TopicId};
use crate::record::{self as records, Fate, HeldKey, Hold, MessageRecord, Pop, PopQueue, Repeat};

const GROUP: GroupId = GroupId(1);
const TOPIC: TopicId = TopicId(1);
const QUEUE: QueueId = QueueId(0);

/// FIFO topic 1 of one queue with x1 x2 y1, of which FIFO group 1 has x1 and y1 in flight and x2 parked.
fn busy() -> Broker {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Fifo, 1);
    broker.fifo_group("g");
    broker.send_fifo("t", "x", &["x1", "x2"]);
    broker.send_fifo("t", "y", &["y1"]);
    assert_eq!(broker.attempt("g", "t", 7).len(), 2);
    broker.send_fifo("t", "x", &["x3"]);
    broker.send_fifo("t", "z", &["z1"]);
    broker
}

fn pop(again: Vec<Offset>, runs: Vec<(Fate, u32)>) -> Record<'static> {
    Record::Pop(Pop {
        group: GROUP,
        topic: TOPIC,
        nonce: Nonce(99),
        client: ClientHash(1),
        connection: ConnectionId(1),
        attempt: AttemptHash(0),
        invisible_ms: 1,
        auto_renew: false,
        queues: vec![PopQueue { queue: QUEUE, again, runs }],
    })
}

fn message(topic: TopicId, offset: u64, hold: Hold) -> Record<'static> {
    Record::Message(MessageRecord {
        topic,
        queue: QUEUE,
        offset: Offset(offset),
        kind: TopicKind::Normal,
        hold,
        key: SendKey(1),
        tag: TagHash(0),
        lane: Lane(0),
        stored_at: TIME_START,
        content: b"",
    })
}

#[test]
fn what_does_not_fit_the_state_is_refused() {
    let settings = TopicSettings { kind: TopicKind::Normal, queues: 1 };
    let (group, topic) = (GROUP, TOPIC);
    let parked = vec![(QUEUE, Offset(1))];
    let refused = [
        ("more popped than sent", pop(vec![], vec![(Fate::Skipped, u32::MAX)])),
        ("more popped than sent", pop(vec![], vec![(Fate::Taken, u32::MAX)])),
        ("second of a message group", pop(vec![], vec![(Fate::Taken, 1)])),
        ("parked behind nothing", pop(vec![], vec![(Fate::Parked, 2)])),
        ("parked message again", pop(vec![Offset(1)], vec![])),
        ("new message again", pop(vec![Offset(4)], vec![])),
        ("ack of a parked message", Record::Ack { group, topic, messages: parked.clone() }),
        ("undo of a parked message", Record::UndoPop { group, topic, messages: parked.clone() }),
        (
            "repeat of a parked message",
            Record::Repeat(Repeat {
                group,
                topic,
                connection: ConnectionId(1),
                invisible_ms: 1,
                messages: parked,
            }),
        ),
        (
            "dead letter of a new message",
            Record::DeadLetter { group, topic, queue: QUEUE, offset: Offset(4), into: topic },
        ),
        ("epoch of before", Record::EpochStart { epoch: Epoch(0) }),
        ("unknown feature level", Record::FeatureLevel(9)),
        ("topic number of before", Record::TopicPut { id: topic, name: "new", settings }),
        ("topic name of another", Record::TopicPut { id: TopicId(9), name: "t", settings }),
        (
            "topic without queues",
            Record::TopicPut {
                id: TopicId(9),
                name: "new",
                settings: TopicSettings { queues: 0, ..settings },
            },
        ),
        (
            "group number of before",
            Record::GroupPut { id: group, name: "new", settings: GroupSettings::default() },
        ),
        (
            "group name of another",
            Record::GroupPut { id: GroupId(9), name: "g", settings: GroupSettings::default() },
        ),
        ("subscription again", Record::Subscribe { group, topic, start: vec![Offset(0)] }),
        ("message with a gap", message(topic, 9, Hold::None)),
        ("held message of no topic", message(TopicId(9), 0, Hold::Until(TIME_START))),
        (
            "relocation of no message",
            Record::Relocate { topic, queue: QUEUE, offset: Offset(0), record: b"x" },
        ),
        ("log start in the future", Record::DropBelow(Lsn(u64::MAX))),
        ("expiry of the future", Record::Expire { group, topic, below: Lsn(u64::MAX) }),
        ("expiry of no group", Record::Expire { group: GroupId(9), topic, below: LOG_START }),
        ("expiry of no subscription", Record::Expire { group, topic: TopicId(9), below: LOG_START }),
    ];
    let broker = busy();
    for (what, record) in refused {
        let mut state = broker.shard.state().clone();
        assert!(state.apply(broker.log.end(), broker.now, &record).is_err(), "{what}");
    }
}

#[test]
fn a_subscription_is_never_reset() {
    let broker = busy();
    let mut state = broker.shard.state().clone();
    let again = Record::Subscribe { group: GROUP, topic: TOPIC, start: vec![Offset(0)] };
    assert!(state.apply(broker.log.end(), broker.now, &again).is_err());
    assert_eq!(state.hash(), broker.shard.state().hash());
}

#[test]
fn new_settings_of_a_group_keep_its_positions_and_its_order() {
    let mut broker = busy();
    let settings = GroupSettings { ordered: false, ..GroupSettings::default() };
    let record = Record::GroupPut { id: GROUP, name: "g", settings };
    let lsn = broker.log.append(&record);
    broker.shard.state.apply(lsn, broker.now, &record).unwrap();
    broker.pass(INVISIBLE_MS);
    let again = broker.receive("g", "t");
    assert_eq!(broker.texts(&again), ["x1", "y1", "x3", "z1"]);
    assert_eq!(broker.ack("g", &again[0]), Ok(()));
    assert_eq!(broker.receive_texts("g", "t"), ["x2"], "what waited is not forgotten");
}

fn offset() -> impl Strategy<Value = Offset> {
    prop_oneof![9 => 0..8_u64, 1 => any::<u64>()].prop_map(Offset)
}

fn places() -> impl Strategy<Value = Vec<(QueueId, Offset)>> {
    prop::collection::vec(((0..3_u16).prop_map(QueueId), offset()), 0..4)
}

/// Well-formed records about a small world, most of them nonsense.
fn record() -> impl Strategy<Value = Record<'static>> {
    let pair = || ((0..3_u32).prop_map(GroupId), (0..4_u32).prop_map(TopicId));
    let fate = prop::sample::select(vec![Fate::Taken, Fate::Skipped, Fate::Parked]);
    let count = prop_oneof![9 => 0..4_u32, 1 => any::<u32>()];
    let runs = prop::collection::vec((fate, count), 0..4);
    let again = prop::collection::vec(offset(), 0..3);
    let hold = prop_oneof![
        Just(Hold::None),
        any::<u64>().prop_map(|time| Hold::Until(LogTime(time))),
        any::<u64>().prop_map(|time| Hold::Transaction(LogTime(time))),
    ];
    prop_oneof![
        (again, runs).prop_map(|(again, runs)| pop(again, runs)),
        (pair(), places()).prop_map(|((group, topic), messages)| Record::Ack { group, topic, messages }),
        (pair(), places()).prop_map(|((group, topic), messages)| Record::UndoPop { group, topic, messages }),
        (pair(), places(), any::<u64>(), any::<[bool; 3]>()).prop_map(
            |((group, topic), messages, time, flags)| {
                Record::ChangeInvisible(records::ChangeInvisible {
                    group,
                    topic,
                    visible_at: LogTime(time),
                    held: flags[0],
                    confirmed: flags[1],
                    uncounted: flags[2],
                    messages,
                })
            }
        ),
        (pair(), places(), any::<u64>()).prop_map(|((group, topic), messages, invisible_ms)| {
            Record::Repeat(Repeat { group, topic, connection: ConnectionId(1), invisible_ms, messages })
        }),
        (pair(), offset(), (0..4_u32).prop_map(TopicId)).prop_map(|((group, topic), offset, into)| {
            Record::DeadLetter { group, topic, queue: QUEUE, offset, into }
        }),
        (pair(), prop::collection::vec(offset(), 0..3))
            .prop_map(|((group, topic), start)| Record::Subscribe { group, topic, start }),
        ((0..4_u32).prop_map(TopicId), 0..8_u64, hold).prop_map(|(topic, at, hold)| message(topic, at, hold)),
        (0..9_000_u64).prop_map(|below| Record::DropBelow(Lsn(below))),
        held_record(),
        (0..5_u32, offset(), 0..4_u32, 0..3_u32).prop_map(|(from, offset, topic, only)| Record::Replay {
            from: TopicId(from),
            offset,
            topic: TopicId(topic),
            queue: QUEUE,
            only: GroupId(only),
        }),
        (0..5_u32, prop::collection::vec(offset(), 0..3))
            .prop_map(|(topic, offsets)| Record::Purge { topic: TopicId(topic), offsets }),
        (pair(), prop::collection::vec(offset(), 0..3))
            .prop_map(|((group, topic), positions)| Record::ResetOffset { group, topic, positions }),
        (0..4_u32).prop_map(|id| Record::TopicDelete(TopicId(id))),
        (0..3_u32).prop_map(|id| Record::GroupDelete(GroupId(id))),
        (0..4_u32, 0..400_u16).prop_map(|(id, queues)| Record::TopicPut {
            id: TopicId(id),
            name: "new",
            settings: TopicSettings { kind: TopicKind::Normal, queues },
        }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(millis, entries)| Record::DuplicateWindow { millis, entries }),
        (0..4_u32).prop_map(|epoch| Record::EpochStart { epoch: Epoch(epoch) }),
    ]
}

/// Records about messages that wait.
fn held_record() -> impl Strategy<Value = Record<'static>> {
    let id = || (4_000..9_000_u64).prop_map(HeldId);
    let time = || any::<u64>().prop_map(LogTime);
    prop_oneof![
        (time(), 0..3_u32).prop_map(|(up_to, count)| Record::TimerFire { up_to, count }),
        (id(), any::<bool>()).prop_map(|(half, commit)| Record::TransactionEnd { half, commit }),
        (id(), time()).prop_map(|(half, next_check)| Record::TransactionCheck { half, next_check }),
        (id(), 0..5_u32).prop_map(|(half, into)| Record::TransactionGiveUp { half, into: TopicId(into) }),
        (time(), id()).prop_map(|(deliver_at, id)| Record::Recall { deliver_at, id }),
        id().prop_map(|id| Record::RelocateHeld { key: HeldKey::Transaction(id), record: b"" }),
    ]
}

#[test]
fn fuzzed_checkpoints_are_refused_or_have_this_one_encoding() {
    let broker = busy();
    let mut bytes = Vec::new();
    checkpoint::encode(broker.shard.state(), &mut bytes);
    rq_fuzz::fuzz([bytes], |input| match checkpoint::decode(input) {
        Ok(state) => {
            let mut again = Vec::new();
            checkpoint::encode(&state, &mut again);
            assert_eq!(again, input);
            String::new()
        }
        Err(malformed) => malformed.to_string(),
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is applied leaves a state that a checkpoint keeps and that can be worked with.
    #[test]
    fn any_records_are_applied_or_refused_and_the_state_stays_sound(records in prop::collection::vec(record(), 1..20)) {
        let mut broker = busy();
        for record in records {
            let mut state = broker.shard.state().clone();
            if state.apply(broker.log.end(), broker.now, &record).is_ok() {
                broker.log.append(&record);
                state.applied_up_to(broker.log.end());
                let mut bytes = Vec::new();
                checkpoint::encode(&state, &mut bytes);
                prop_assert_eq!(checkpoint::decode(&bytes).map(|state| state.hash()), Ok(state.hash()));
                broker.shard = Shard::new(state, broker.shard.limits.clone());
            }
        }
        broker.shard.tick(broker.now, &mut broker.log, &mut Vec::new());
        let receive = broker.receiving("g", "t");
        broker.shard.step(broker.now, Ticket(9), Request::Receive(receive), &mut broker.log, &mut Vec::new());
    }

    #[test]
    fn a_damaged_checkpoint_is_refused_or_has_this_one_encoding(at: prop::sample::Index, bit in 0..8_u8, cut: bool) {
        let broker = busy();
        let mut bytes = Vec::new();
        checkpoint::encode(broker.shard.state(), &mut bytes);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if cut {
            bytes.truncate(at);
            prop_assert!(checkpoint::decode(&bytes).is_err());
        } else if let Ok(state) = checkpoint::decode(&bytes) {
            let mut again = Vec::new();
            checkpoint::encode(&state, &mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn any_bytes_are_no_checkpoint(bytes: Vec<u8>) {
        prop_assert!(checkpoint::decode(&bytes).is_err());
    }
}
