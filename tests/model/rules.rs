//! With all rules nothing is lost; without any one of them something is.

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use rq_core::config::FlushMode;
use rq_core::replication::{Guarded, Guards};
use stateright::{Checker as _, HasDiscoveries, Model, Property};

use crate::cluster::{Bounds, Cluster, Step};
use crate::node::{What, has};

struct Explored<G> {
    bounds: Bounds,
    guards: PhantomData<G>,
}

impl<G: Guards + Send + Sync> Model for Explored<G> {
    type State = Cluster<G>;
    type Action = Step;

    fn init_states(&self) -> Vec<Cluster<G>> {
        let mut states = vec![Cluster::in_sync(&self.bounds)];
        if self.bounds.delays {
            states.push(Cluster::with_delayed(&self.bounds));
        }
        states
    }

    fn actions(&self, state: &Cluster<G>, actions: &mut Vec<Step>) {
        state.possible(&self.bounds, actions);
    }

    fn next_state(&self, state: &Cluster<G>, step: Step) -> Option<Cluster<G>> {
        let mut next = state.clone();
        next.take(step);
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("stored is everywhere", |_, state: &Cluster<G>| state.stored_is_everywhere()),
            Property::always("delivered is everywhere", |_, state: &Cluster<G>| {
                state.delivered_is_everywhere()
            }),
            Property::always("acked is everywhere", |_, state: &Cluster<G>| state.acked_is_everywhere()),
            Property::always("ended is everywhere", |_, state: &Cluster<G>| state.ended_is_everywhere()),
            Property::always("recalled is everywhere", |_, state: &Cluster<G>| {
                state.recalled_is_everywhere()
            }),
            Property::always("fired is everywhere", |_, state: &Cluster<G>| state.fired_is_everywhere()),
            Property::always("logs match", |_, state: &Cluster<G>| state.logs_match()),
            Property::always("commits agree", |_, state: &Cluster<G>| state.commits_agree()),
            Property::always("nobody halted", |_, state: &Cluster<G>| state.nobody_halted()),
            Property::always("one master an epoch", |_, state: &Cluster<G>| state.one_master_an_epoch()),
            Property::sometimes("a message is stored on both", |_, state: &Cluster<G>| {
                state.config.in_sync.len() == 2 && !state.clients.stored.is_empty()
            }),
            Property::sometimes("a message fired here is recalled there", |_, state: &Cluster<G>| {
                let fired = |message: &u8| has(&state.nodes[0].disk.log, What::Fire(*message));
                state.clients.recalled.iter().any(fired)
            }),
            Property::sometimes("the other node is master and serves", |_, state: &Cluster<G>| {
                let process = state.nodes[1].process.as_ref();
                process.is_some_and(|process| process.replica.serving().is_some())
            }),
        ]
    }

    fn within_boundary(&self, state: &Cluster<G>) -> bool {
        state.nodes.iter().all(|node| node.disk.log.len() <= self.bounds.log)
            && state.new_links() <= self.bounds.links
            && state.changes() <= self.bounds.changes
    }
}

fn explore<G: Guards + Send + Sync>(
    bounds: Bounds,
    states: usize,
    until: HasDiscoveries,
    name: &str,
) -> Vec<&'static str> {
    let begin = Instant::now();
    let checker = Explored::<G> { bounds, guards: PhantomData }
        .checker()
        .threads(2)
        .target_state_count(states)
        .timeout(Duration::from_mins(30))
        .finish_when(until)
        .spawn_bfs()
        .join();
    eprintln!(
        "{name}: {} states, {} unique, depth {}, done {}, {:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        checker.is_done(),
        begin.elapsed()
    );
    let mut broken = Vec::new();
    for (property, path) in checker.discoveries() {
        if !property.starts_with("a message") && !property.starts_with("the other") {
            eprintln!("{name}: not always true: {property}");
            for step in path.into_actions() {
                eprintln!("    {step:?}");
            }
            broken.push(property);
        } else {
            eprintln!("{name}: reached: {property}");
        }
    }
    broken
}

/// Little of everything; each test says what it has more of.
const SMALL: Bounds = Bounds {
    messages: 1,
    changes: 1,
    stale_reads: false,
    kills: 0,
    power_losses: 0,
    disk_losses: 0,
    log: 3,
    links: 1,
    under_way: 1,
    overtaking: false,
    consuming: false,
    transactions: false,
    delays: false,
    by_the_clock: false,
    leaving: false,
    mode: FlushMode::Sync,
};
const KILLED: Bounds = Bounds { kills: 1, ..SMALL };
const WITHOUT_POWER: Bounds = Bounds { power_losses: 1, ..SMALL };
const DELAYED: Bounds = Bounds { delays: true, consuming: true, log: 5, ..SMALL };

