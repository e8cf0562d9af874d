//! What the tests on real processes share: a broker to start and kill, a client that knows what it does not know,
//! a history of all it did, the checker that judges it, disks that lose power and traces of system calls.
//! Nothing here knows the inside of the broker: it is held to its wire contract alone.

pub mod broker;
pub mod checker;
pub mod client;
pub mod client_program;
pub mod cluster;
pub mod disk;
mod front;
pub mod go_client;
pub mod history;
pub mod language;
pub mod network;
mod overseer;
pub mod pod;
pub mod power;
pub mod requirement;
pub mod run;
pub mod shard;
pub mod strace;
pub mod trace;
pub mod workload;
