//! How much a suite does and from which seed: few rounds in `make test`, many in `make soak`, both printed so that
//! a failure can be repeated.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Rounds of a suite. `RQ_ROUNDS` sets them, `RQ_SOAK=1` takes `soak`, else `few`.
#[must_use]
pub fn rounds(few: u32, soak: u32) -> u32 {
    let asked = std::env::var("RQ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let soaking = std::env::var("RQ_SOAK").is_ok_and(|soak| soak == "1");
    asked.unwrap_or(if soaking { soak } else { few })
}

/// Runs `rounds` in histories of at most `most` rounds, each with a seed of its own and a fresh start: a history is
/// judged as a whole, and what it takes to judge grows with its length. An error names the seed that repeats it.
pub async fn histories<F>(
    test: &str,
    rounds: u32,
    most: u32,
    mut history: impl FnMut(u64, u32) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let seed = seed(test);
    let mut left = rounds;
    for nth in 0.. {
        if left == 0 {
            break;
        }
        let rounds = left.min(most);
        let told = history(seed.wrapping_add(nth), rounds).await;
        told.with_context(|| format!("{test}: RQ_SEED={seed}"))?;
        left -= rounds;
    }
    Ok(())
}

/// The seed of a test, from `RQ_SEED` or the clock. Printed, because whoever sees a failure needs it.
#[must_use]
pub fn seed(test: &str) -> u64 {
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let seed = std::env::var("RQ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(fresh);
    eprintln!("{test}: RQ_SEED={seed}");
    seed
}

/// A stream of random numbers for one concern of a test, so that a change in one leaves the others alone.
#[must_use]
pub fn randomness(seed: u64, concern: u64) -> StdRng {
    StdRng::seed_from_u64(seed ^ concern.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}
