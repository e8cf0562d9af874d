//! Turns the passing of time into inputs of a [`Replica`]: who is silent, who lags, what is tried again. A timer that
//! fires too early costs availability, never a message.

use std::collections::{BTreeMap, BTreeSet};

use super::{Guards, Input, Replica};
use crate::ids::{Lsn, StoreId};

/// Heartbeats go both ways this often, in ms.
pub const HEARTBEAT_MS: u64 = 250;
/// A slave of which the master hears nothing goes out of the in-sync set after this, or after the time it has to flush if
/// that is shorter; a slave that hears nothing of its master connects anew. In ms.
pub const SILENCE_MS: u64 = 1_500;
/// A slave that lives and does not flush goes out of the in-sync set after this, unless another time is given. In ms.
pub const LAG_MS: u64 = 3_000;
/// A proposal of unknown fate is made again after this, in ms.
pub const RETRY_MS: u64 = 500;

/// The timers of a replica. Times are ms on a clock that only goes forward.
#[derive(Clone, Debug)]
pub struct Timers {
    /// How long a slave may take to flush, in ms.
    lag_ms: u64,
    heard: BTreeMap<StoreId, u64>,
    /// What each slave still had to flush, and since when.
    owed: BTreeMap<StoreId, (Lsn, u64)>,
    retried: u64,
}

impl Default for Timers {
    fn default() -> Self {
        Self::new(LAG_MS)
    }
}

impl Timers {
    /// Timers by which a slave that lives has `lag_ms` to flush what it was sent.
    #[must_use]
    pub fn new(lag_ms: u64) -> Self {
        Self { lag_ms, heard: BTreeMap::new(), owed: BTreeMap::new(), retried: 0 }
    }

    /// Something came from a peer.
    pub fn heard(&mut self, peer: StoreId, now: u64) {
        self.heard.insert(peer, now);
    }

    /// A peer says that it is about to stop, and is taken for silent at once. If it cannot be taken out of the in-sync set just
    /// now, that is tried again soon.
    pub fn leaves(&mut self, peer: StoreId, now: u64) {
        self.heard.insert(peer, (now + RETRY_MS).saturating_sub(self.silence_ms()));
    }

    /// What time has brought by `now`. To be called every few tens of ms.
    pub fn tick<G: Guards>(&mut self, now: u64, replica: &Replica<G>) -> Vec<Input> {
        let mut inputs = Vec::new();
        if replica.leading().is_some() {
            let counted: Vec<_> = replica.counted().collect();
            let linked = replica.peers().filter(|(_, peer)| peer.link.is_some()).map(|(slave, _)| slave);
            let slaves: BTreeSet<_> = counted.iter().copied().chain(linked).collect();
            for slave in slaves {
                let lags = counted.contains(&slave) && self.lags(slave, now, replica);
                if self.is_silent(slave, now) || lags {
                    // Once is enough until it speaks again, or until a retry.
                    self.heard.insert(slave, now);
                    self.owed.remove(&slave);
                    inputs.push(Input::Silent(slave));
                }
            }
        } else if let Some(master) = replica.following() {
            self.owed.clear();
            if self.is_silent(master, now) {
                self.heard.insert(master, now);
                inputs.push(Input::Silent(master));
            }
        }
        if !replica.is_settled() && now >= self.retried + RETRY_MS {
            self.retried = now;
            inputs.push(Input::Retry);
        }
        inputs
    }

    fn is_silent(&mut self, slave: StoreId, now: u64) -> bool {
        // From a slave that never spoke, silence begins when somebody listens.
        now >= *self.heard.entry(slave).or_insert(now) + self.silence_ms()
    }

    fn silence_ms(&self) -> u64 {
        self.lag_ms.min(SILENCE_MS)
    }

