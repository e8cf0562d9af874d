//! What the log thread hears of the cluster, and what it says to it: links to other replicas, the config store, and the
//! role that all this leads to. The tasks at the other end (`replication`, `config_store`) decide nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use rq_core::config::{Config, FlushMode, FlushPolicy};
use rq_core::ids::{Epoch, Lsn, Session, StoreId};
use rq_core::replication::timers::LAG_MS;
use rq_core::replication::{Answer, Halt, Hello, Link, Message, Phase, ProposalId, REJOIN_LAG};
use rq_log::Snapshot;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::compare::{Hashed, Hashes};

/// Something that happened in the cluster.
#[derive(Debug)]
pub enum News {
    /// A configuration was read.
    Config(Config),
    /// The config store answered a proposal.
    Answered(ProposalId, Answer),
    /// A slave introduces itself; what is for it goes to `to`, until that is dropped.
    Greeted(Link, Hello, Peer),
    /// This slave has a link to its master and has said [`Following::hello`] on it.
    Connected(Link, Peer),
    /// A message of the other end of a link.
    Message(Link, Message, Frames),
    /// The master's snapshot, as asked for by [`ToPeer::Install`].
    Snapshot(Link, Snapshot),
    /// What the disk of the slave at the other end has left for its log, in bytes.
    Room(Link, u64),
    /// The slave at the other end of a link is about to stop.
    Leaving(Link),
    /// A link ended. Said once for each link, also for one that was hung up.
    Disconnected(Link),
    /// A slave could not connect to its master: nobody listens at its address.
    Refused(StoreId),
    /// The master shall make a slave of the in-sync set its successor, and leave the set with that if it is about to stop.
    HandOver {
        /// The successor.
        to: StoreId,
        /// Whether the master is about to stop.
        leaves: bool,
    },
    /// The master shall have records flushed by this policy.
    SetFlushPolicy(FlushPolicy),
    /// A person accepts the loss of what this replica lacks, so that it is master after this epoch.
    AcceptDataLoss(Epoch),
    /// The state of this replica at a mark was hashed.
    Hashed(Hashed),
}

/// The bytes that came with [`Message::Frames`]; none with other messages.
#[derive(Debug, Default)]
pub struct Frames {
    /// Whole frames.
    pub bytes: Bytes,
    /// Their share of what may wait for the disk, given back once they are written.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// The way to the other end of a link. Dropped, it hangs up.
pub type Peer = mpsc::UnboundedSender<ToPeer>;

/// What goes to the other end of a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToPeer {
    /// A message.
    Message(Message),
    /// Frames from here up to the end of the log, and whatever is appended after that; with [`Progress`] at hand.
    Ship(Epoch, Lsn),
    /// Nothing: the slave's end of the link is to fetch a snapshot from the master and say it as [`News::Snapshot`].
    Install,
    /// What this slave's disk has left for the log, in bytes.
    Room(u64),
}

/// Whom this slave follows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Following {
    /// Grows with every order: an equal one is to be obeyed too, on a new link.
    pub order: u64,
    /// The master.
    pub master: StoreId,
    /// Where it serves, `HOST:PORT`.
    pub address: String,
    /// How to introduce oneself.
    pub hello: Hello,
}

/// How far the log of this replica is. Said before its flush, so that frames travel while the disk works: whoever gets
/// them acknowledges nothing before its own disk has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Where the log ends.
    pub end: Lsn,
    /// Everything below is committed.
    pub commit: Lsn,
}

/// What is asked of the config store.
#[derive(Debug)]
pub enum ConfigRequest {
    /// Read the newest configuration, and say it as [`News::Config`].
    Read,
    /// Store this one by compare-and-set, and say what came of it as [`News::Answered`].
    Propose(ProposalId, Config),
}

