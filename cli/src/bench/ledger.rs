//! What came of each message of a run, the warm-up included: acknowledged to its sender, of unknown fate, received.
//! A bit for each, so that the load generator stays light.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::message_id::{self, MessageIds};

/// Knows the messages of one run by their ids, which it makes.
pub(super) struct Ledger {
    ids: MessageIds,
    marks: Mutex<Marks>,
}

/// Messages by their number.
#[derive(Default)]
struct Marks {
    acknowledged: Bits,
    unknown: Bits,
    received: Bits,
}

/// What is known of all messages together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Account {
    /// Whose sender got an OK.
    pub(super) acknowledged: u64,
    /// Neither acknowledged nor surely refused: they may be stored.
    pub(super) unknown: u64,
    /// Acknowledged ones that came to a consumer of this run, each counted once.
    pub(super) received: u64,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self { ids: MessageIds::new(), marks: Mutex::default() }
    }

    /// The id of the next message.
    pub(super) fn next_id(&self) -> [u8; message_id::LEN] {
        let mut id = [0; message_id::LEN];
        self.ids.write(&mut id);
        id
    }

    /// Its sender got an OK.
    pub(super) fn acknowledge(&self, id: &[u8]) {
        self.mark(id, |marks| &mut marks.acknowledged);
    }

    /// Its sender gave up without knowing whether it is stored.
    pub(super) fn doubt(&self, id: &[u8]) {
        self.mark(id, |marks| &mut marks.unknown);
    }

    /// A consumer got it. Messages of other runs are none of ours.
    pub(super) fn receive(&self, id: &[u8]) {
        self.mark(id, |marks| &mut marks.received);
    }

    pub(super) fn account(&self) -> Account {
        let marks = self.marks();
        Account {
            acknowledged: marks.acknowledged.count(),
            unknown: marks.unknown.count(),
            received: marks.acknowledged.count_in(&marks.received),
        }
    }

    fn mark(&self, id: &[u8], of: impl FnOnce(&mut Marks) -> &mut Bits) {
        if let Some(number) = self.ids.number(id) {
            of(&mut self.marks()).set(number);
        }
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// Acknowledged and not received: lost, if nothing is left to receive.
    pub(super) const fn missing(&self) -> u64 {
        self.acknowledged - self.received
    }
}

/// A set of numbers that begin at 0.
#[derive(Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, number: u32) {
        let word = (number / u64::BITS) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % u64::BITS);
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn count_in(&self, other: &Self) -> u64 {
        self.0.iter().zip(&other.0).map(|(one, other)| u64::from((one & other).count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_was_acknowledged_and_never_came_is_missing() {
        let ledger = Ledger::new();
        let ids: Vec<_> = (0..200).map(|_| ledger.next_id()).collect();
        ids[..150].iter().for_each(|id| ledger.acknowledge(id));
        ledger.doubt(&ids[150]);
        for id in ids.iter().filter(|id| **id != ids[77]) {
            ledger.receive(id);
            // Delivered again.
            ledger.receive(id);
        }
        let account = ledger.account();
        assert_eq!(account, Account { acknowledged: 150, unknown: 1, received: 149 });
        assert_eq!(account.missing(), 1);
    }

    #[test]
    fn messages_of_others_are_not_counted() {
        let (ledger, other) = (Ledger::new(), Ledger::new());
        ledger.acknowledge(&ledger.next_id());
        ledger.receive(&other.next_id());
        ledger.receive(b"order-17");
        assert_eq!(ledger.account().missing(), 1);
    }
}
