//! The resources of `ReliableQueue` on Kubernetes, and what the operator decides from what it sees. No client, no clock, no
//! IO: whoever has those (`rq-operator`, `rq-kubernetes`) only carries out what is decided here.

#![allow(clippy::duplicated_attributes, reason = "each column of a CRD has a type of its own")]

pub mod children;
pub mod conditions;
pub mod crds;
pub mod observed;
pub mod plan;
mod quantity;
#[expect(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
pub mod queue;
#[expect(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
pub mod shard;
pub mod units;
