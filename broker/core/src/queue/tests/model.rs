//! Random requests, times and failovers against a naive model of three topics and two groups: nothing lost, nothing
//! delivered that may not be, nothing held back that may be, and every replica in the same state, from the first record or
//! from a checkpoint.

mod checks;
mod consume;
mod dead_letters;
mod held;
mod produce;
mod receive;
mod retain;
mod view;
mod world;

use proptest::prelude::*;
use proptest::sample::Index;

use self::held::ENDED_WINDOW_MS;
use self::produce::Sending;
use self::receive::By;
use self::world::{VIEWS, World};
use crate::ids::{Offset, QueueId};
use crate::queue::duplicates::WINDOW_MS;

/// One thing that happens. Views, topics and dead-letter topics go by their numbers.
#[derive(Clone, Debug)]
enum Event {
    Send {
        topic: usize,
        messages: Vec<Sending>,
    },
    Receive {
        view: usize,
        batch: usize,
        attempt: Option<u64>,
        client: u64,
        invisible_ms: u64,
        renew: bool,
        wait_ms: u64,
        by: Option<By>,
    },
    Ack(Index),
    Change {
        which: Index,
        invisible_ms: u64,
        suspend: bool,
    },
    Undo(Index),
    Forward(Index),
    Vouch {
        client: u64,
        idle_ms: u64,
    },
    Release {
        client: u64,
    },
    Pass {
        millis: u64,
    },
    FailOver,
    /// The log is dropped below a record; groups idle for so long give up what they owe there.
    Retain {
        below: Index,
        expire_ms: Option<u64>,
    },
    /// A transaction ends, perhaps one that ended before.
    End {
        which: Index,
        commit: bool,
        slip: bool,
    },
    Recall {
        which: Index,
        slip: bool,
    },
    TakeChecks {
        most: usize,
        wait_ms: u64,
    },
    /// What came of asking; of some it may never be told.
    Checked {
        asked: Vec<Index>,
        unasked: Vec<Index>,
    },
    Replay {
        from: usize,
        which: Index,
    },
    Purge {
        from: usize,
        which: Index,
    },
    Reset {
        view: usize,
        positions: [u64; 2],
    },
    /// A group allows so many attempts from now on.
    Update {
        view: usize,
        max_attempts: u32,
    },
}

fn times() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![Just(1_u64), 1..3_000_u64, 1..60_000_u64]
}

fn waits() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0_u64), 2 => 1..30_000_u64]
}

fn which() -> impl Strategy<Value = Index> {
    any::<Index>()
}

fn producing() -> impl Strategy<Value = Event> {
    let delay = prop_oneof![1 => Just(0_u64), 4 => times()];
    let recover = prop::option::of(1..5_000_u64);
    let sending = (any::<u8>(), 0..4_u64, delay, recover)
        .prop_map(|(key, lane, delay_ms, recover_ms)| Sending { key, lane, delay_ms, recover_ms });
    let messages = prop::collection::vec(sending, 1..4);
    let taking = (1..4_usize, waits());
    let whiches = || prop::collection::vec(any::<Index>(), 0..3);
    prop_oneof![
        6 => (0..3_usize, messages).prop_map(|(topic, messages)| Event::Send { topic, messages }),
        4 => (which(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(which, commit, slip)| Event::End { which, commit, slip }),
        2 => (which(), prop::bool::weighted(0.1)).prop_map(|(which, slip)| Event::Recall { which, slip }),
        3 => taking.prop_map(|(most, wait_ms)| Event::TakeChecks { most, wait_ms }),
        3 => (whiches(), whiches()).prop_map(|(asked, unasked)| Event::Checked { asked, unasked }),
    ]
}

fn consuming() -> impl Strategy<Value = Event> {
    let by = (0..2_u8, prop::bool::weighted(0.8))
        .prop_map(|(expression, comes_back)| By { expression, comes_back });
    let by = prop_oneof![2 => Just(None), 1 => by.prop_map(Some)];
    let attempt = prop::option::of(1..4_u64);
    let receive = (0..VIEWS, 1..5_usize, attempt, 1..3_u64, times(), any::<bool>(), waits(), by);
    let receive = receive.prop_map(|(view, batch, attempt, client, invisible_ms, renew, wait_ms, by)| {
        Event::Receive { view, batch, attempt, client, invisible_ms, renew, wait_ms, by }
    });
    prop_oneof![
        8 => receive,
        5 => which().prop_map(Event::Ack),
        3 => (which(), prop_oneof![Just(0), times()], any::<bool>())
            .prop_map(|(which, invisible_ms, suspend)| Event::Change { which, invisible_ms, suspend }),
        2 => which().prop_map(Event::Undo),
        2 => which().prop_map(Event::Forward),
        1 => (1..3_u64, 0..5_000_u64).prop_map(|(client, idle_ms)| Event::Vouch { client, idle_ms }),
        1 => (1..3_u64).prop_map(|client| Event::Release { client }),
    ]
}

fn happening() -> impl Strategy<Value = Event> {
    let long = prop_oneof![Just(WINDOW_MS + 1), Just(ENDED_WINDOW_MS + 1)];
    prop_oneof![
        4 => prop_oneof![5 => times(), 1 => long].prop_map(|millis| Event::Pass { millis }),
        1 => Just(Event::FailOver),
        1 => (which(), prop::option::of(prop_oneof![Just(0_u64), 0..60_000_u64]))
            .prop_map(|(below, expire_ms)| Event::Retain { below, expire_ms }),
        2 => (0..3_usize, which()).prop_map(|(from, which)| Event::Replay { from, which }),
        1 => (0..3_usize, which()).prop_map(|(from, which)| Event::Purge { from, which }),
        1 => (0..VIEWS, [0..12_u64, 0..12_u64]).prop_map(|(view, positions)| Event::Reset { view, positions }),
        1 => (0..VIEWS, 1..4_u32).prop_map(|(view, max_attempts)| Event::Update { view, max_attempts }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![6 => producing(), 8 => consuming(), 4 => happening()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_requests_does_what_the_naive_model_allows(
        events in prop::collection::vec(event(), 1..160),
        checkpoint: Index,
    ) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        world.compare_from_checkpoint(checkpoint.index(world.broker.log.records.len()));
        world.drain();
    }
}

#[test]
fn the_places_of_the_model_are_those_of_the_broker() {
    let mut world = World::new();
    let sending = |key, lane| Sending { key, lane, delay_ms: 0, recover_ms: None };
    world.happen(Event::Send { topic: 0, messages: vec![sending(1, 1), sending(1, 1), sending(2, 0)] });
    let places: Vec<(QueueId, Offset)> = world.views[0].copies.keys().copied().collect();
    assert_eq!(places.len(), 2, "the repeated key of the batch is stored once");
    world.drain();
}
