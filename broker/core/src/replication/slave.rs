//! The slave's part: follows the master of the newest epoch, cuts off what that does not have, stores what it sends,
//! and acknowledges what is flushed.

use super::{Catchup, Durable, Effect, Guards, Halt, Link, Message, Replica, Role};
use crate::ids::{Epoch, Lsn, StoreId};

/// How far a slave is on its way to the end of the master's log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// It connects and greets.
    Greeting,
    /// It cuts off what the master does not have.
    Truncating,
    /// It fetches a checkpoint to begin anew with.
    Installing,
    /// It stores frames as they come.
    Following,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Slave {
    pub(super) master: StoreId,
    pub(super) epoch: Epoch,
    pub(super) link: Option<Link>,
    pub(super) phase: Phase,
}

impl Slave {
    pub(super) fn new(master: StoreId, epoch: Epoch) -> Self {
        Self { master, epoch, link: None, phase: Phase::Greeting }
    }

    /// Begins anew, on another link.
    pub(super) fn follow_again(&mut self, effects: &mut Vec<Effect>) {
        *self = Self::new(self.master, self.epoch);
        effects.push(Effect::Follow(self.master));
    }
}

impl<G: Guards> Replica<G> {
    pub(super) fn on_connected(&mut self, link: Link) {
        if let Role::Slave(slave) = &mut self.role {
            slave.link = Some(link);
        }
    }

    /// A message from the master on the slave's link.
    pub(super) fn on_masters_message(&mut self, link: Link, message: &Message, effects: &mut Vec<Effect>) {
        let Role::Slave(slave) = &mut self.role else { return };
        if slave.link != Some(link) {
            return;
        }
        let (epoch, phase) = (message.epoch(), slave.phase);
        if epoch < self.promised {
            let promised = self.promised;
            effects.push(Effect::Send(link, Message::Refused { promised }));
            return;
        }
        if epoch > self.promised {
            // It greets again when the promise is kept.
            self.promise(epoch, effects);
            if G::PROMISE_FIRST {
                return;
            }
        }
        match (message, phase) {
            (Message::Welcome { catchup, .. }, Phase::Greeting) => self.on_welcome(*catchup, effects),
            (Message::Frames { from, end, commit, .. }, Phase::Following) => {
                if *from == self.end && end > from {
                    effects.push(Effect::Store);
                } else if *from > self.end {
                    // Something between is missing.
                    return self.greet_again(effects);
                }
                self.committed_up_to((*commit).min(self.end), effects);
            }
            (Message::Heartbeat { commit, .. }, Phase::Following) => {
                self.committed_up_to((*commit).min(self.end), effects);
                self.acknowledge(effects);
            }
            // It lives, and this may take long. What it has is about to go.
            (Message::Heartbeat { epoch, .. }, Phase::Installing) => {
                let ack = Message::Ack { epoch: *epoch, received: Lsn(0), durable: Lsn(0) };
                effects.push(Effect::Send(link, ack));
            }
            (Message::Refused { .. }, _) => effects.push(Effect::ReadConfig),
            _ => {}
        }
    }

    fn on_welcome(&mut self, catchup: Catchup, effects: &mut Vec<Effect>) {
        let phase = match catchup {
            Catchup::Resume if self.copies_anew => {
                effects.push(Effect::Install);
                Phase::Installing
            }
            Catchup::Resume => Phase::Following,
            Catchup::Truncate(to) if to < self.commit => return self.committed_lost(to, effects),
            // Of what is committed and here, a log that starts further on can lack nothing but what was dropped from it.
            Catchup::Install(start) if start < self.commit.min(self.end) => {
                return self.committed_lost(start, effects);
            }
            Catchup::Truncate(to) => {
                effects.push(Effect::Truncate(to));
                Phase::Truncating
            }
            Catchup::Install(_) => {
                effects.push(Effect::Install);
                Phase::Installing
            }
        };
        if let Role::Slave(slave) = &mut self.role {
            slave.phase = phase;
        }
        self.acknowledge(effects);
    }

    fn committed_lost(&mut self, to: Lsn, effects: &mut Vec<Effect>) {
        self.role = Role::Halted;
        let halt = Halt::CommittedLost { epoch: self.promised, to, commit: self.commit };
        effects.push(Effect::Halt(halt));
    }

    /// Whatever it decides from here on may be wrong: it is not counted on until it has another state. A master has nobody
    /// to take the right one from.
    pub(super) fn on_state_differs(&mut self, at: Lsn, effects: &mut Vec<Effect>) {
        if matches!(self.role, Role::Slave(_)) {
            self.role = Role::Halted;
            effects.push(Effect::Halt(Halt::StateDiffers { at }));
        }
    }

    fn greet_again(&mut self, effects: &mut Vec<Effect>) {
        if let Role::Slave(slave) = &mut self.role {
            slave.follow_again(effects);
        }
    }

    pub(super) fn on_truncated(&mut self, to: Lsn, effects: &mut Vec<Effect>) {
        self.end = to;
        self.durable = self.durable.min(to);
        self.history.truncate(to);
        self.greet_again(effects);
    }

    /// Begins a copy. Until its log has reached the checkpoint's position it must not be master: nor will it, for the
    /// master takes in who has all that is committed, and no checkpoint holds what is not.
    pub(super) fn on_installed(&mut self, copy: Durable, effects: &mut Vec<Effect>) {
        self.start = copy.start;
        self.end = copy.end;
        self.durable = copy.flushed;
        self.history = copy.history;
        self.history.forget_below(copy.start);
        self.flush_mode = copy.flush_mode;
        self.copies_anew = false;
        self.committed_up_to(copy.commit, effects);
        self.greet_again(effects);
    }

    /// Tells the master how far this slave is. Only what is flushed is called durable, and only in an epoch whose
    /// promise is kept.
    pub(super) fn acknowledge(&self, effects: &mut Vec<Effect>) {
        if let Role::Slave(slave) = &self.role
            && slave.phase == Phase::Following
            && let Some(link) = slave.link
        {
            let ack = Message::Ack { epoch: self.promised, received: self.end, durable: self.durable };
            effects.push(Effect::Send(link, ack));
        }
    }
}
