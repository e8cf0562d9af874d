//! What expressions said of messages of late, shared by all receives: the consumers of a group come by the same messages at
//! the same time, and other groups ask by the same expression.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rq_core::ids::{Offset, QueueId, TopicId};
use rq_core::queue::request::Candidate;

/// Verdicts of a generation. The two of them take some 3 MiB.
const GENERATION: usize = 32_768;

/// The hash of an expression, and a message.
type Key = (u64, TopicId, QueueId, Offset);

/// The verdicts. A message never changes, so neither does a verdict; old ones are forgotten for want of room alone.
#[derive(Default)]
pub(super) struct Verdicts(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Key, bool>,
    old: HashMap<Key, bool>,
}

impl Verdicts {
    /// The verdicts on the first of these messages, as far as they are known without a gap, up to so many that are wanted.
    pub(super) fn known(&self, expression: u64, candidates: &[Candidate], wanted: usize) -> Vec<bool> {
        let verdicts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = wanted;
        let known = candidates.iter().map_while(|candidate| {
            let key = key(expression, candidate);
            let verdict =
                *verdicts.young.get(&key).or_else(|| verdicts.old.get(&key)).filter(|_| left > 0)?;
            left -= usize::from(verdict);
            Some(verdict)
        });
        known.collect()
    }

    /// Remembers one.
    pub(super) fn remember(&self, expression: u64, candidate: &Candidate, verdict: bool) {
        let mut verdicts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.young.len() >= GENERATION {
            verdicts.old = std::mem::take(&mut verdicts.young);
        }
        verdicts.young.insert(key(expression, candidate), verdict);
    }
}

fn key(expression: u64, candidate: &Candidate) -> Key {
    (expression, candidate.topic, candidate.queue, candidate.offset)
}

#[cfg(test)]
mod tests {
    use rq_core::ids::Lsn;

    use super::*;

    fn candidate(offset: u64) -> Candidate {
        Candidate { topic: TopicId(1), queue: QueueId(0), offset: Offset(offset), lsn: Lsn(offset) }
    }

    #[test]
    fn what_is_known_ends_at_a_gap_or_when_enough_is_wanted() {
        let verdicts = Verdicts::default();
        let candidates: Vec<_> = (0..6).map(candidate).collect();
        for (at, verdict) in [(0, true), (1, false), (2, true), (3, true), (5, true)] {
            verdicts.remember(7, &candidates[at], verdict);
        }
        assert_eq!(verdicts.known(7, &candidates, 32), [true, false, true, true]);
        assert_eq!(verdicts.known(7, &candidates, 2), [true, false, true]);
        assert!(verdicts.known(8, &candidates, 32).is_empty(), "another expression");
    }

    #[test]
    fn old_verdicts_are_forgotten_and_memory_is_bounded() {
        let verdicts = Verdicts::default();
        for offset in 0..4 * GENERATION as u64 {
            verdicts.remember(7, &candidate(offset), true);
        }
        assert!(verdicts.known(7, &[candidate(0)], 1).is_empty());
        assert_eq!(verdicts.known(7, &[candidate(4 * GENERATION as u64 - 1)], 1), [true]);
        let generations = verdicts.0.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }
}
