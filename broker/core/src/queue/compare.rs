//! Comparing the states of replicas: at a mark in the log each clones its state, which is cheap, and hashes the clone
//! somewhere else, which is not; the master's hash comes as a later record. Decides when they differ; hashes nothing.

use std::collections::BTreeMap;

use crate::ids::Lsn;

/// Marks that are remembered: the hash of one comes before the mark after the next.
const MARKS_MAX: usize = 8;

/// What is known of a mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// One of the two hashes is still to come, or never will.
    Open,
    /// This replica has the master's state.
    Same,
    /// It has not.
    Different,
}

/// The hashes of the newest marks.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    own: BTreeMap<Lsn, u128>,
    told: BTreeMap<Lsn, u128>,
}

impl Comparison {
    /// The state of this replica had this hash at a mark.
    pub fn own(&mut self, of: Lsn, hash: u128) -> Verdict {
        remember(&mut self.own, of, hash);
        verdict(hash, self.told.get(&of))
    }

    /// The master says that its state had this hash at a mark.
    pub fn told(&mut self, of: Lsn, hash: u128) -> Verdict {
        remember(&mut self.told, of, hash);
        verdict(hash, self.own.get(&of))
    }
}

fn remember(hashes: &mut BTreeMap<Lsn, u128>, of: Lsn, hash: u128) {
    hashes.insert(of, hash);
    while hashes.len() > MARKS_MAX {
        hashes.pop_first();
    }
}

fn verdict(one: u128, other: Option<&u128>) -> Verdict {
    match other {
        None => Verdict::Open,
        Some(other) if *other == one => Verdict::Same,
        Some(_) => Verdict::Different,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_compared_whichever_hash_comes_first() {
        let mut comparison = Comparison::default();
        assert_eq!(comparison.own(Lsn(8), 1), Verdict::Open);
        assert_eq!(comparison.told(Lsn(16), 2), Verdict::Open);
        assert_eq!(comparison.told(Lsn(8), 1), Verdict::Same);
        assert_eq!(comparison.own(Lsn(16), 3), Verdict::Different);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut comparison = Comparison::default();
        for mark in 0..100 {
            comparison.own(Lsn(mark), 1);
        }
        assert_eq!(comparison.told(Lsn(99 - MARKS_MAX as u64), 2), Verdict::Open, "too old");
        assert_eq!(comparison.told(Lsn(99), 2), Verdict::Different);
    }
}
