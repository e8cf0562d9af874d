//! The master's part: counts what every member of the in-sync set has, brings slaves into the set and out of it, and
//! hands over.

use std::collections::BTreeMap;

use super::flushing::Wish;
use super::{Catchup, Effect, Guards, Hello, Link, Message, Peer, Phase, Replica, Role};
use crate::config::{Change, FlushMode};
use crate::ids::{Epoch, Lsn, Session, StoreId};

/// A slave that lags more than this behind the end of the log, in bytes, is not taken into the set, unless another bound is
/// given. It has everything committed in any case: what it still lacks is acknowledged only once it has that.
pub const REJOIN_LAG: u64 = 4 << 20;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Master {
    pub(super) epoch: Epoch,
    /// Where the frame ends that began the epoch.
    pub(super) begun: Option<Lsn>,
    pub(super) peers: BTreeMap<StoreId, Peer>,
    /// Who shall be master next.
    pub(super) successor: Option<Successor>,
    /// How records shall be flushed, until that is so.
    pub(super) wish: Option<Wish>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Successor {
    pub(super) store: StoreId,
    /// This replica leaves the set with its mastership.
    pub(super) leaves: bool,
}

impl Master {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { epoch, begun: None, peers: BTreeMap::new(), successor: None, wish: None }
    }

    pub(super) fn serves(&self, commit: Lsn) -> bool {
        self.successor.is_none() && self.begun.is_some_and(|begun| commit >= begun)
    }
}

impl<G: Guards> Replica<G> {
    pub(super) fn on_greeted(&mut self, link: Link, hello: &Hello, effects: &mut Vec<Effect>) {
        let Role::Master(master) = &mut self.role else {
            effects.push(Effect::Hangup(link));
            return;
        };
        if hello.promised > master.epoch {
            effects.push(Effect::ReadConfig);
            effects.push(Effect::Hangup(link));
            return;
        }
        let common = self.history.common(self.end, &hello.history, hello.end);
        let (catchup, phase) = if common < self.start {
            (Catchup::Install(self.start), Phase::Installing)
        } else if common < hello.end {
            (Catchup::Truncate(common), Phase::Truncating)
        } else {
            (Catchup::Resume, Phase::Following)
        };
        // What it had in an earlier life counts when it says so again.
        let peer =
            Peer { link: Some(link), session: hello.session, received: Lsn(0), durable: Lsn(0), phase };
        let epoch = master.epoch;
        master.peers.insert(hello.store, peer);
        effects.push(Effect::Send(link, Message::Welcome { epoch, catchup }));
        if phase == Phase::Following {
            effects.push(Effect::Ship(link, hello.end));
        }
        self.take_out_of_other_session(effects);
    }

    /// In Async a slave that is back in another session is a new replica. It may have come while a proposal was under way.
    fn take_out_of_other_session(&mut self, effects: &mut Vec<Effect>) {
        let sessions_count = self.config.as_ref().is_some_and(|config| config.flush_mode == FlushMode::Async);
        if G::SESSIONS
            && sessions_count
            && self.proposals.is_empty()
            && let Some(stale) = self.in_another_session()
        {
            self.take_out(stale, effects);
        }
    }

    pub(super) fn on_message(&mut self, link: Link, message: &Message, effects: &mut Vec<Effect>) {
        let end = self.end;
        let Role::Master(master) = &mut self.role else {
            return self.on_masters_message(link, message, effects);
        };
        let Some(peer) = master.peers.values_mut().find(|peer| peer.link == Some(link)) else { return };
        match message {
            Message::Ack { epoch, received, durable } if *epoch == master.epoch => {
                peer.received = peer.received.max((*received).min(end));
                peer.durable = peer.durable.max((*durable).min(end));
                self.recount(effects);
            }
            // Perhaps deposed: the config store knows.
            Message::Refused { promised } if *promised > master.epoch => effects.push(Effect::ReadConfig),
            Message::Ack { epoch, .. } if *epoch > master.epoch => effects.push(Effect::ReadConfig),
            _ => {}
        }
    }

    pub(super) fn on_disconnected(&mut self, link: Link, effects: &mut Vec<Effect>) {
        match &mut self.role {
            Role::Master(master) => {
                // What it has said of this epoch stays true: it cannot lose what it has flushed.
                for peer in master.peers.values_mut().filter(|peer| peer.link == Some(link)) {
                    peer.link = None;
                    peer.phase = Phase::Greeting;
                }
            }
            Role::Slave(slave) if slave.link == Some(link) => slave.follow_again(effects),
            _ => {}
        }
    }

    pub(super) fn on_silent(&mut self, peer: StoreId, effects: &mut Vec<Effect>) {
        match &mut self.role {
            Role::Master(master) => {
                if self.proposals.is_empty() {
                    master.successor.take_if(|successor| successor.store == peer);
                }
                // Perhaps one way of the link alone is dead: it comes back on another.
                if let Some(link) = master.peers.get_mut(&peer).and_then(|peer| peer.link.take()) {
                    effects.push(Effect::Hangup(link));
                }
                self.take_out(peer, effects);
            }
            Role::Slave(slave) if slave.master == peer => slave.follow_again(effects),
            _ => {}
        }
    }

