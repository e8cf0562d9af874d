//! What is done some time after a send: transactions are committed, rolled back or forgotten, and some delayed messages
//! are recalled. Each is tried until it is known, and now and then once more.

use std::sync::Arc;
use std::time::Duration;

use rq_core::hash;
use rq_core::ids::{HeldId, LogTime, TopicId};
use rq_core::queue::request::{EndTransaction, Recall, Request, Sent};
use rq_tests::history::{self, History, Hold, Outcome, Span};

use crate::calls::TOPICS;
use crate::process::reading;

/// Longest time from a send to what is done about it, in ms.
const LATER_MS: u64 = 3_000;
/// Between two tries, in ms.
const PAUSE_MS: u64 = 100;
/// Done once more although it is known, one of so many.
const REPEATED: u64 = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Commit,
    RollBack,
    Recall(Duration),
}

/// Something to be done about a message that waits.
#[derive(Clone)]
pub(crate) struct Deed {
    id: String,
    topic: usize,
    incarnation: TopicId,
    held: HeldId,
    what: What,
    /// Not before, in ms.
    at: u64,
    /// It is known to be done: it is tried once more all the same.
    again: bool,
    /// The master said something about it.
    pub(crate) answered: bool,
}

/// All that is to be done.
#[derive(Default)]
pub(crate) struct Deeds {
    planned: Vec<Deed>,
    under_way: usize,
}

impl Deeds {
    /// A message was stored. What becomes of it follows from its id.
    pub(crate) fn plan(&mut self, topic: usize, id: &str, hold: Hold, sent: Sent, now: u64) {
        let chance = u64::from(hash::crc32c(id.as_bytes()));
        let what = match (hold, chance % 10) {
            (Hold::Transaction, 0..6) => What::Commit,
            (Hold::Transaction, 6..8) => What::RollBack,
            (Hold::Until(due), 0..3) => What::Recall(due),
            _ => return,
        };
        // Its time may have come when it was stored.
        let Some(held) = sent.held else { return };
        let (incarnation, at) = (sent.topic, now + chance / 10 % LATER_MS);
        let id = id.to_owned();
        self.planned.push(Deed { id, topic, incarnation, held, what, at, again: false, answered: false });
    }

    pub(crate) fn next(&mut self, now: u64) -> Option<Deed> {
        let number = self.planned.iter().position(|deed| deed.at <= now)?;
        self.under_way += 1;
        Some(self.planned.remove(number))
    }

    pub(crate) fn are_done(&self) -> bool {
        self.planned.is_empty() && self.under_way == 0
    }

    /// It was tried.
    pub(crate) fn ended(&mut self, deed: Deed, span: Span, outcome: Outcome, history: &mut History) {
        self.under_way -= 1;
        let id = deed.id.clone();
        let (done, decided) = (outcome.is_ok(), outcome.is_ok() || deed.answered);
        match deed.what {
            What::Recall(due) => {
                let too_late = due <= span.end;
                assert!(done || !deed.answered || too_late && !deed.again, "{id} was not recalled in time");
                history.recalls.push(history::Recall { span, id, outcome });
            }
            What::Commit | What::RollBack => {
                history.ends.push(history::End { span, id, commit: deed.what == What::Commit, outcome });
            }
        }
        let at = span.end.as_millis() as u64 + PAUSE_MS;
        if !decided {
            self.planned.push(Deed { at, ..deed });
        } else if done && !deed.again && deed.held.0.is_multiple_of(REPEATED) {
            self.planned.push(Deed { at, again: true, answered: false, ..deed });
        }
    }
}

impl Deed {
    pub(crate) fn request(&self) -> Request {
        let (topic, incarnation) = (Arc::from(TOPICS[self.topic].0), self.incarnation);
        match self.what {
            What::Recall(due) => {
                let deliver_at = LogTime(reading(due.as_millis() as u64).wall_us / 1_000);
                Request::Recall(Recall { topic, incarnation, deliver_at, id: self.held })
            }
            What::Commit | What::RollBack => {
                let commit = self.what == What::Commit;
                Request::EndTransaction(EndTransaction { topic, incarnation, half: self.held, commit })
            }
        }
    }
}
