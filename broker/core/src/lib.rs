//! The decisions of the broker as pure state machines: no clock, no randomness, no files, no threads.
//!
//! ```text
//!            request, now                    records            bytes
//!  gateway ───────────────► queue::Shard ─────────────► driver ────────► log, slave
//!          ◄─────────────── answer, once    ◄──────────
//!            its records are committed        LSN of each
//! ```
//!
//! What a record means is [`queue::State::apply`], the same code on a master, on a slave and in recovery. What
//! is delivered, refused or dead-lettered is [`queue::Shard::step`]; its driver waits for the commit before it
//! lets an answer out. Production, simulation and the model checker are drivers of the same core.

pub mod clock;
pub mod codec;
pub mod config;
pub mod failover;
pub mod handle;
pub mod hash;
pub mod ids;
pub mod message;
pub mod queue;
pub mod record;
pub mod replication;
