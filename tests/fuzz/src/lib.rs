//! Bounded fuzz runs: whatever reads foreign bytes is fed for some seconds with inputs made from real ones. An input of
//! which the reader says something that it never said before is kept and mutated further, so that a run finds its way
//! deeper than random bytes would. What the reader must not do (panic, hang, read what it would not write) is up to the
//! test that calls [`fuzz`].

mod mutate;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Length of a run in seconds; the environment variable `RQ_FUZZ_SECONDS` gives another one.
const SECONDS: u64 = 10;
/// Most inputs that are kept.
const CORPUS_MAX: usize = 4_096;
/// Longest input, in bytes.
const INPUT_MAX: usize = 64 << 10;
/// One input may keep a reader busy for so long, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Feeds `read` with mutations of `seeds` for the length of a run. It returns what it says of an input, best with the
/// error and without its details: the more it tells apart, the deeper the run gets.
///
/// # Panics
///
/// If `read` does, or takes seconds for one input: the input is printed in hexadecimal digits, and the number that repeats
/// the run with `RQ_FUZZ_SEED`.
pub fn fuzz<S: Hash>(seeds: impl IntoIterator<Item = Vec<u8>>, read: impl Fn(&[u8]) -> S) {
    let seed = number("RQ_FUZZ_SEED").unwrap_or_else(|| rand::rng().random());
    let until = Instant::now() + Duration::from_secs(number("RQ_FUZZ_SECONDS").unwrap_or(SECONDS));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut corpus: Vec<Vec<u8>> = seeds.into_iter().collect();
    if corpus.is_empty() {
        corpus.push(Vec::new());
    }
    let mut said = HashSet::new();
    for input in &corpus {
        said.insert(judged(seed, input, &read));
    }
    let mut inputs = corpus.len() as u64;
    while Instant::now() < until {
        let input = mutate::mutated(&mut rng, &corpus, INPUT_MAX);
        inputs += 1;
        if said.insert(judged(seed, &input, &read)) {
            if corpus.len() < CORPUS_MAX {
                corpus.push(input);
            } else {
                let at = rng.random_range(0..corpus.len());
                corpus[at] = input;
            }
        }
    }
    assert!(inputs > 100, "only {inputs} inputs were read: the run says nothing");
}

fn judged<S: Hash>(seed: u64, input: &[u8], read: &impl Fn(&[u8]) -> S) -> u64 {
    let culprit = Culprit { seed, input };
    let began = Instant::now();
    let mut hasher = DefaultHasher::new();
    read(culprit.input).hash(&mut hasher);
    assert!(began.elapsed() < PATIENCE, "one input took {:?}", began.elapsed());
    hasher.finish()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The input under the reader: printed if that panics.
struct Culprit<'a> {
    seed: u64,
    input: &'a [u8],
}

impl Drop for Culprit<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex = self.input.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            eprintln!("RQ_FUZZ_SEED={}: the input of {} bytes is {hex}", self.seed, self.input.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_run_finds_what_lies_three_steps_from_its_seed() {
        let deepest = Cell::new(0);
        fuzz([b"abc".to_vec()], |input| {
            let depth = input.iter().zip(b"xyz").take_while(|(have, want)| have == want).count();
            deepest.set(deepest.get().max(depth));
            depth
        });
        assert_eq!(deepest.get(), 3);
    }
}