    /// Takes a slave out of the set; counts it until that is stored for certain.
    pub(super) fn take_out(&mut self, peer: StoreId, effects: &mut Vec<Effect>) {
        let Some(config) = &self.config else { return };
        let by = (self.store, config.epoch);
        if config.in_sync.contains_key(&peer) {
            self.propose(&Change::Shrink { by, remove: peer }, effects);
        } else if self.effective_set().iter().any(|(store, _)| *store == peer) {
            // Perhaps it is in the set already: a newer write settles that it is not.
            self.propose(&Change::Touch { by }, effects);
        }
    }

    pub(super) fn on_hand_over(&mut self, to: StoreId, leaves: bool, effects: &mut Vec<Effect>) {
        let in_set = self.config.as_ref().is_some_and(|config| config.in_sync.contains_key(&to));
        // Where the config store does not answer, the switch would wait for it, and everybody for the switch.
        let settled = self.is_settled();
        if let Role::Master(master) = &mut self.role
            && to != self.store
            && in_set
            && settled
        {
            master.successor = Some(Successor { store: to, leaves });
            self.recount(effects);
        }
    }

    /// The members that count: the set, and every set that may be stored already.
    pub(super) fn effective_set(&self) -> Vec<(StoreId, Session)> {
        let confirmed = self.config.iter().flat_map(|config| &config.in_sync);
        let proposed = self.proposals.iter().flat_map(|proposal| &proposal.config.in_sync);
        let mut set: Vec<_> = confirmed.map(|(store, session)| (*store, *session)).collect();
        if G::UNION {
            set.extend(proposed.map(|(store, session)| (*store, *session)));
        }
        set.sort_unstable();
        set.dedup();
        set
    }

    /// Finds out what is committed, and what follows from that.
    pub(super) fn recount(&mut self, effects: &mut Vec<Effect>) {
        let set = self.effective_set();
        let unflushed = self.counts_unflushed(&set);
        let Role::Master(master) = &self.role else { return };
        let Some(begun) = master.begun else { return };
        let has = |(store, session): &(StoreId, Session)| {
            if *store == self.store {
                return if unflushed { self.end } else { self.durable };
            }
            let peer = master.peers.get(store).filter(|peer| {
                !G::SESSIONS || self.flush_mode == FlushMode::Sync || peer.session == *session
            });
            peer.map_or(Lsn(0), |peer| if unflushed { peer.received } else { peer.durable })
        };
        // What lies before the epoch commits with its first record: alone, no older record is ever committed.
        let everywhere = set.iter().map(has).min().unwrap_or_default();
        if everywhere >= begun {
            self.committed_up_to(everywhere, effects);
        }
        self.take_out_of_other_session(effects);
        self.bring_in(effects);
        self.hand_over(effects);
        self.settle_flush_mode(effects);
    }

    /// Takes a slave that has caught up into the set. It counts from the proposal on.
    fn bring_in(&mut self, effects: &mut Vec<Effect>) {
        let (Role::Master(master), Some(config)) = (&self.role, &self.config) else { return };
        if !self.proposals.is_empty() || !master.serves(self.commit) {
            return;
        }
        let caught_up = |(store, peer): &(&StoreId, &Peer)| {
            config.members.contains_key(store)
                && !config.in_sync.contains_key(store)
                && peer.link.is_some()
                && self.has_of(peer) >= self.commit
                && self.end.0 - self.has_of(peer).0 <= self.rejoin_lag
        };
        let by = (self.store, master.epoch);
        if let Some((store, peer)) = master.peers.iter().find(caught_up) {
            let change = Change::Expand { by, add: *store, session: peer.session };
            self.propose(&change, effects);
        }
    }

    /// Makes the successor master once it has everything. A master that leaves goes out of the set by the same write. That is
    /// safe: whatever is committed, every member of the set has, so every member of a smaller set has it too; and this
    /// replica counts the set there was until it knows what became of the write, so it commits nothing meanwhile that its
    /// successor lacks.
    fn hand_over(&mut self, effects: &mut Vec<Effect>) {
        let (Role::Master(master), Some(config)) = (&self.role, &self.config) else { return };
        let Some(Successor { store: to, leaves }) = master.successor else { return };
        let Some(peer) = master.peers.get(&to) else { return };
        // Alone in the set, a successor in Async must not lose with its machine what only this disk has flushed.
        let has = if leaves { peer.durable } else { self.has_of(peer) };
        if self.commit == self.end && has == self.end && self.proposals.is_empty() {
            let stays = |store: &StoreId| !(leaves && *store == self.store);
            let keep = config.in_sync.keys().copied().filter(stays).collect();
            let change = Change::Promote { to, session: peer.session, keep };
            self.propose(&change, effects);
        }
    }
}
