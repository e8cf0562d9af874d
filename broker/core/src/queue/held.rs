//! Messages that no consumer can see yet: half messages until their transaction ends, delayed ones until their
//! time. They lie in the log like any other; here is only where, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use super::index::Entry;
use crate::ids::{LogTime, Lsn, QueueId, TopicId};
use crate::record::Hold;

/// A message that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HeldMessage {
    pub(crate) topic: TopicId,
    pub(crate) queue: QueueId,
    pub(crate) entry: Entry,
    pub(crate) hold: Hold,
    /// Times that the producer was asked about its transaction.
    pub(crate) checks: u32,
}

/// All messages that wait, by the LSN of their record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct HeldMessages {
    pub(crate) messages: BTreeMap<Lsn, HeldMessage>,
    /// Delayed ones by their time.
    due: BTreeSet<(LogTime, Lsn)>,
}

impl HeldMessages {
    pub(crate) fn insert(&mut self, lsn: Lsn, message: HeldMessage) {
        if let Hold::Until(time) = message.hold {
            self.due.insert((time, lsn));
        }
        self.messages.insert(lsn, message);
    }

    pub(crate) fn remove(&mut self, lsn: Lsn) -> Option<HeldMessage> {
        let message = self.messages.remove(&lsn)?;
        if let Hold::Until(time) = message.hold {
            self.due.remove(&(time, lsn));
        }
        Some(message)
    }

    /// The producer was asked. None where no half message lies there.
    pub(crate) fn checked(&mut self, lsn: Lsn, next_check: LogTime) -> Option<()> {
        let message = self.messages.get_mut(&lsn)?;
        let Hold::Transaction(check) = &mut message.hold else { return None };
        *check = next_check;
        message.checks = message.checks.saturating_add(1);
        Some(())
    }

    /// Takes the first message that is due.
    pub(crate) fn take_due(&mut self, up_to: LogTime) -> Option<HeldMessage> {
        let (time, lsn) = *self.due.first()?;
        if time > up_to { None } else { self.remove(lsn) }
    }

    /// Forgets the messages of a deleted topic.
    pub(crate) fn forget_topic(&mut self, topic: TopicId) {
        let of_topic: Vec<Lsn> =
            self.messages.iter().filter(|(_, held)| held.topic == topic).map(|(lsn, _)| *lsn).collect();
        for lsn in of_topic {
            self.remove(lsn);
        }
    }
}