/// Histories of all scenes together; about a quarter of them lead to a state that was not seen before.
const STATES: usize = 2_200_000;
/// So many times as many with `RQ_SOAK`.
const SOAK: usize = 20;

#[test]
fn with_all_rules_nothing_is_lost() {
    let scenes = [
        ("set changes", Bounds { changes: 2, ..SMALL }),
        ("a kill", KILLED),
        ("a power loss", WITHOUT_POWER),
        ("a power loss, async", Bounds { mode: FlushMode::Async, ..WITHOUT_POWER }),
        ("a lost disk", Bounds { disk_losses: 1, ..SMALL }),
        ("stale reads", Bounds { stale_reads: true, ..KILLED }),
        ("messages overtake", Bounds { overtaking: true, messages: 2, log: 4, under_way: 2, ..SMALL }),
        ("a master leaves", Bounds { leaving: true, ..SMALL }),
        ("consuming", Bounds { consuming: true, log: 4, ..SMALL }),
        ("transactions", Bounds { transactions: true, log: 4, ..SMALL }),
        ("delays", DELAYED),
    ];
    let states = if std::env::var_os("RQ_SOAK").is_some() { STATES * SOAK } else { STATES };
    for (name, bounds) in scenes {
        let broken = explore::<Guarded>(bounds, states / scenes.len(), HasDiscoveries::AnyFailures, name);
        assert_eq!(broken, Vec::<&str>::new());
    }
}

macro_rules! without {
    ($($(#[$doc:meta])* $test:ident: $guard:ident, $bounds:expr, $broken:expr;)*) => {
        $($(#[$doc])*
        #[test]
        fn $test() {
            #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
            struct Without;
            impl Guards for Without {
                const $guard: bool = false;
            }
            let until = HasDiscoveries::AnyOf([$broken].into());
            let broken = explore::<Without>($bounds, STATES, until, stringify!($guard));
            assert!(broken.contains(&$broken), "without this rule that went on being so: {broken:?}");
        })*
    };
}

/// What breaks where a message is lost.
const LOST: &str = "stored is everywhere";

without! {
    without_the_union_of_sets_a_message_is_lost: UNION, Bounds { changes: 2, ..SMALL }, LOST;
    without_a_promise_kept_first_a_replica_has_to_halt: PROMISE_FIRST, Bounds { stale_reads: true, ..KILLED }, "nobody halted";
    without_flushing_what_was_recovered_a_message_is_lost: RECOVERY_FLUSHES, Bounds { changes: 0, ..KILLED }, LOST;
    without_a_newer_write_a_message_is_lost: NEWER_WRITE_SETTLES, Bounds { changes: 2, ..SMALL }, LOST;
    without_a_new_epoch_after_a_restart_logs_part: NEW_EPOCH, WITHOUT_POWER, "logs match";
    without_sessions_a_message_is_lost_in_async_mode: SESSIONS, Bounds { mode: FlushMode::Async, ..WITHOUT_POWER }, LOST;
    without_answers_that_wait_a_message_is_lost: ANSWERS_WAIT, SMALL, LOST;
    without_answers_that_wait_a_transaction_ends_both_ways: ANSWERS_WAIT, Bounds { transactions: true, log: 4, ..SMALL }, "ended is everywhere";
    without_answers_that_wait_a_delayed_message_is_lost: ANSWERS_WAIT, DELAYED, LOST;
    without_answers_that_wait_a_recall_is_lost: ANSWERS_WAIT, DELAYED, "recalled is everywhere";
    without_pops_that_wait_a_delayed_message_comes_too_early: POPS_WAIT, DELAYED, "fired is everywhere";
    without_pops_that_wait_a_delivery_is_lost: POPS_WAIT, Bounds { consuming: true, ..SMALL }, "delivered is everywhere";
}

/// The record of the fire is the queue's rule, not one of replication: the model itself breaks it.
#[test]
fn by_the_clock_alone_a_recalled_message_is_delivered() {
    let bounds = Bounds { by_the_clock: true, ..DELAYED };
    let until = ["recalled is everywhere", "fired is everywhere"];
    let found = HasDiscoveries::AllOf(until.into());
    let broken = explore::<Guarded>(bounds, STATES, found, "by the clock");
    assert!(until.iter().all(|property| broken.contains(property)), "that went on being so: {broken:?}");
}
