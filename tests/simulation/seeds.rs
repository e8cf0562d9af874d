//! Many seeds, the same seed twice, and the seeds that once failed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rq_tests::{checker, run};

use crate::world::World;

/// Faults happen for so long, in ms of the simulated clock.
const FAULTS: u64 = 20_000;
/// Then it heals.
const HEALING: u64 = 20_000;
/// Then everything that is left is consumed.
const DRAINING: u64 = 40_000;
/// Seeds of a run of the suite, and of a soak.
const SEEDS: u32 = 500;
const SOAK: u32 = 1_000_000;

/// Seeds that found a fault once: a slave that took for damage what the loss of power had taken from bytes that its master
/// committed without it; a link of which one way was dead for ever; a slave that waited for an answer that was lost.
const REGRESSIONS: [u64; 3] = [27, 49, 190];

struct Ran {
    trace: u64,
    stored: usize,
    promotions: u32,
}

fn play(seed: u64) -> Ran {
    let mut world = World::new(seed, FAULTS);
    world.run(FAULTS);
    world.heal();
    world.run(FAULTS + HEALING);
    world.clients.draining = true;
    world.run(FAULTS + HEALING + DRAINING);
    world.whole().unwrap_or_else(|error| panic!("it did not heal: {error}"));
    let violations = checker::check(&world.clients.history);
    if !violations.is_empty() && std::env::var_os("RQ_SEED").is_some() {
        world.clients.history.keep(&std::env::temp_dir().join(format!("history-{seed}.json"))).expect("kept");
    }
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(world.clients.acked() >= world.clients.stored() / 2, "hardly anything was consumed");
    Ran { trace: world.trace, stored: world.clients.stored(), promotions: world.promotions }
}

fn hold(seed: u64) -> Ran {
    let ran = catch_unwind(AssertUnwindSafe(|| play(seed)));
    ran.unwrap_or_else(|_| {
        panic!("seed {seed} failed; again: RQ_SEED={seed} cargo test -p rq-tests --test simulation")
    })
}

#[test]
fn whatever_fails_nothing_acknowledged_is_lost_and_the_cluster_heals() {
    if let Some(seed) = std::env::var("RQ_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let ran = hold(seed);
        eprintln!("seed {seed}: {} stored, {} promotions", ran.stored, ran.promotions);
        return;
    }
    let seeds = u64::from(run::rounds(SEEDS, SOAK));
    let (mut stored, mut promotions) = (0, 0);
    for seed in REGRESSIONS.into_iter().chain(0..seeds) {
        let ran = hold(seed);
        stored += ran.stored;
        promotions += u64::from(ran.promotions);
    }
    eprintln!("{seeds} seeds: {stored} messages stored, {promotions} promotions");
    assert!(promotions > seeds && stored as u64 > 50 * seeds, "too little happened to prove anything");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..5 {
        assert_eq!(play(seed).trace, play(seed).trace, "seed {seed}");
    }
}
