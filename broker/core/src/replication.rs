//! Replication of a shard, as one replica decides it: what counts as committed, who is followed, what is cut off, when
//! the in-sync set changes. Safety needs no clock: [`Replica::step`] takes what happened, among it that a flush or a
//! promise is durable now, and says what to do. Whoever is silent for too long is an input; [`timers`] makes it.
//!
//! ```text
//!   config store ──Config, Answered──►                ──Propose──► config store
//!   disk ──Appended, Flushed, Promised, Truncated──►  Replica  ──Begin, Promise, Store, Truncate──► log thread
//!   peer ──Message, Disconnected──►                   ──Send, Ship──► peer
//!   timers ──Silent──►                                ──Committed──► answers leave
//! ```
//!
//! The rules are those of `PacificA`, with Kafka's epochs for truncation; `docs/invariants.md` names each and the test that breaks
//! without it.

mod gate;
mod guards;
mod history;
mod master;
mod message;
mod slave;
#[cfg(test)]
mod tests;
pub mod timers;

use std::marker::PhantomData;

pub use self::gate::Gate;
pub use self::guards::{Guarded, Guards};
pub use self::history::{EpochHistory, EpochStart};
use self::master::Master;
pub use self::master::Peer;
pub use self::message::{Catchup, Hello, Message};
pub use self::slave::Phase;
use self::slave::Slave;
use crate::config::{self, Change, Config, FlushMode};
use crate::ids::{Epoch, Lsn, Session, StoreId};

/// A connection between a slave and its master; numbered by the driver, never the same number twice in one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Link(pub u64);

/// Names a proposal to the config store among those of this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProposalId(pub u64);

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
    /// What lay above is cut off, durably.
    Truncated(Lsn),
    /// The log was replaced by a copy of the master's.
    Installed(Durable),
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
    /// The master shall make a slave of the in-sync set its successor.
    HandOver(StoreId),
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

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Read the newest configuration; give it as [`Input::Config`].
    ReadConfig,
    /// Store the configuration if the present version is `config.version - 1`.
    Propose(ProposalId, Config),
    /// Make durable that no older epoch is acted in; then [`Input::Promised`].
    Promise(Epoch),
    /// This replica is master: append the first record of the epoch, then [`Input::Appended`].
    Begin(Epoch),
    /// Connect to the master and say [`Replica::hello`]; drop the link there was.
    Follow(StoreId),
    /// Append the frames that came with the message; then [`Input::Appended`] and, flushed, [`Input::Flushed`].
    Store,
    /// Cut off everything from here on, durably; then [`Input::Truncated`].
    Truncate(Lsn),
    /// Fetch checkpoint and segments from the master; then [`Input::Installed`].
    Install,
    /// Send a message.
    Send(Link, Message),
    /// Send frames from here up to the end of the log, and go on with what is appended.
    Ship(Link, Lsn),
    /// Everything below is committed: answers that wait for it leave.
    Committed(Lsn),
    /// Close the link.
    Hangup(Link),
    /// This replica is master no more: answer what waits with "unknown", forget the state, recover from the log, and go
    /// on with a new [`Replica`].
    StepDown,
    /// This replica must not go on: see the reason.
    Halt(Halt),
}

/// Why a replica stops for good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Halt {
    /// The master asks to cut off what was committed. Somebody accepted data loss, or this is a fault of ours.
    #[error(
        "the master of epoch {epoch} has a log that lacks what is committed here: {to} lies below {commit}; \
         if data loss was accepted, empty this data directory so that the replica copies the master"
    )]
    CommittedLost {
        /// The epoch of that master.
        epoch: Epoch,
        /// Where the logs part.
        to: Lsn,
        /// What is committed here.
        commit: Lsn,
    },
}

/// What a replica finds on its disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Durable {
    /// The epoch it promised.
    pub promised: Epoch,
    /// Which epoch began where.
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

/// A proposal whose fate is not known.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Proposal {
    id: ProposalId,
    config: Config,
    /// The store has not answered yet.
    under_way: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Role {
    /// Nobody to follow yet, or the way to a mastership.
    Idle,
    Slave(Slave),
    Master(Master),
    Halted,
}

