//! The rules for messages that wait: half messages, and delayed ones.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{BAD_REQUEST, INVALID_TRANSACTION_ID, Index, ROUNDING, Violation};
use crate::history::{End, History, Hold, Outcome};

impl<'a> Index<'a> {
    /// Takes in what became of messages that waited. The commit of a half message is what acknowledges it; of a delayed
    /// message that may have been recalled nothing is owed.
    pub(super) fn add_what_was_held(&mut self) {
        for end in &self.history.ends {
            self.ends.entry(&end.id).or_default().push(end);
        }
        for recall in &self.history.recalls {
            self.recalls.entry(&recall.id).or_default().push(recall);
        }
        for (id, message) in &mut self.messages {
            match message.hold {
                Hold::None => {}
                Hold::Transaction => {
                    let ends = self.ends.get(id).into_iter().flatten();
                    let committed = ends.filter(|end| end.commit && end.outcome.is_ok());
                    message.acknowledged = committed.map(|end| end.span.end).min();
                }
                Hold::Until(_) => {
                    let mut recalls = self.recalls.get(id).into_iter().flatten();
                    if recalls.any(|recall| !recall.outcome.is_fail()) {
                        message.acknowledged = None;
                    }
                }
            }
        }
    }

    fn ends_of(&self, id: &str) -> impl Iterator<Item = &'a End> {
        self.ends.get(id).into_iter().flatten().copied()
    }
}

/// The messages that are to come for certain: what a load waits for before it ends.
#[must_use]
pub fn owed(history: &History) -> BTreeSet<&str> {
    let index = Index::of_producers(history);
    let owed = index.messages.iter().filter(|(_, message)| message.acknowledged.is_some());
    owed.map(|(id, _)| *id).collect()
}

/// By somebody who had begun to commit it before the receive ended, and was not refused. A rollback that is confirmed
/// leaves nothing to deliver, whenever that was.
pub(super) fn what_is_delivered_was_committed(index: &Index<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for (&(_, id), handed) in &index.handed {
        if index.messages.get(id).is_none_or(|message| message.hold != Hold::Transaction) {
            continue;
        }
        if index.ends_of(id).any(|end| !end.commit && end.outcome.is_ok()) {
            wrong.push(Violation::RolledBackYetDelivered { id: id.into() });
        }
        let commits = index.ends_of(id).filter(|end| end.commit && !end.outcome.is_fail());
        let first = commits.map(|end| end.span.begin).min();
        let mut received = handed.iter().map(|handed| handed.receive.span);
        if let Some(received) = received.find(|span| first.is_none_or(|first| span.end < first)) {
            wrong.push(Violation::UndecidedYetDelivered { id: id.into(), received });
        }
    }
    wrong
}

pub(super) fn a_transaction_ends_one_way(index: &Index<'_>) -> Vec<Violation> {
    let confirmed = |id: &str, commit| {
        let mut ends = index.ends_of(id);
        ends.any(|end| end.commit == commit && end.outcome.is_ok())
    };
    let both = index.ends.keys().filter(|id| confirmed(id, true) && confirmed(id, false));
    both.map(|id| Violation::EndedBothWays { id: (*id).into() }).collect()
}

pub(super) fn nothing_comes_before_its_time(index: &Index<'_>) -> Vec<Violation> {
    let mut early = Vec::new();
    for (&(_, id), handed) in &index.handed {
        let Some(Hold::Until(due)) = index.messages.get(id).map(|message| message.hold) else { continue };
        let too_early = |end: Duration| end + ROUNDING < due;
        let mut received = handed.iter().map(|handed| handed.receive.span);
        if let Some(received) = received.find(|span| too_early(span.end)) {
            early.push(Violation::TooEarly { id: id.into(), due, received });
        }
    }
    early
}

pub(super) fn what_was_recalled_does_not_come(index: &Index<'_>) -> Vec<Violation> {
    let recalled = |id: &str| {
        let mut recalls = index.recalls.get(id).into_iter().flatten();
        recalls.any(|recall| recall.outcome.is_ok())
    };
    let came: BTreeSet<&str> = index.handed.keys().map(|(_, id)| *id).filter(|id| recalled(id)).collect();
    came.into_iter().map(|id| Violation::RecalledYetDelivered { id: id.into() }).collect()
}

/// Whoever ends a transaction is refused only if it ended the other way, and whoever recalls in time only if that was done
/// before.
pub(super) fn what_waits_is_found(index: &Index<'_>) -> Vec<Violation> {
    let refused = |outcome: &Outcome, by: i32| matches!(outcome, Outcome::Fail { code, .. } if *code == by);
    let mut lost = Vec::new();
    for (id, message) in &index.messages {
        let Some(stored) = message.stored else { continue };
        let mut not_found = |asked| lost.push(Violation::HeldNotFound { id: (*id).into(), asked });
        for end in index.ends_of(id) {
            let other_way = |other: &End| other.commit != end.commit && !other.outcome.is_fail();
            let open = stored <= end.span.begin && !index.ends_of(id).any(other_way);
            if open && refused(&end.outcome, INVALID_TRANSACTION_ID) {
                not_found(end.span);
            }
        }
        let Hold::Until(due) = message.hold else { continue };
        for recall in index.recalls.get(id).into_iter().flatten() {
            let waits = stored <= recall.span.begin && recall.span.end + ROUNDING < due;
            if waits && refused(&recall.outcome, BAD_REQUEST) {
                not_found(recall.span);
            }
        }
    }
    lost
}