/// What a broker in a cluster has besides its log.
#[derive(Debug)]
pub struct Cluster {
    /// Which session of the store this is: another one once the machine has booted anew.
    pub session: Session,
    /// The way to the config store.
    pub config: mpsc::UnboundedSender<ConfigRequest>,
    /// When it changes the in-sync set, and the master.
    pub rules: Rules,
}

/// When a member changes the in-sync set by itself, and the master.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// As a slave of the in-sync set it takes over from a master that is gone. Else somebody else sees to that.
    pub self_promotion: bool,
    /// As the master it takes a slave that has not flushed what it was sent out of the set after this, in ms.
    pub ack_timeout_ms: u64,
    /// As the master it takes a slave into the set that lacks at most this many bytes of what is not committed yet.
    pub rejoin_lag_bytes: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { self_promotion: true, ack_timeout_ms: LAG_MS, rejoin_lag_bytes: REJOIN_LAG }
    }
}

/// What this replica is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// It has no configuration yet, or waits for another one.
    #[default]
    Idle,
    /// It follows a master.
    Slave(Phase),
    /// It is the master of an epoch, and may serve in it or not yet.
    Master {
        /// Its epoch.
        epoch: Epoch,
        /// The first record of the epoch is committed, and nobody is to succeed it.
        serves: bool,
    },
}

/// A replica at one moment, for its own gateway and for whoever asks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReplicaView {
    /// Its store; none before it says anything.
    pub store: Option<StoreId>,
    /// What it is.
    pub role: Role,
    /// The newest configuration it has seen.
    pub config: Option<Config>,
    /// It acts in no older epoch.
    pub promised: Epoch,
    /// The newest epoch in its log.
    pub log_epoch: Epoch,
    /// Where its log ends.
    pub end: Lsn,
    /// For how long this slave has heard nothing of its master, in ms; none of a master.
    pub master_silent_ms: Option<u64>,
    /// The slaves of this master: how far each says it is.
    pub slaves: BTreeMap<StoreId, SlaveView>,
    /// How records count; none on the way from one mode to the other.
    pub flush_mode: Option<FlushMode>,
    /// Of Async, as the log says last: the longest time between two flushes, in ms.
    pub flush_interval_ms: u32,
    /// It must not go on; why.
    pub halted: Option<Halt>,
}

/// A slave as its master knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlaveView {
    /// Whether it gets frames.
    pub phase: Phase,
    /// Everything below is written there.
    pub received: Lsn,
    /// Everything below is flushed there.
    pub durable: Lsn,
}

impl ReplicaView {
    /// Whether this replica answers clients itself.
    pub fn serves(&self) -> bool {
        matches!(self.role, Role::Master { serves: true, .. })
    }

    /// Whether there is no other replica, and none can join.
    pub fn is_alone(&self) -> bool {
        self.config
            .as_ref()
            .is_none_or(|config| config.members.values().all(|member| member.address.is_empty()))
    }

    /// Whether it is the master of an epoch, serving or not yet.
    pub fn leads(&self) -> bool {
        matches!(self.role, Role::Master { .. })
    }

    /// The newest epoch it has seen; 0 before it has seen any.
    pub fn epoch(&self) -> Epoch {
        self.config.as_ref().map_or(Epoch(0), |config| config.epoch)
    }

    /// Where the master serves that the newest configuration names; none before there is one, and none where this replica
    /// is named and does not lead, or has come in the place of the store that did.
    pub fn master_address(&self) -> Option<&str> {
        let config = self.config.as_ref()?;
        let address = |store| config.members.get(store).map(|member| member.address.as_str());
        let master = address(&config.master);
        master.filter(|master| self.leads() || Some(*master) != self.store.as_ref().and_then(address))
    }
}

/// What the log thread says to the tasks around it.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) progress: watch::Sender<Progress>,
    pub(super) following: watch::Sender<Option<Following>>,
    pub(super) view: watch::Sender<ReplicaView>,
    pub(super) hashes: watch::Sender<Hashes>,
}
