//! What a topic and a consumer group are told to be.

/// Which messages a topic takes. The official clients learn it from the route and hold themselves to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum TopicKind {
    /// Messages without order, delay or transaction.
    Normal = 1,
    /// Messages of a message group, in order within it.
    Fifo = 2,
    /// Messages with a delivery time.
    Delay = 3,
    /// Half messages that a transaction commits or rolls back.
    Transaction = 4,
    /// Made on first use, by somebody who only asked for it: the first message decides.
    Undecided = 5,
}

/// Settings of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TopicSettings {
    /// Which messages it takes.
    pub kind: TopicKind,
    /// Number of message queues, [`TopicSettings::QUEUES_MIN`] to [`TopicSettings::QUEUES_MAX`].
    pub queues: u16,
}

impl TopicSettings {
    /// Fewest queues of a topic.
    pub const QUEUES_MIN: u16 = 1;
    /// Most queues of a topic. A receive looks at each in turn, so the number is bounded.
    pub const QUEUES_MAX: u16 = 256;
}

/// How long a failed message waits for its next delivery. The delay of attempt `n` follows the n-th failure.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Backoff {
    /// `initial × multiplier^(n-1)`, at most `max`.
    Exponential {
        /// Delay after the first failure, in milliseconds.
        initial_ms: u64,
        /// Longest delay, in milliseconds.
        max_ms: u64,
        /// Factor from one delay to the next, in thousandths (2000 doubles): no float enters the state.
        multiplier_milli: u32,
    },
    /// The listed delays in milliseconds, the last one repeated. Never empty.
    Customized(Vec<u64>),
}

/// Where a group that never consumed a topic begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum StartFrom {
    /// At the oldest message kept. The default: a message sent before its consumer started is not skipped.
    #[default]
    Earliest = 1,
    /// At the next message to come.
    Latest = 2,
}

/// Settings of a consumer group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GroupSettings {
    /// FIFO: messages of one message group are delivered one after the other.
    pub ordered: bool,
    /// Deliveries of a message before it becomes a dead letter, 1 to [`GroupSettings::ATTEMPTS_MAX`].
    pub max_attempts: u32,
    /// Delays that clients are told to wait between attempts.
    pub backoff: Backoff,
    /// Where the group begins in a topic it never consumed.
    pub start: StartFrom,
}

impl GroupSettings {
    /// Most attempts that a group may ask for.
    pub const ATTEMPTS_MAX: u32 = 1000;
}

impl Default for GroupSettings {
    /// RocketMQ's numbers: 16 retries after the first delivery; 5 s, doubling up to 2 h.
    fn default() -> Self {
        Self {
            ordered: false,
            max_attempts: 17,
            backoff: Backoff::Exponential { initial_ms: 5_000, max_ms: 7_200_000, multiplier_milli: 2_000 },
            start: StartFrom::Earliest,
        }
    }
}
