//! The numbers that name things: positions, epochs, topics, queues, times.
//!
//! Each is a type of its own, so that an offset is never taken for an LSN. All are `Copy`, ordered and hashable.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

number! {
    /// Absolute byte position in the log of a shard. `(Epoch, Lsn)` names a record for ever.
    Lsn(u64)
}
number! {
    /// Number of a mastership; every promotion and every restart of a master adds one. 0 is "none yet".
    Epoch(u32)
}
number! {
    /// Milliseconds of log time: wall-clock milliseconds since 1970 as the master saw them, never going back.
    LogTime(u64)
}
number! {
    /// Incarnation of a topic. Never given twice: a topic made anew under an old name has a new id.
    TopicId(u32)
}
number! {
    /// Number of a consumer group, never given twice.
    GroupId(u32)
}
number! {
    /// Number of a message queue within its topic, from 0.
    QueueId(u16)
}
number! {
    /// Position of a message in its message queue, dense from 0.
    Offset(u64)
}
number! {
    /// Number of a shard within its cluster. v1alpha1 has shard 0 only.
    ShardId(u16)
}
number! {
    /// Random number of one Pop, made by the master's driver. A receipt handle carries it, so that only who
    /// received the current delivery can end it.
    Nonce(u64)
}
number! {
    /// Hash of an official client's id (`x-mq-client-id`); see [`crate::hash::client`].
    ClientHash(u64)
}
number! {
    /// Random number of a client's connection to a gateway.
    ConnectionId(u64)
}
number! {
    /// Hash of a tag; see [`crate::hash::tag`]. 0 is "no tag".
    TagHash(u64)
}
number! {
    /// Hash of a message group (the FIFO key); see [`crate::hash::lane`]. Messages of one lane are delivered in
    /// order to FIFO consumer groups. 0 is "no message group".
    Lane(u64)
}
number! {
    /// Hash of a client's attempt id for a receive; see [`crate::hash::attempt`].
    AttemptHash(u64)
}
number! {
    /// Names a message that no consumer can see yet, for ever: the position at which its record was first written, also after
    /// the record was copied elsewhere.
    HeldId(u64)
}
number! {
    /// Driver's name for the caller who waits for an answer. Means nothing to the core.
    Ticket(u64)
}

/// Random id of one formatted data directory, 128 bits. A new disk is a new store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u128);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A text that names no store.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is no store id: give 32 hexadecimal digits")]
pub struct NoStoreId(String);

impl FromStr for StoreId {
    type Err = NoStoreId;

    /// Reads what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, NoStoreId> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        number.map(Self).ok_or_else(|| NoStoreId(text.to_owned()))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

number! {
    /// Number of a store's session: changes whenever what was written and not flushed may be gone, which is when the
    /// machine booted anew or the volume moved without a clean close. Matters to `flushMode: Async` alone.
    Session(u64)
}

impl Lsn {
    /// The position `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Offset {
    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl LogTime {
    /// The time `millis` milliseconds later; saturates.
    #[must_use]
    pub const fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds since `earlier`; 0 where that lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_id_is_read_as_it_is_written_and_nothing_else_is() {
        for id in [StoreId(0), StoreId(0xab), StoreId(u128::MAX)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in ["", "ab", "+0000000000000000000000000000000", &"g".repeat(32), &"a".repeat(33)] {
            assert_eq!(text.parse::<StoreId>(), Err(NoStoreId(text.to_owned())));
        }
    }
}
