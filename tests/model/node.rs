//! One replica of the model: the replication core with a disk that loses what was not flushed.

use std::collections::BTreeMap;

use rq_core::config::FlushMode;
use rq_core::ids::{Epoch, Lsn, Session, StoreId};
use rq_core::replication::{Durable, EpochHistory, EpochStart, Gate, Guards, Link, Replica};

/// One record of the model's log, one position long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Entry {
    /// The epoch in which it was appended, and the life of its master: two entries are never the same by accident.
    pub(crate) epoch: Epoch,
    pub(crate) life: u8,
    pub(crate) what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum What {
    Begin,
    Message(u8),
    /// A half message.
    Half(u8),
    /// The end of its transaction: a commit, or a rollback.
    End(u8, bool),
    /// A delayed message.
    Delayed(u8),
    /// It becomes visible: its master saw that its time had come.
    Fire(u8),
    /// It never does: it was taken back.
    Recall(u8),
    Pop(u8),
    Ack(u8),
}

/// Whether a log says so.
pub(crate) fn has(log: &[Entry], what: What) -> bool {
    log.iter().any(|entry| entry.what == what)
}

/// An answer to a client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Reply {
    /// The message is stored.
    Stored(u8),
    /// The transaction has ended: it is committed, or rolled back.
    Ended(u8, bool),
    /// The delayed message never comes.
    Recalled(u8),
    /// The message, to a consumer.
    Delivered(u8),
    /// The consumer's ack holds.
    Acked(u8),
}

/// What a node has on its disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Disk {
    /// As the process reads it: what lies above `flushed` is in memory only.
    pub(crate) log: Vec<Entry>,
    /// What survives the loss of power.
    pub(crate) flushed: usize,
    /// The promise that is durable.
    pub(crate) promised: Epoch,
    /// What the flushed frames say is committed.
    pub(crate) commit: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Node<G: Guards> {
    pub(crate) store: StoreId,
    pub(crate) session: Session,
    pub(crate) disk: Disk,
    /// How often it started.
    pub(crate) life: u8,
    /// None while the process is down.
    pub(crate) process: Option<Process<G>>,
}

/// What is gone when the process ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Process<G: Guards> {
    pub(crate) replica: Replica<G>,
    pub(crate) gate: Gate<Reply, G>,
    /// A promise on its way to the disk.
    pub(crate) promising: Option<Epoch>,
    /// It asked for the configuration.
    pub(crate) reads_config: bool,
    /// Links on which frames are sent, with the position of the next one.
    pub(crate) ships: BTreeMap<Link, u64>,
}

impl Disk {
    /// Epochs that begin at or after `start`.
    pub(crate) fn begins(&self, start: usize) -> Vec<EpochStart> {
        let begin = |(at, entry): (usize, &Entry)| {
            (entry.what == What::Begin).then_some(EpochStart { epoch: entry.epoch, start: Lsn(at as u64) })
        };
        self.log.iter().enumerate().skip(start).filter_map(begin).collect()
    }

    /// What is there for certain after any crash.
    pub(crate) fn durable(&self) -> &[Entry] {
        self.log.get(..self.flushed).unwrap_or_default()
    }

    pub(crate) fn flush(&mut self, commit: Lsn) {
        self.flushed = self.log.len();
        self.commit = self.commit.max(commit.0.min(self.flushed as u64));
    }
}

impl<G: Guards> Node<G> {
    pub(crate) fn new(store: StoreId) -> Self {
        Self { store, session: Session(0), disk: Disk::default(), life: 0, process: None }
    }

    /// Starts the process: it reads its log, and flushes it anew if that rule holds.
    pub(crate) fn start(&mut self, mode: FlushMode) {
        self.life += 1;
        if G::RECOVERY_FLUSHES {
            self.disk.flush(Lsn(0));
        }
        let found = Durable {
            promised: self.disk.promised,
            history: EpochHistory::new(self.disk.begins(0)),
            start: Lsn(0),
            end: Lsn(self.disk.log.len() as u64),
            flushed: Lsn(self.disk.flushed as u64),
            commit: Lsn(self.disk.commit),
            flush_mode: mode,
        };
        self.process = Some(Process {
            replica: Replica::new(self.store, self.session, found),
            gate: Gate::default(),
            promising: None,
            reads_config: true,
            ships: BTreeMap::new(),
        });
    }

    /// The process ends; memory keeps what was written.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// The machine loses power: what was not flushed survives up to `kept` by chance.
    pub(crate) fn lose_power(&mut self, kept: usize) {
        self.process = None;
        self.disk.log.truncate(kept);
        self.disk.flushed = kept;
        self.session = Session(self.session.0 + 1);
    }

    /// The volume is gone; a new one is another store.
    pub(crate) fn lose_disk(&mut self, store: StoreId) {
        *self = Self { life: self.life, ..Self::new(store) };
    }
}