    fn lags<G: Guards>(&mut self, slave: StoreId, now: u64, replica: &Replica<G>) -> bool {
        let peer = replica.peers().find(|(store, _)| *store == slave);
        let has = peer.map_or(Lsn(0), |(_, peer)| replica.has_of(peer));
        let (owed, since) = *self.owed.entry(slave).or_insert((replica.end(), now));
        if has >= owed {
            self.owed.insert(slave, (replica.end(), now));
            return false;
        }
        now >= since + self.lag_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::tests::{A, B, ack, master_with_slave, slave};

    fn silent(inputs: &[Input]) -> bool {
        inputs.contains(&Input::Silent(B))
    }

    #[test]
    fn a_slave_is_silent_after_a_second_and_a_half_of_nothing() {
        let (mut timers, a) = (Timers::default(), master_with_slave());
        assert!(!silent(&timers.tick(1_000, &a.replica)));
        timers.heard(B, 2_000);
        assert!(!silent(&timers.tick(3_499, &a.replica)));
        assert!(silent(&timers.tick(3_500, &a.replica)));
    }

    #[test]
    fn a_slave_that_leaves_while_a_proposal_is_under_way_is_taken_out_soon_after() {
        let (mut timers, mut a) = (Timers::default(), master_with_slave());
        timers.heard(B, 5_000);
        timers.leaves(B, 5_000);
        assert!(!silent(&timers.tick(5_499, &a.replica)));
        assert!(silent(&timers.tick(5_500, &a.replica)));
        a.hears(Input::Silent(B));
        let (id, _) = a.proposal();
        a.hears(Input::Answered(id, crate::replication::Answer::Done));
        timers.leaves(B, 6_000);
        assert_eq!(timers.tick(7_000, &a.replica), [], "it is out");
    }

    #[test]
    fn a_slave_that_hears_nothing_of_its_master_connects_anew() {
        let (mut timers, mut b) = (Timers::default(), slave());
        assert_eq!(timers.tick(1_000, &b.replica), []);
        assert_eq!(timers.tick(2_500, &b.replica), [Input::Silent(A)]);
        assert_eq!(b.hears(Input::Silent(A)), [crate::replication::Effect::Follow(A)]);
        assert_eq!(timers.tick(2_600, &b.replica), [], "once, until it is silent again");
    }

    #[test]
    fn a_slave_that_speaks_and_does_not_flush_lags_after_three_seconds() {
        let (mut timers, mut a) = (Timers::default(), master_with_slave());
        a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
        for now in (0..3_000).step_by(250) {
            timers.heard(B, now);
            assert!(!silent(&timers.tick(now, &a.replica)));
        }
        timers.heard(B, 3_000);
        assert!(silent(&timers.tick(3_000, &a.replica)));
    }

    #[test]
    fn a_slave_may_be_given_less_or_more_time_to_flush_and_no_more_to_be_silent() {
        let out_after = |lag_ms: u64, speaks: bool| {
            let (mut timers, mut a) = (Timers::new(lag_ms), master_with_slave());
            a.hears(Input::Appended { end: Lsn(20), begins: vec![] });
            timers.heard(B, 0);
            (0..).step_by(100).find(|now| {
                if speaks {
                    timers.heard(B, *now);
                }
                silent(&timers.tick(*now, &a.replica))
            })
        };
        assert_eq!(out_after(1_000, true), Some(1_000));
        assert_eq!(out_after(1_000, false), Some(1_000));
        assert_eq!(out_after(5_000, true), Some(5_000));
        assert_eq!(out_after(5_000, false), Some(SILENCE_MS));
    }

    #[test]
    fn a_slave_that_keeps_up_never_lags() {
        let (mut timers, mut a) = (Timers::default(), master_with_slave());
        for step in 2..100 {
            let (now, end) = (step * 250, step * 10);
            a.hears(Input::Appended { end: Lsn(end), begins: vec![] });
            a.hears(ack(end, end - 10));
            timers.heard(B, now);
            assert!(!silent(&timers.tick(now, &a.replica)), "always one step behind");
        }
    }

    #[test]
    fn a_proposal_of_unknown_fate_is_made_again() {
        let (mut timers, mut a) = (Timers::default(), master_with_slave());
        assert!(!timers.tick(10_000, &a.replica).contains(&Input::Retry));
        a.hears(Input::Silent(B));
        let (id, _) = a.proposal();
        a.hears(Input::Answered(id, crate::replication::Answer::Unknown));
        assert!(timers.tick(11_000, &a.replica).contains(&Input::Retry));
        assert!(!timers.tick(11_499, &a.replica).contains(&Input::Retry));
    }
}
