//! Message queues as a deterministic state machine: topics, consumer groups, leases, retries, dead letters.
//!
//! [`Shard::step`] decides: it turns a request into records and an answer. [`State::apply`] is what a record
//! means; master, slave and recovery run the same code on the same records and reach the same state.

mod apply;
pub mod checkpoint;
mod chunked;
pub mod compare;
mod duplicates;
mod held;
pub mod idle;
mod index;
mod outages;
mod polls;
mod progress;
pub mod request;
pub mod retention;
pub mod settings;
mod shard;
pub mod since;
mod state;
mod state_hash;
#[cfg(test)]
mod tests;
pub mod view;

pub use self::apply::ApplyError;
pub use self::held::HeldCounts;
pub use self::shard::{Append, Limits, RENEWED_LEASE_MS, Shard, TransactionLimits};
pub use self::state::{
    Compare, DEAD_LETTER_PREFIX, State, UNRESOLVED_TOPIC, dead_letter_topic, dead_letters_of,
    is_dead_letter_topic,
};
