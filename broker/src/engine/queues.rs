//! The queues as this replica has them: a slave applies what the master decided, a master decides.

use rq_core::queue::{Limits, Shard, State};

/// The queues.
pub(super) enum Queues {
    /// As the log says; also of a replica that waits for its role.
    Slave(Box<State>),
    /// With the decisions of a master, and the receives that wait.
    Master(Box<Shard>),
}

impl Queues {
    pub(super) fn slave(state: State) -> Self {
        Self::Slave(Box::new(state))
    }

    pub(super) fn state(&self) -> &State {
        match self {
            Self::Slave(state) => state,
            Self::Master(shard) => shard.state(),
        }
    }

    pub(super) fn shard(&mut self) -> Option<&mut Shard> {
        match self {
            Self::Slave(_) => None,
            Self::Master(shard) => Some(shard),
        }
    }

    /// Makes no decisions any more; the state stays.
    pub(super) fn follow(&mut self) {
        if let Self::Master(shard) = self {
            *self = Self::slave(shard.state().clone());
        }
    }

    /// Makes decisions from now on.
    pub(super) fn lead(&mut self, limits: Limits) {
        if let Self::Slave(state) = self {
            *self = Self::Master(Box::new(Shard::new(std::mem::take(&mut **state), limits)));
        }
    }
}
