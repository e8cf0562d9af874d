//! The broker.

pub mod engine;
