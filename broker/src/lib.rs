//! The broker: one process that serves the RocketMQ 5 API on a commit log of its own.
//!
//! ```text
//!  clients ──► grpc (calls) ──► wire (checks, conversion) ──► engine (log thread, rq-core, rq-log)
//!  people  ──► http (metrics, health)
//! ```

pub mod clients;
pub mod config;
pub mod config_store;
mod connecting;
mod data_directory;
pub mod engine;
pub mod forwarding;
pub mod grpc;
pub mod http;
mod leave;
mod membership;
pub mod metrics;
mod open_files;
pub mod peer;
mod pod_role;
pub mod replication;
mod run;
pub mod scrub;
pub mod shutdown;
pub mod wire;

pub use run::{Listeners, RunError, run};
