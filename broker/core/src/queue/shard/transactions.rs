//! Half messages: how their transactions end, and what becomes of those that nobody ends.

use std::sync::Arc;

use super::{Answer, Shard, Step};
use crate::ids::{HeldId, Ticket, TopicId};
use crate::queue::held::Ending;
use crate::queue::request::{
    Check, Checked, EndTransaction, EndTransactionError, NoSuchTransaction, TakeChecks, TopicNotFound,
    TransactionEnded,
};
use crate::queue::state::UNRESOLVED_TOPIC;
use crate::queue::view::OpenTransaction;
use crate::record::Record;

/// When a half message is asked about again whose producer went away while it was being asked.
const UNASKED_MS: u64 = 1_000;

/// Most half messages that one step gives up: a producer that is gone for good may leave hundreds of thousands, and others want
/// to be served too.
const GIVEN_UP_MAX: usize = 256;

/// When producers are asked how their transactions ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionLimits {
    /// A producer is not asked before a half message is so old, in milliseconds; a message may say otherwise.
    pub immunity_ms: u64,
    /// From one check to the next, in milliseconds.
    pub interval_ms: u64,
    /// After so many checks the message is a dead letter.
    pub checks_max: u32,
}

impl Default for TransactionLimits {
    /// RocketMQ's numbers.
    fn default() -> Self {
        Self { immunity_ms: 6_000, interval_ms: 30_000, checks_max: 15 }
    }
}

impl Shard {
    /// A transaction ends once. Whoever says the same again hears the same again: its first answer may have got lost.
    pub(super) fn end_transaction(
        &mut self,
        step: &mut Step<'_>,
        end: &EndTransaction,
    ) -> Result<(), EndTransactionError> {
        let found = self.state.topic(&end.topic).map(|(id, _)| id);
        let topic = found.ok_or_else(|| TopicNotFound { topic: Arc::clone(&end.topic) })?;
        if topic != end.incarnation {
            return Err(NoSuchTransaction.into());
        }
        let EndTransaction { half, commit, .. } = *end;
        match self.state.held.halves.get(half) {
            Some(open) if open.message.topic == topic => {}
            Some(_) => return Err(NoSuchTransaction.into()),
            None => return ended_so(self.state.held.ended.get(half), commit),
        }
        self.append(step, &Record::TransactionEnd { half, commit });
        self.checks.remove(half);
        if commit {
            self.polls.arrived(topic);
        }
        Ok(())
    }

    /// Answers with half messages to ask about, or None: the gateway waits.
    pub(super) fn take_checks(
        &mut self,
        step: &mut Step<'_>,
        ticket: Ticket,
        take: &TakeChecks,
    ) -> Option<Vec<Check>> {
        let known = take.topics.iter().filter_map(|name| self.state.topic(name).map(|(id, _)| id));
        let mut topics: Vec<TopicId> = known.collect();
        topics.sort_unstable();
        topics.dedup();
        let most = take.most.max(1) as usize;
        let taken = self.checks.take(&topics, most, step.now);
        if !taken.is_empty() || take.wait_ms == 0 {
            return Some(self.to_ask(&taken));
        }
        self.checks.wait(ticket, topics, most, step.now.plus(take.wait_ms));
        None
    }

    /// What was asked counts, unless the transaction has ended meanwhile. It counts once, however often it is told: whoever
    /// does not hear our answer tells it again.
    pub(super) fn checked(&mut self, step: &mut Step<'_>, checked: &Checked) {
        let (interval_ms, checks_max) =
            (self.limits.transactions.interval_ms, self.limits.transactions.checks_max);
        for half in &checked.asked {
            if self.state.held.halves.get(*half).is_none() || !self.checks.is_asked(*half, step.now) {
                continue;
            }
            let next_check = step.now.plus(interval_ms);
            self.append(step, &Record::TransactionCheck { half: *half, next_check });
            if let Some(open) = self.state.held.halves.get(*half) {
                self.checks.put(*half, &open, checks_max);
            }
        }
        for half in &checked.unasked {
            if let Some(open) = self.state.held.halves.get(*half) {
                self.checks.put_back(*half, &open, step.now.plus(UNASKED_MS));
            }
        }
    }

    /// Hands out what is to be asked, and gives up what was asked in vain as often as may be. What is left of that is given up
    /// in the next step.
    pub(super) fn serve_checks(&mut self, step: &mut Step<'_>) {
        for _ in 0..GIVEN_UP_MAX {
            let Some(half) = self.checks.given_up(step.now) else { break };
            self.give_up(step, half);
        }
        while let Some(half) = self.checks.lapsed(step.now) {
            match self.state.held.halves.get(half) {
                Some(open) => self.checks.put_back(half, &open, step.now),
                None => self.checks.remove(half),
            }
        }
        for (ticket, taken) in self.checks.serve(step.now) {
            let checks = self.to_ask(&taken);
            step.answers.push((ticket, Answer::TakeChecks(checks)));
        }
    }

    /// Transactions that were given up since this was asked last.
    pub fn take_given_up(&mut self) -> Vec<OpenTransaction> {
        std::mem::take(&mut self.given_up)
    }

    fn to_ask(&self, halves: &[HeldId]) -> Vec<Check> {
        let open = |half: &HeldId| {
            let message = self.state.held.halves.get(*half)?.message;
            Some(Check { half: *half, topic: message.topic, queue: message.queue, lsn: message.lsn })
        };
        halves.iter().filter_map(open).collect()
    }

    /// Never silently away: it is a dead letter, which people see and can give back.
    fn give_up(&mut self, step: &mut Step<'_>, half: HeldId) {
        if let Some(open) = self.open_transactions(None, half, 1).into_iter().find(|open| open.half == half) {
            self.given_up.push(open);
            let into = self.topic_of_failures(step, UNRESOLVED_TOPIC);
            self.append(step, &Record::TransactionGiveUp { half, into });
            self.polls.arrived(into);
        }
        self.checks.remove(half);
    }
}

/// What is said of a transaction that is not open any more.
fn ended_so(ending: Option<Ending>, commit: bool) -> Result<(), EndTransactionError> {
    match (ending, commit) {
        (Some(Ending::Committed), true) | (Some(Ending::RolledBack), false) => Ok(()),
        (Some(Ending::Committed), false) => Err(TransactionEnded::Committed.into()),
        (Some(Ending::RolledBack), true) => Err(TransactionEnded::RolledBack.into()),
        (Some(Ending::GivenUp), _) => Err(TransactionEnded::GivenUp.into()),
        (Some(Ending::Recalled) | None, _) => Err(NoSuchTransaction.into()),
    }
}
