//! Messages that nobody sees yet: delayed ones, and those of transactions.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rq_proto::rocketmq as pb;

use super::Sent;
use crate::args::duration;
use crate::moment::coming;
use crate::output;

/// The options that say what a message waits for.
#[derive(Args, Default)]
pub(super) struct Hold {
    /// Deliver the message after so long (topics of type delay)
    #[arg(long, value_parser = delay, group = "waits", conflicts_with = "message_group", value_name = "DURATION")]
    delay: Option<Duration>,
    /// Deliver the message at this time: RFC 3339; one that has passed is at once (topics of type delay)
    #[arg(long, value_parser = coming, group = "waits", conflicts_with = "message_group", value_name = "TIME")]
    deliver_at: Option<i64>,
    /// Send a half message, and end its transaction so (topics of type transaction)
    #[arg(long, value_enum, group = "waits", conflicts_with = "message_group")]
    transaction: Option<Transaction>,
}

/// A minus is no character of a duration, which would be all that is said of it.
fn delay(text: &str) -> Result<Duration, String> {
    if text.trim_start().starts_with('-') {
        return Err("a delay is like 30s or 5m, and not negative".to_owned());
    }
    duration(text).map_err(|error| format!("{error}; a delay is like 30s or 5m"))
}

/// What becomes of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Transaction {
    /// Consumers get the message
    Commit,
    /// The message is dropped
    Rollback,
    /// It stays open: `rq tx` ends it
    Open,
}

impl Hold {
    pub(super) fn kind(&self) -> pb::MessageType {
        match self {
            Self { transaction: Some(_), .. } => pb::MessageType::Transaction,
            Self { delay: None, deliver_at: None, .. } => pb::MessageType::Normal,
            _ => pb::MessageType::Delay,
        }
    }

    /// When a message that is made now is to be delivered.
    pub(super) fn deliver_at(&self, now: Duration) -> Option<prost_types::Timestamp> {
        let at = match (self.delay, self.deliver_at) {
            (Some(delay), _) => now.saturating_add(delay),
            (None, Some(millis)) => Duration::from_millis(millis.unsigned_abs()),
            (None, None) => return None,
        };
        Some(timestamp(at))
    }

    /// How to end a transaction at once.
    pub(super) fn resolution(&self) -> Option<pb::TransactionResolution> {
        match self.transaction? {
            Transaction::Commit => Some(pb::TransactionResolution::Commit),
            Transaction::Rollback => Some(pb::TransactionResolution::Rollback),
            Transaction::Open => None,
        }
    }

    /// What people hear of one message.
    pub(super) fn told(&self, sent: &Sent) -> String {
        let Sent { message_id, offset, recall_handle, transaction_id } = sent;
        match (recall_handle, transaction_id) {
            (Some(handle), _) => {
                let when = match (self.delay, self.deliver_at) {
                    (Some(delay), _) => format!("in {}", output::span(delay)),
                    (None, at) => format!("at {}", output::time(at.unwrap_or(0))),
                };
                format!(
                    "sent message {message_id}, to be delivered {when}; `rq recall` takes it back by its handle {handle}"
                )
            }
            (None, Some(id)) => match self.transaction {
                Some(Transaction::Commit) => {
                    format!("sent message {message_id}; its transaction {id} is committed")
                }
                Some(Transaction::Rollback) => {
                    format!("sent message {message_id}; its transaction {id} is rolled back")
                }
                Some(Transaction::Open) | None => format!(
                    "sent half message {message_id}; `rq tx commit` or `rq tx rollback` ends its transaction {id}"
                ),
            },
            (None, None) => {
                format!("sent message {message_id} to offset {}", offset.unwrap_or_default())
            }
        }
    }

    /// What people hear of several messages like this one: what they are, and where to find what ends each.
    pub(super) fn told_of_several(&self, one: &Sent) -> (&'static str, &'static str) {
        match (&one.recall_handle, self.transaction) {
            (Some(_), _) => (
                "delayed messages",
                "; `-o json` prints the handle of each, by which `rq recall` takes it back",
            ),
            (None, Some(Transaction::Open)) => (
                "half messages",
                "; their transactions are open: `-o json` prints the id of each, `rq tx list` shows them",
            ),
            (None, Some(Transaction::Commit)) => {
                ("half messages", "; their transactions are committed: `-o json` prints the id of each")
            }
            (None, Some(Transaction::Rollback)) => {
                ("half messages", "; their transactions are rolled back: `-o json` prints the id of each")
            }
            (None, None) => ("messages", ""),
        }
    }
}

/// A moment since 1970, as the wire has it.
pub(super) fn timestamp(at: Duration) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
        nanos: at.subsec_nanos().cast_signed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_waits_for_makes_its_kind_and_its_time() {
        let now = Duration::from_millis(10_500);
        let plain = Hold::default();
        assert_eq!((plain.kind(), plain.deliver_at(now)), (pb::MessageType::Normal, None));
        let delayed = Hold { delay: Some(Duration::from_millis(700)), ..Hold::default() };
        let at = delayed.deliver_at(now).unwrap();
        assert_eq!((delayed.kind(), at.seconds, at.nanos), (pb::MessageType::Delay, 11, 200_000_000));
        let timed = Hold { deliver_at: Some(7_001), ..Hold::default() };
        let at = timed.deliver_at(now).unwrap();
        assert_eq!((timed.kind(), at.seconds, at.nanos), (pb::MessageType::Delay, 7, 1_000_000));
        for (bad, why) in [("-5s", "not negative"), (" -1", "not negative"), ("soon", "like 30s or 5m")] {
            assert!(super::delay(bad).unwrap_err().contains(why), "{bad}");
        }
        assert_eq!(super::delay("5m"), Ok(Duration::from_mins(5)));
        let half = Hold { transaction: Some(Transaction::Open), ..Hold::default() };
        assert_eq!((half.kind(), half.resolution()), (pb::MessageType::Transaction, None));
    }
}
