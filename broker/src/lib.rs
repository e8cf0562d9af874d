//! The broker.

pub mod engine;
pub mod wire;