/// One replica.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Replica<G: Guards = Guarded> {
    store: StoreId,
    session: Session,
    config: Option<Config>,
    /// Made from the present configuration, perhaps stored already.
    proposals: Vec<Proposal>,
    next_proposal: u64,
    promised: Epoch,
    /// A promise that is not durable yet.
    promising: Option<Epoch>,
    /// The epoch that was promised in this life and not begun: the only one that may be begun.
    unbegun: Option<Epoch>,
    history: EpochHistory,
    /// As the newest record of it in the log says.
    flush_mode: FlushMode,
    start: Lsn,
    end: Lsn,
    durable: Lsn,
    commit: Lsn,
    role: Role,
    guards: PhantomData<G>,
}

impl<G: Guards> Replica<G> {
    /// A replica that has just started. It does nothing before it sees a configuration.
    #[must_use]
    pub fn new(store: StoreId, session: Session, found: Durable) -> Self {
        Self {
            store,
            session,
            config: None,
            proposals: Vec::new(),
            next_proposal: 0,
            promised: found.promised,
            promising: None,
            unbegun: None,
            flush_mode: found.flush_mode,
            history: found.history,
            start: found.start,
            end: found.end,
            // What recovery reads may come from memory: it counts once it was written and flushed anew.
            durable: if G::RECOVERY_FLUSHES { found.flushed } else { found.end },
            commit: found.commit,
            role: Role::Idle,
            guards: PhantomData,
        }
    }

