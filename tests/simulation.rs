//! Whole replicas (queue state machine, replication core, log on a simulated disk) with a simulated network, clock and
//! config store, from a seed: faults for a while, then none, and it must heal. The history of its clients is judged by the
//! same rules as those of real brokers, and the copies must be the same in the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "all of this crate is a test, its helpers too"
)]

#[path = "simulation/calls.rs"]
mod calls;
#[path = "simulation/clients.rs"]
mod clients;
#[path = "simulation/config_store.rs"]
mod config_store;
#[path = "simulation/deeds.rs"]
mod deeds;
#[path = "simulation/driver.rs"]
mod driver;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/health.rs"]
mod health;
#[path = "simulation/housekeeping.rs"]
mod housekeeping;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/process.rs"]
mod process;
#[path = "simulation/recover.rs"]
mod recover;
#[path = "simulation/seeds.rs"]
mod seeds;
#[path = "simulation/service.rs"]
mod service;
#[path = "simulation/world.rs"]
mod world;
