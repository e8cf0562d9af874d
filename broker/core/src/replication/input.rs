//! What a replica is told: what happened around it, and what it finds on its disk when it starts.

use super::{EpochHistory, EpochStart, Hello, Message, ProposalId};
use crate::config::{Config, FlushMode, FlushPolicy};
use crate::ids::{Epoch, Lsn, StoreId};

/// A connection between a slave and its master; numbered by the driver, never the same number twice in one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Link(pub u64);

/// What happened.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// A configuration was read or watched, of whatever age.
    Config(Config),
    /// The config store answered a proposal.
    Answered(ProposalId, Answer),
    /// The promise of an epoch is durable.
    Promised(Epoch),
    /// The log of this replica has grown by frames; `begins` lists the epochs that began in them.
    Appended {
        /// Where the log ends now.
        end: Lsn,
        /// Epochs that began in the new part.
        begins: Vec<EpochStart>,
    },
    /// Everything below is flushed.
    Flushed(Lsn),
    /// A record of the log changed the flush mode.
    FlushMode(FlushMode),
    /// A frame of the master was stored here that this release cannot apply.
    Unreadable(Lsn),
    /// What lay above is cut off, durably.
    Truncated(Lsn),
    /// What lay below was dropped from the log.
    Dropped(Lsn),
    /// The log was replaced by the beginning of a copy: it is empty and starts where the master's does. `history` and
    /// `commit` are those of the checkpoint that came with it, beyond the end of the log until that has been copied.
    Installed(Durable),
    /// The state of this replica is not what the master's was at this mark in the log.
    StateDiffers(Lsn),
    /// A slave introduces itself.
    Greeted(Link, Hello),
    /// A message of the other end of a link.
    Message(Link, Message),
    /// A slave has a link to the master it was told to follow.
    Connected(Link),
    /// A link ended.
    Disconnected(Link),
    /// Nothing was heard of a slave, or it lags behind, for too long; or a slave has heard nothing of its master.
    Silent(StoreId),
    /// This slave may become master: whoever decides (see [`crate::failover`]) has decided.
    TakeOver {
        /// Which slaves stay in the set.
        keep: Vec<StoreId>,
    },
    /// A person accepts that what this replica lacks is lost: it shall be master of the epoch after this one.
    AcceptDataLoss {
        /// The epoch that ends, as the person has seen it.
        seen: Epoch,
    },
    /// The master shall make a slave of the in-sync set its successor.
    HandOver {
        /// The successor.
        to: StoreId,
        /// The master is about to stop: it is in the set no more, so that its successor does not wait for it.
        leaves: bool,
    },
    /// The master shall have records flushed by this policy.
    SetFlushPolicy(FlushPolicy),
    /// Time has passed: proposals of unknown fate are made again.
    Retry,
}

/// What the config store says to a proposal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// It is the newest version now.
    Done,
    /// There is another version.
    Conflict(Config),
    /// Nobody knows: it may be stored, now or later, or never.
    Unknown,
}

/// What a replica finds on its disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Durable {
    /// The epoch it promised.
    pub promised: Epoch,
    /// Which epoch began where; of those that ended before the log starts as many as are known.
    pub history: EpochHistory,
    /// Where its log starts; below it was dropped.
    pub start: Lsn,
    /// Where its log ends.
    pub end: Lsn,
    /// Everything below was flushed for certain: in this life, or as the superblock says.
    pub flushed: Lsn,
    /// What it knows to be committed.
    pub commit: Lsn,
    /// The flush mode that the log's newest record of it says.
    pub flush_mode: FlushMode,
}
