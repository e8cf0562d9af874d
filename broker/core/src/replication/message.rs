//! What replicas tell each other. Bytes of frames travel beside [`Message::Frames`], by the driver.

use super::EpochHistory;
use crate::ids::{Epoch, Lsn, Session, StoreId};

/// How a slave introduces itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hello {
    /// Its store.
    pub store: StoreId,
    /// Its session.
    pub session: Session,
    /// The oldest epoch it acts in.
    pub promised: Epoch,
    /// Which epoch began where in its log.
    pub history: EpochHistory,
    /// Where its log ends.
    pub end: Lsn,
}

/// How a slave comes to have the master's log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Catchup {
    /// By frames from the end of its own log on.
    Resume,
    /// It cuts off what the master's log does not have, and greets again.
    Truncate(Lsn),
    /// By checkpoint and all frames from here on, where the master's log starts: it has nothing to go on from that the
    /// slave has.
    Install(Lsn),
}

/// One message on a link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Message {
    /// The master's answer to a [`Hello`].
    Welcome {
        /// Its epoch.
        epoch: Epoch,
        /// What the slave does.
        catchup: Catchup,
    },
    /// Frames of the log, from the master.
    Frames {
        /// The master's epoch, not that in which the frames were written.
        epoch: Epoch,
        /// Where the first one starts.
        from: Lsn,
        /// Where the last one ends.
        end: Lsn,
        /// Everything below is committed.
        commit: Lsn,
    },
    /// The master lives, and tells how far the commit is.
    Heartbeat {
        /// Its epoch.
        epoch: Epoch,
        /// Everything below is committed.
        commit: Lsn,
    },
    /// How far the slave is.
    Ack {
        /// The epoch it acts in.
        epoch: Epoch,
        /// Everything below is written.
        received: Lsn,
        /// Everything below is flushed.
        durable: Lsn,
    },
    /// The other end acts in a newer epoch.
    Refused {
        /// The oldest epoch it acts in.
        promised: Epoch,
    },
}

impl Message {
    /// The epoch that its sender acts in.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Welcome { epoch, .. }
            | Self::Frames { epoch, .. }
            | Self::Heartbeat { epoch, .. }
            | Self::Ack { epoch, .. } => *epoch,
            Self::Refused { promised } => *promised,
        }
    }
}
