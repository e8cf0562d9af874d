//! Every history of two replicas and a config store, within bounds: crashes that lose what was not flushed, writes to the
//! config store that are delayed or lost, links that break, messages that overtake each other, a lost disk. The
//! transitions are those of `rq_core::replication` itself. With any one rule switched off the checker must find a
//! history that loses a message: a model in which nothing can go wrong would prove nothing.

#[path = "model/cluster.rs"]
mod cluster;
#[path = "model/invariants.rs"]
mod invariants;
#[path = "model/node.rs"]
mod node;
#[path = "model/rules.rs"]
mod rules;
