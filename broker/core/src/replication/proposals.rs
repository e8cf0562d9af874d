//! Proposals to the config store, whose fate may stay unknown for long.

use super::{Answer, Effect, Guards, Replica, Role};
use crate::config::{self, Change, Config};
use crate::ids::{Epoch, StoreId};

/// Names a proposal to the config store among those of this process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProposalId(pub u64);

/// A proposal whose fate is not known.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Proposal {
    pub(super) id: ProposalId,
    pub(super) config: Config,
    /// The store has not answered yet.
    pub(super) under_way: bool,
}

impl<G: Guards> Replica<G> {
    pub(super) fn on_take_over(&mut self, mut keep: Vec<StoreId>, effects: &mut Vec<Effect>) {
        if self.leading().is_none() {
            keep.push(self.store);
            self.propose_to_lead(keep, effects);
        }
    }

    pub(super) fn on_accept_data_loss(&mut self, seen: Epoch, effects: &mut Vec<Effect>) {
        let is_newest = self.config.as_ref().is_some_and(|config| config.epoch == seen);
        if self.leading().is_none() && is_newest && self.promised <= seen {
            self.propose(&Change::AcceptDataLoss { seen, to: self.store, session: self.session }, effects);
        }
    }

    pub(super) fn propose_to_lead(&mut self, keep: Vec<StoreId>, effects: &mut Vec<Effect>) {
        self.propose(&Change::Promote { to: self.store, session: self.session, keep }, effects);
    }

    /// Proposes a change of the present configuration, unless an earlier one is under way. One that is refused by the
    /// rules is not made: what led to it was overtaken by a newer configuration.
    pub(super) fn propose(&mut self, change: &Change, effects: &mut Vec<Effect>) {
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

    pub(super) fn on_answer(&mut self, id: ProposalId, answer: Answer, effects: &mut Vec<Effect>) {
        let Some(proposal) = self.proposals.iter_mut().find(|proposal| proposal.id == id) else { return };
        proposal.under_way = false;
        match answer {
            Answer::Done => {
                let config = proposal.config.clone();
                self.on_config(config, effects);
            }
            // Settled if it shows a newer version; else its fate is as unknown as before.
            Answer::Conflict(config) => self.on_config(config, effects),
            Answer::Unknown => {
                // What a person wished for ends here, lest it happen long after they were told that it did not. A master
                // whose switch ended so serves on, and commits nothing if it was deposed.
                if let Role::Master(master) = &mut self.role {
                    master.successor = None;
                    master.wish = None;
                }
                effects.push(Effect::ReadConfig);
            }
        }
    }

    /// Makes a proposal of unknown fate again: only a newer write settles it, this one or another's. A switch or another
    /// flush mode is not proposed again, for its time is over: a write of the configuration as it is finds out whether it
    /// was stored.
    pub(super) fn on_retry(&mut self, effects: &mut Vec<Effect>) {
        if self.proposals.iter().any(|proposal| proposal.under_way) {
            return;
        }
        let wished = |proposed: &Config| {
            let known = self.config.as_ref().map(|config| config.flush_mode);
            proposed.master != self.store || known != Some(proposed.flush_mode)
        };
        if let Some(epoch) = self.leading()
            && self.proposals.last().is_some_and(|proposal| wished(&proposal.config))
        {
            return self.propose(&Change::Touch { by: (self.store, epoch) }, effects);
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
