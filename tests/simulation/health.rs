//! When a cluster is whole again.

use rq_core::ids::{Lsn, StoreId};

use crate::process::Process;
use crate::world::World;

impl World {
    /// Whose log starts and ends where.
    pub(crate) fn ends(&self) -> Vec<(StoreId, Lsn, Lsn)> {
        let logs =
            self.machines.iter().filter_map(|machine| Some((machine.store, &machine.process.as_ref()?.log)));
        logs.map(|(store, log)| (store, log.start(), log.end())).collect()
    }

    /// Whether all replicas are in sync, with the same log as far as two of them have it, and the same state.
    pub(crate) fn whole(&self) -> Result<(), String> {
        let processes: Vec<_> = self.machines.iter().filter_map(|machine| machine.process.as_ref()).collect();
        let all = self.machines.len();
        if processes.len() != all || self.config.in_sync.len() != all || self.config.members.len() != all {
            let replicas: Vec<_> = processes.iter().map(|process| &process.replica).collect();
            return Err(format!("{:?} of {:#?}", self.config, replicas));
        }
        if processes.iter().filter_map(|process| process.replica.serving()).count() != 1 {
            return Err("nobody serves, or more than one".to_owned());
        }
        for pair in processes.windows(2) {
            same(pair[0], pair[1])?;
        }
        Ok(())
    }
}

/// Each drops its oldest segments by itself: what both have must be the same.
fn same(one: &Process, two: &Process) -> Result<(), String> {
    let start = one.log.start().max(two.log.start());
    let (end, other) = (one.log.end(), two.log.end());
    if end != other {
        return Err(format!("one log ends at {end}, another one at {other}"));
    }
    let frames = |process: &Process| {
        let frames = process.log.reader().frames(start, usize::MAX).map_err(|error| error.to_string())?;
        Ok::<_, String>(frames.into_iter().map(|frame| frame.bytes).collect::<Vec<_>>())
    };
    if frames(one)? != frames(two)? {
        return Err(format!("the logs differ between {start} and {end}"));
    }
    let history = |process: &Process| {
        let mut history = process.replica.history().clone();
        history.forget_below(start);
        history
    };
    if history(one) != history(two) {
        return Err("the same log has other epochs".to_owned());
    }
    if one.state().hash() != two.state().hash() {
        return Err("the states differ over the same log".to_owned());
    }
    Ok(())
}
