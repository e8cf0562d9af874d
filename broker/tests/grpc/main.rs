//! The RocketMQ API of a whole broker, run in this process: one test for each promise that clients rely on.

mod consume;
mod harness;
mod lifecycle;
mod produce;
mod telemetry;
