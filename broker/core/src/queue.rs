//! Message queues as a deterministic state machine: topics, consumer groups, leases, retries, dead letters.
//!
//! [`Shard::step`] decides: it turns a request into records and an answer. [`State::apply`] is what a record
//! means; master, slave and recovery run the same code on the same records and reach the same state.

pub mod request;
pub mod settings;
pub mod view;

/// One shard.
pub struct Shard {}
