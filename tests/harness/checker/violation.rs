//! What a history can be guilty of.

use std::time::Duration;

use crate::history::Span;

/// A promise that was broken, and by which message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Violation {
    /// Acknowledged to its producer (or delivered once), and never settled by an ack although all was drained. A half
    /// message is acknowledged by its commit, and a delayed one unless it may have been recalled.
    Lost {
        /// The message.
        id: String,
        /// The group that never got to ack it.
        group: String,
        /// How often it was delivered.
        deliveries: usize,
    },
    /// Delivered by a receive that was begun after an ack of it was confirmed.
    ReturnedAfterAck {
        /// The message.
        id: String,
        /// End of the ack.
        acked: Duration,
        /// The receive.
        received: Span,
    },
    /// Delivered before the message before it in its message group was acked.
    OutOfOrder {
        /// The message.
        id: String,
        /// The one that had to be done first.
        before: String,
    },
    /// Delivered again while an earlier delivery still hid it.
    TwoLeases {
        /// The message.
        id: String,
        /// The earliest end of the first lease.
        leased_until: Duration,
        /// The receive that got it all the same.
        received: Span,
    },
    /// Delivered, but nobody sent it.
    Phantom {
        /// The message.
        id: String,
    },
    /// Delivered, although every send of it was refused for certain.
    RefusedYetStored {
        /// The message.
        id: String,
    },
    /// Delivered, although its transaction was rolled back.
    RolledBackYetDelivered {
        /// The message.
        id: String,
    },
    /// Delivered before anybody can have committed its transaction.
    UndecidedYetDelivered {
        /// The message.
        id: String,
        /// The receive.
        received: Span,
    },
    /// A commit of its transaction was confirmed, and a rollback too.
    EndedBothWays {
        /// The message.
        id: String,
    },
    /// Delivered before its time.
    TooEarly {
        /// The message.
        id: String,
        /// Its time.
        due: Duration,
        /// The receive.
        received: Span,
    },
    /// Delivered, although it was recalled.
    RecalledYetDelivered {
        /// The message.
        id: String,
    },
    /// Its transaction could not be ended although it was open, or it could not be recalled although it waited.
    HeldNotFound {
        /// The message.
        id: String,
        /// The call.
        asked: Span,
    },
    /// Delivered with other bytes than were sent.
    Damaged {
        /// The message.
        id: String,
    },
    /// A retried send was stored more than once.
    StoredTwice {
        /// The message.
        id: String,
        /// Queues and offsets that it was delivered from.
        places: Vec<(i32, i64)>,
    },
    /// Two deliveries carry the same attempt, or a later one a smaller attempt.
    AttemptNotGrown {
        /// The message.
        id: String,
        /// The attempts, in the order of the receives.
        attempts: (u32, u32),
    },
    /// Attempts are missing that no receive of unknown outcome can have taken.
    AttemptSkipped {
        /// The message.
        id: String,
        /// The attempts on both sides of the gap; 0 stands before the first.
        attempts: (u32, u32),
    },
    /// The ack of a delivery that was surely current was refused as stale.
    LiveHandleRefused {
        /// The message.
        id: String,
        /// The ack.
        acked: Span,
    },
}
