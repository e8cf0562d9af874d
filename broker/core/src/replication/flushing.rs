//! `flushMode`: whether a record counts when it is flushed or when it is written, and the way from one to the other. On that
//! way nothing counts for less than both the configuration and the log say.
//!
//! To Async: first the configuration says so, and with it a changed session makes a new replica; then the log does, and
//! records count when written. To Sync: first the log does; once all before is flushed on every copy that counts, the
//! configuration does.

use super::{Effect, Guards, Peer, Replica, Role};
use crate::config::{Change, FlushMode, FlushPolicy};
use crate::ids::{Lsn, Session, StoreId};

/// A policy that somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Wish {
    policy: FlushPolicy,
    /// The record is appended; all before it ends here.
    written: Option<Lsn>,
}

impl<G: Guards> Replica<G> {
    pub(super) fn on_set_flush_policy(&mut self, policy: FlushPolicy, effects: &mut Vec<Effect>) {
        self.wish(Some(Wish { policy, written: None }));
        self.recount(effects);
    }

    pub(super) fn on_flush_mode(&mut self, mode: FlushMode, effects: &mut Vec<Effect>) {
        self.flush_mode = mode;
        self.recount(effects);
    }

    /// How records count now: as both the configuration and the log say.
    pub(super) fn is_async(&self) -> bool {
        self.flush_mode == FlushMode::Async
            && self.config.as_ref().is_some_and(|config| config.flush_mode == FlushMode::Async)
    }

    /// Whether records count when they are written. With one copy they are flushed first, whatever the mode.
    pub(super) fn counts_unflushed(&self, set: &[(StoreId, Session)]) -> bool {
        self.is_async() && set.len() > 1
    }

    /// Up to where a slave has what counts.
    pub(super) fn has_of(&self, peer: &Peer) -> Lsn {
        if self.is_async() { peer.received } else { peer.durable }
    }

    /// Whether a flush may wait until the interval is over: what is written here counts without it.
    pub fn may_defer_flush(&self) -> bool {
        match &self.role {
            Role::Master(_) => self.serving().is_some() && self.counts_unflushed(&self.effective_set()),
            Role::Slave(_) => self.is_async(),
            Role::Idle | Role::Halted => false,
        }
    }

    /// How records count; none on the way from one mode to the other.
    pub fn flush_mode(&self) -> Option<FlushMode> {
        let stored = self.config.as_ref().map_or(FlushMode::Sync, |config| config.flush_mode);
        Some(self.flush_mode).filter(|mode| *mode == stored)
    }

    /// Takes the next step to what is wished.
    pub(super) fn settle_flush_mode(&mut self, effects: &mut Vec<Effect>) {
        let (Role::Master(master), Some(config)) = (&self.role, &self.config) else { return };
        let Some(wish) = master.wish else { return };
        if !self.proposals.is_empty() || !master.serves(self.commit) {
            return;
        }
        let (stored, mode) = (config.flush_mode, wish.policy.mode);
        let change = Change::SetFlushMode { by: (self.store, master.epoch), mode };
        match (mode, wish.written, self.in_another_session()) {
            (FlushMode::Async, ..) if stored == FlushMode::Sync => self.propose(&change, effects),
            (FlushMode::Async, None, Some(stale)) => self.take_out(stale, effects),
            (_, None, _) => {
                self.wish(Some(Wish { written: Some(self.end), ..wish }));
                effects.push(Effect::SetFlushPolicy(wish.policy));
            }
            (FlushMode::Sync, Some(before), _) if stored == FlushMode::Async => {
                // All before the record is flushed everywhere, and what comes after it counts only then.
                if self.flush_mode == FlushMode::Sync && self.commit > before {
                    self.propose(&change, effects);
                }
            }
            (_, Some(_), _) => self.wish(None),
        }
    }

    /// A slave of the set that is in it with an earlier session, as may be in Sync. In Async it would count for nothing: it
    /// comes back with its present one.
    pub(super) fn in_another_session(&self) -> Option<StoreId> {
        let Role::Master(master) = &self.role else { return None };
        let in_set = |store: &StoreId| self.config.as_ref()?.in_sync.get(store).copied();
        let stale =
            master.peers.iter().find(|(store, peer)| in_set(store).is_some_and(|set| set != peer.session));
        stale.map(|(store, _)| *store)
    }

    fn wish(&mut self, wish: Option<Wish>) {
        if let Role::Master(master) = &mut self.role {
            master.wish = wish;
        }
    }
}
