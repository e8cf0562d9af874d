//! The RocketMQ API of a whole broker, run in this process: one test for each promise that clients rely on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what failed by panicking"
)]

mod checks;
mod cluster;
mod consume;
mod costly_filters;
mod dead_letters;
mod delayed;
mod fifo;
mod filters;
mod fuzzed_calls;
mod harness;
mod held_requests;
mod inactive;
mod kubernetes;
mod leave;
mod lifecycle;
mod peers;
mod produce;
mod relay;
mod reset_offset;
mod telemetry;
mod transactions;
mod turns;
