//! The records of the log.

use bytes::Bytes;

use crate::ids::{LogTime, Offset, QueueId, TopicId};
use crate::queue::settings::TopicKind;

/// A message as it lies in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredMessage {
    /// The topic it was sent to (its origin, for a dead letter).
    pub topic: TopicId,
    /// Its queue there.
    pub queue: QueueId,
    /// Its offset there.
    pub offset: Offset,
    /// What it was sent as.
    pub kind: TopicKind,
    /// Log time of its storing.
    pub stored_at: LogTime,
    /// When it was to be delivered at the earliest; 0 is "at once".
    pub deliver_at: LogTime,
    /// The encoded [`MessageContent`](crate::message::MessageContent).
    pub content: Bytes,
}
