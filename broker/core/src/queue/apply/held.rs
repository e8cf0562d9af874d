//! What the records of messages that wait mean: each ends once, whatever ends it.

use super::{Applied, QueueId};
use crate::ids::{HeldId, LogTime, Lsn};
use crate::queue::duplicates::StoredAs;
use crate::queue::held::{Ending, Half, HeldMessage};
use crate::queue::state::State;
use crate::record::{self, MessageRecord, Record};

const NO_HALF: &str = "half message";

impl State {
    /// A message that waits for its time.
    pub(super) fn hold_until(
        &mut self,
        time: LogTime,
        lsn: Lsn,
        record: &MessageRecord<'_>,
    ) -> Result<StoredAs, &'static str> {
        let message = self.held_message(lsn, record)?;
        self.held.insert_delayed(time, HeldId(lsn.0), message);
        Ok(StoredAs::Held(HeldId(lsn.0)))
    }

    /// A half message, and when its producer is asked first.
    pub(super) fn hold_half(
        &mut self,
        next_check: LogTime,
        lsn: Lsn,
        record: &MessageRecord<'_>,
    ) -> Result<StoredAs, &'static str> {
        let message = self.held_message(lsn, record)?;
        self.held.insert_half(HeldId(lsn.0), Half { message, next_check, checks: 0 });
        Ok(StoredAs::Held(HeldId(lsn.0)))
    }

    fn held_message(&self, lsn: Lsn, record: &MessageRecord<'_>) -> Result<HeldMessage, &'static str> {
        let MessageRecord { topic, queue, tag, lane, .. } = *record;
        self.message_queue(topic, queue).ok_or("queue")?;
        Ok(HeldMessage { lsn, tag, lane, topic, queue })
    }

    pub(super) fn apply_held(&mut self, lsn: Lsn, now: LogTime, record: &Record<'_>) -> Applied {
        match record {
            Record::TransactionEnd { half, commit } => {
                let ending = if *commit { Ending::Committed } else { Ending::RolledBack };
                let message = self.held.end_half(*half, now, ending).ok_or(NO_HALF)?;
                if *commit { self.show(&message, now) } else { Ok(()) }
            }
            Record::TransactionCheck { half, next_check } => {
                self.held.checked(*half, *next_check).ok_or(NO_HALF)
            }
            Record::TransactionGiveUp { half, into } => {
                let message = self.held.end_half(*half, now, Ending::GivenUp).ok_or(NO_HALF)?;
                self.push(*into, QueueId(0), message.entry(), now).map(drop)
            }
            Record::TimerFire { up_to, count } => {
                for _ in 0..*count {
                    let message = self.held.take_due(*up_to).ok_or("due message")?;
                    self.show(&message, now)?;
                }
                Ok(())
            }
            Record::Recall { deliver_at, id } => {
                self.held.recall(*deliver_at, *id, now).map(drop).ok_or("delayed message")
            }
            Record::RelocateHeld { key, record } => {
                record::message(record).map_err(|_| "relocated record")?;
                let at = record::relocated_held_position(lsn, record);
                self.held.relocate(*key, at).ok_or("relocated message")
            }
            _ => Err("record"),
        }
    }

    /// A held message becomes visible, under the next offset of its queue.
    fn show(&mut self, message: &HeldMessage, now: LogTime) -> Applied {
        self.push(message.topic, message.queue, message.entry(), now).map(drop)
    }
}
