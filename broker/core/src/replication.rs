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

mod effect;
mod flushing;
mod gate;
mod guards;
mod history;
mod input;
mod master;
mod message;
mod peer;
mod proposals;
mod slave;
#[cfg(test)]
mod tests;
pub mod timers;

use std::marker::PhantomData;

pub use self::effect::{Effect, Halt};
pub use self::gate::Gate;
pub use self::guards::{Guarded, Guards};
pub use self::history::{EpochHistory, EpochStart};
pub use self::input::{Answer, Durable, Input, Link};
use self::master::Master;
pub use self::master::REJOIN_LAG;
pub use self::message::{Catchup, Hello, Message};
pub use self::peer::Peer;
use self::proposals::Proposal;
pub use self::proposals::ProposalId;
pub use self::slave::Phase;
use self::slave::Slave;
use crate::config::{Config, FlushMode};
use crate::ids::{Epoch, Lsn, Session, StoreId};

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
    /// What it has is not to be trusted, however much the log is like the master's.
    copies_anew: bool,
    /// How far a slave may be behind the end of the log when it is taken into the set, in bytes.
    rejoin_lag: u64,
    role: Role,
    guards: PhantomData<G>,
}

impl<G: Guards> Replica<G> {
    /// A replica that has just started. It does nothing before it sees a configuration.
    #[must_use]
    pub fn new(store: StoreId, session: Session, mut found: Durable) -> Self {
        found.history.forget_below(found.start);
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
            copies_anew: false,
            rejoin_lag: REJOIN_LAG,
            role: Role::Idle,
            guards: PhantomData,
        }
    }

    /// A replica that has just started and begins a copy as soon as it has a master, whatever it has itself. Only for one
    /// that is out of the in-sync set: it gives up all it has.
    #[must_use]
    pub fn that_copies_anew(store: StoreId, session: Session, found: Durable) -> Self {
        Self { copies_anew: true, ..Self::new(store, session, found) }
    }

    /// The same replica, which as the master takes a slave into the set that is at most so many bytes behind the end of the
    /// log, and has everything committed.
    #[must_use]
    pub fn with_rejoin_lag(self, bytes: u64) -> Self {
        Self { rejoin_lag: bytes, ..self }
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
            Input::FlushMode(mode) => self.on_flush_mode(mode, effects),
            Input::Unreadable(at) => {
                // Nothing of it is acknowledged.
                self.role = Role::Halted;
                effects.push(Effect::Halt(Halt::Unreadable { at }));
            }
            Input::Truncated(to) => self.on_truncated(to, effects),
            Input::Dropped(start) => {
                self.start = self.start.max(start);
                self.history.forget_below(start);
            }
            Input::Installed(copy) => self.on_installed(copy, effects),
            Input::StateDiffers(at) => self.on_state_differs(at, effects),
            Input::Greeted(link, hello) => self.on_greeted(link, &hello, effects),
            Input::Message(link, message) => self.on_message(link, &message, effects),
            Input::Connected(link) => self.on_connected(link),
            Input::Disconnected(link) => self.on_disconnected(link, effects),
            Input::Silent(peer) => self.on_silent(peer, effects),
            Input::TakeOver { keep } => self.on_take_over(keep, effects),
            Input::AcceptDataLoss { seen } => self.on_accept_data_loss(seen, effects),
            Input::HandOver { to, leaves } => self.on_hand_over(to, leaves, effects),
            Input::SetFlushPolicy(policy) => self.on_set_flush_policy(policy, effects),
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

    /// The session it is in.
    pub fn session(&self) -> Session {
        self.session
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
        if let Role::Master(leading) = &mut self.role {
            if (leading.epoch, self.store) == (epoch, master) {
                // Nobody outside the set can be promoted: whoever waits for that would wait for ever.
                leading.successor.take_if(|to| !config.in_sync.contains_key(&to.store));
                return self.recount(effects);
            }
            if !self.is_all_committed() {
                // Its state may hold what no other log has: it must forget that.
                self.role = Role::Halted;
                effects.push(Effect::StepDown);
                return;
            }
            self.role = Role::Idle;
            effects.push(Effect::HandedOver);
        }
        if epoch > self.promised {
            self.promise(epoch, effects);
        } else {
            self.take_role(effects);
        }
    }

    /// Whether nothing of its log can be cut off any more.
    fn is_all_committed(&self) -> bool {
        self.commit == self.end && self.durable == self.end
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
        if self.end < self.commit {
            // Only who accepts the loss of data makes a master of the beginning of a copy.
            self.role = Role::Halted;
            effects.push(Effect::Halt(Halt::Incomplete { end: self.end, commit: self.commit }));
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
        let counts_written = self.is_async();
        match &mut self.role {
            Role::Master(master) => {
                if begins.iter().any(|begin| begin.epoch == master.epoch) {
                    master.begun = Some(end);
                }
                self.recount(effects);
            }
            Role::Slave(_) if counts_written => self.acknowledge(effects),
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
}
