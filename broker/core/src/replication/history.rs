//! Which epoch began where in a log: tells where two logs part (Kafka's KIP-101).

use crate::ids::{Epoch, Lsn};

/// The first frame of an epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: Epoch,
    /// Where its first frame starts.
    pub start: Lsn,
}

/// The epochs of a log, oldest first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EpochHistory(Vec<EpochStart>);

impl EpochHistory {
    /// From the epochs that were read, oldest first.
    #[must_use]
    pub fn new(epochs: Vec<EpochStart>) -> Self {
        Self(epochs)
    }

    /// The epochs, oldest first.
    pub fn epochs(&self) -> &[EpochStart] {
        &self.0
    }

    /// The newest epoch that has a frame in the log; 0 if there is none.
    pub fn last_epoch(&self) -> Epoch {
        self.0.last().map_or(Epoch(0), |begin| begin.epoch)
    }

    /// Takes in epochs that began in new frames.
    pub fn extend(&mut self, begins: &[EpochStart]) {
        for begin in begins {
            if begin.epoch > self.last_epoch() {
                self.0.push(*begin);
            }
        }
    }

    /// The log was cut off here.
    pub fn truncate(&mut self, end: Lsn) {
        self.0.retain(|begin| begin.start < end);
    }

    /// The log starts here: epochs that ended before are forgotten. One that ended right here is kept: a copy that ends
    /// where this log starts has frames of it and no newer ones.
    pub fn forget_below(&mut self, start: Lsn) {
        self.forget_oldest_below(start, 0);
    }

    /// As [`EpochHistory::forget_below`], but for the newest `kept` of what would be forgotten.
    pub fn forget_oldest_below(&mut self, start: Lsn, kept: usize) {
        let ended = self.0.iter().skip(1).take_while(|next| next.start < start).count();
        self.0.drain(..ended.saturating_sub(kept));
    }

    /// Up to where a log with this history, ending at `end`, and another one are the same: the end of the newest epoch
    /// that began in both at the same place, in the log where it ends first.
    pub fn common(&self, end: Lsn, other: &Self, other_end: Lsn) -> Lsn {
        let newest = self.0.iter().rev().find(|begin| other.0.contains(begin));
        newest.map_or(Lsn(0), |begin| self.end_of(begin.epoch, end).min(other.end_of(begin.epoch, other_end)))
    }

    fn end_of(&self, epoch: Epoch, end: Lsn) -> Lsn {
        self.0.iter().find(|begin| begin.epoch > epoch).map_or(end, |begin| begin.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(epochs: &[(u32, u64)]) -> EpochHistory {
        EpochHistory::new(
            epochs
                .iter()
                .map(|(epoch, start)| EpochStart { epoch: Epoch(*epoch), start: Lsn(*start) })
                .collect(),
        )
    }

    #[test]
    fn an_epoch_is_forgotten_when_the_log_starts_after_its_end() {
        let mut epochs = history(&[(1, 0), (3, 50), (4, 90)]);
        epochs.forget_below(Lsn(49));
        assert_eq!(epochs.epochs().len(), 3, "the log still has a frame of epoch 1");
        epochs.forget_below(Lsn(70));
        assert_eq!(epochs, history(&[(3, 50), (4, 90)]));
        epochs.forget_below(Lsn(200));
        assert_eq!(epochs, history(&[(4, 90)]));
    }

    #[test]
    fn an_epoch_that_ended_where_the_log_starts_is_known_to_a_copy_that_ends_there() {
        let mut master = history(&[(1, 0), (3, 50), (4, 90)]);
        master.forget_below(Lsn(50));
        assert_eq!(master.common(Lsn(200), &history(&[(1, 0)]), Lsn(50)), Lsn(50));
    }

    #[test]
    fn logs_part_where_the_newest_common_epoch_ends_first() {
        let master = history(&[(1, 0), (3, 50)]);
        let common = |epochs: &[(u32, u64)], end: u64| master.common(Lsn(90), &history(epochs), Lsn(end)).0;
        assert_eq!(common(&[(1, 0)], 40), 40, "a part of it");
        assert_eq!(common(&[(1, 0)], 70), 50, "went on in epoch 1 where the master did not");
        assert_eq!(common(&[(1, 0), (2, 30)], 80), 30, "another master of an epoch the master never saw");
        assert_eq!(common(&[(1, 0), (3, 50)], 80), 80);
        assert_eq!(common(&[(1, 0), (3, 50)], 120), 90);
        assert_eq!(common(&[(2, 0)], 80), 0, "nothing in common");
        assert_eq!(common(&[], 0), 0);
    }
}