    /// Takes in what happened and says what to do.
    pub fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        if matches!(self.role, Role::Halted) {
            return;
        }
        match input {
            Input::Config(config) => self.on_config(config, effects),
            Input::Answered(id, answer) => self.on_answer(id, answer, effects),
            Input::Promised(epoch) => self.on_promised(epoch, effects),
            Input::Appended { end, begins } => self.on_appended(end, &begins, effects),
            Input::Flushed(end) => self.on_flushed(end, effects),
            Input::FlushMode(mode) => self.flush_mode = mode,
            Input::Truncated(to) => self.on_truncated(to, effects),
            Input::Installed(copy) => self.on_installed(copy, effects),
            Input::Greeted(link, hello) => self.on_greeted(link, &hello, effects),
            Input::Message(link, message) => self.on_message(link, &message, effects),
            Input::Connected(link) => self.on_connected(link, effects),
            Input::Disconnected(link) => self.on_disconnected(link, effects),
            Input::Silent(peer) => self.on_silent(peer, effects),
            Input::TakeOver { keep } => self.on_take_over(keep, effects),
            Input::HandOver(to) => self.on_hand_over(to, effects),
            Input::Retry => self.on_retry(effects),
        }
    }

    /// The newest configuration it has seen.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Its store.
    pub fn store(&self) -> StoreId {
        self.store
    }

    /// Everything below is committed.
    pub fn commit(&self) -> Lsn {
        self.commit
    }

    /// Where its log ends.
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Everything below is flushed here.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// The oldest epoch it acts in.
    pub fn promised(&self) -> Epoch {
        self.promised
    }

    /// Which epoch began where in its log.
    pub fn history(&self) -> &EpochHistory {
        &self.history
    }

    /// The epoch in which it is master and may serve: its first record is committed, and nobody is to succeed it.
    pub fn serving(&self) -> Option<Epoch> {
        self.master().filter(|master| master.serves(self.commit)).map(|master| master.epoch)
    }

    /// The epoch in which it is master, serving or not yet.
    pub fn leading(&self) -> Option<Epoch> {
        self.master().map(|master| master.epoch)
    }

    /// Whether producers may be answered OK: enough copies are in sync. Asked when a message is admitted and again when
    /// it is committed.
    pub fn accepts_producers(&self) -> bool {
        self.serving().is_some() && self.config.as_ref().is_some_and(Config::enough_in_sync)
    }

    /// The slaves of a master.
    pub fn peers(&self) -> impl Iterator<Item = (StoreId, &Peer)> {
        self.master().into_iter().flat_map(|master| master.peers.iter().map(|(store, peer)| (*store, peer)))
    }

    /// The slaves that count for the commit: of the in-sync set, and of every set that may be stored already.
    pub fn counted(&self) -> impl Iterator<Item = StoreId> {
        let mut counted: Vec<_> = self.effective_set().into_iter().map(|(store, _)| store).collect();
        counted.dedup();
        counted.into_iter().filter(|store| *store != self.store)
    }

    /// Whether no proposal waits to be made again.
    pub fn is_settled(&self) -> bool {
        !self.proposals.iter().any(|proposal| !proposal.under_way)
    }

    /// How far a slave is.
    pub fn phase(&self) -> Option<Phase> {
        match &self.role {
            Role::Slave(slave) => Some(slave.phase),
            _ => None,
        }
    }

    /// The master that this slave follows.
    pub fn following(&self) -> Option<StoreId> {
        match &self.role {
            Role::Slave(slave) => Some(slave.master),
            _ => None,
        }
    }

    /// How it introduces itself to its master.
    pub fn hello(&self) -> Hello {
        Hello {
            store: self.store,
            session: self.session,
            promised: self.promised,
            history: self.history.clone(),
            end: self.end,
        }
    }

    fn master(&self) -> Option<&Master> {
        match &self.role {
            Role::Master(master) => Some(master),
            _ => None,
        }
    }

    fn on_config(&mut self, config: Config, effects: &mut Vec<Effect>) {
        if self.config.as_ref().is_some_and(|seen| seen.version >= config.version) {
            if !G::NEWER_WRITE_SETTLES {
                self.proposals.clear();
                self.recount(effects);
            }
            return;
        }
        if config.epoch < self.promised {
            // Older than what this replica has promised: a late answer, or a store restored from a backup.
            return;
        }
        // Proposals made from an older version can no longer be stored: whatever became of them is in this one.
        self.proposals.retain(|proposal| proposal.config.version > config.version);
        self.config = Some(config);
        self.follow_config(effects);
    }

    /// Acts on the present configuration.
    fn follow_config(&mut self, effects: &mut Vec<Effect>) {
        let Some(config) = &self.config else { return };
        let (epoch, master) = (config.epoch, config.master);
        if let Role::Master(leading) = &self.role {
            if (leading.epoch, self.store) == (epoch, master) {
                return self.recount(effects);
            }
            self.role = Role::Halted;
            effects.push(Effect::StepDown);
            return;
        }
        if epoch > self.promised {
            self.promise(epoch, effects);
        } else {
            self.take_role(effects);
        }
    }

    /// Promises to act in no older epoch. Nothing of the new epoch is done before that is durable.
    fn promise(&mut self, epoch: Epoch, effects: &mut Vec<Effect>) {
        if self.promising.is_none_or(|promising| promising < epoch) {
            self.promising = Some(epoch);
            effects.push(Effect::Promise(epoch));
            if !G::PROMISE_FIRST {
                self.on_promised(epoch, effects);
            }
        }
    }

    fn on_promised(&mut self, epoch: Epoch, effects: &mut Vec<Effect>) {
        self.promising.take_if(|promising| *promising <= epoch);
        if epoch <= self.promised {
            return;
        }
        self.promised = epoch;
        self.unbegun = Some(epoch);
        if self.config.as_ref().is_some_and(|config| config.epoch == epoch) {
            self.take_role(effects);
        } else {
            // The news came from another replica before it came from the config store.
            effects.push(Effect::ReadConfig);
            if let Role::Slave(slave) = &mut self.role {
                slave.epoch = epoch;
                slave.follow_again(effects);
            }
        }
    }

    /// Becomes what the configuration says, in an epoch that is promised.
    fn take_role(&mut self, effects: &mut Vec<Effect>) {
        let Some(config) = &self.config else { return };
        let (epoch, master) = (config.epoch, config.master);
        if epoch < self.promised {
            return;
        }
        if master != self.store {
            if !matches!(&self.role, Role::Slave(slave) if (slave.master, slave.epoch) == (master, epoch)) {
                self.role = Role::Slave(Slave::new(master, epoch));
                effects.push(Effect::Follow(master));
            }
            return;
        }
        if G::SESSIONS && !config.may_lead(self.store, self.session) {
            // It was promoted in a session that is gone, and records with it.
            return;
        }
        if self.unbegun.take() == Some(epoch) || !G::NEW_EPOCH {
            self.role = Role::Master(Master::new(epoch));
            effects.push(Effect::Begin(epoch));
        } else {
            // Acks of an earlier life are void: it takes an epoch of its own before it accepts anything.
            self.propose_to_lead(config.in_sync.keys().copied().collect(), effects);
        }
    }

    fn on_appended(&mut self, end: Lsn, begins: &[EpochStart], effects: &mut Vec<Effect>) {
        self.end = end;
        self.history.extend(begins);
        match &mut self.role {
            Role::Master(master) => {
                if begins.iter().any(|begin| begin.epoch == master.epoch) {
                    master.begun = Some(end);
                }
                self.recount(effects);
            }
            Role::Slave(_) if self.flush_mode == FlushMode::Async => self.acknowledge(effects),
            _ => {}
        }
    }

    fn on_flushed(&mut self, end: Lsn, effects: &mut Vec<Effect>) {
        self.durable = self.durable.max(end.min(self.end));
        match &self.role {
            Role::Master(_) => self.recount(effects),
            Role::Slave(_) => self.acknowledge(effects),
            Role::Idle | Role::Halted => {}
        }
    }

    fn committed_up_to(&mut self, lsn: Lsn, effects: &mut Vec<Effect>) {
        if lsn > self.commit {
            self.commit = lsn;
            effects.push(Effect::Committed(lsn));
        }
    }

    fn on_take_over(&mut self, mut keep: Vec<StoreId>, effects: &mut Vec<Effect>) {
        if self.leading().is_none() {
            keep.push(self.store);
            self.propose_to_lead(keep, effects);
        }
    }

    fn propose_to_lead(&mut self, keep: Vec<StoreId>, effects: &mut Vec<Effect>) {
        self.propose(&Change::Promote { to: self.store, session: self.session, keep }, effects);
    }

    /// Proposes a change of the present configuration, unless an earlier one is under way. One that is refused by the
    /// rules is not made: what led to it was overtaken by a newer configuration.
    fn propose(&mut self, change: &Change, effects: &mut Vec<Effect>) {
        let Some(config) = &self.config else { return };
        if self.proposals.iter().any(|proposal| proposal.under_way) {
            return;
        }
        let Ok(config) = config::next(config, change) else { return };
        let id = ProposalId(self.next_proposal);
        self.next_proposal += 1;
        // One that is like it is made again, not twice.
        self.proposals.retain(|proposal| proposal.config != config);
        self.proposals.push(Proposal { id, config: config.clone(), under_way: true });
        effects.push(Effect::Propose(id, config));
    }

    fn on_answer(&mut self, id: ProposalId, answer: Answer, effects: &mut Vec<Effect>) {
        let Some(proposal) = self.proposals.iter_mut().find(|proposal| proposal.id == id) else { return };
        proposal.under_way = false;
        match answer {
            Answer::Done => {
                let config = proposal.config.clone();
                self.on_config(config, effects);
            }
            // Settled if it shows a newer version; else its fate is as unknown as before.
            Answer::Conflict(config) => self.on_config(config, effects),
            Answer::Unknown => effects.push(Effect::ReadConfig),
        }
    }

    /// Makes a proposal of unknown fate again: only a newer write settles it, this one or another's.
    fn on_retry(&mut self, effects: &mut Vec<Effect>) {
        if self.proposals.iter().any(|proposal| proposal.under_way) {
            return;
        }
        if let Some(proposal) = self.proposals.last_mut() {
            proposal.id = ProposalId(self.next_proposal);
            self.next_proposal += 1;
            proposal.under_way = true;
            effects.push(Effect::Propose(proposal.id, proposal.config.clone()));
        } else if matches!(self.role, Role::Idle) {
            self.follow_config(effects);
        }
    }
}
