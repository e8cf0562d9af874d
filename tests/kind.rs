//! ReliableQueue on a real cluster: applied, killed, cut off, changed and deleted, under a load whose history is judged.
//! Loss, order and that everything comes back are asserted; times are printed and never asserted.
//!
//! `make e2e` runs all of it on the cluster of `make kind-up`, or on any that `KUBECONFIG` names; a filter chooses, such as
//! `b_master`. One test runs at a time: two cores run the cluster, and some tests take parts of it away. Without `RQ_E2E=1`
//! nothing runs, and says so. `RQ_E2E_KEEP=1` leaves the namespaces of the tests as they are in the end. With
//! `RQ_E2E_FEW=1`, as `make test` has it, only a part of the transitions of a shard goes to the API server.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

#[path = "kind/a_life.rs"]
mod a_life;
#[path = "kind/b_master.rs"]
mod b_master;
#[path = "kind/bench_history.rs"]
mod bench_history;
#[path = "kind/c_slaves.rs"]
mod c_slaves;
#[path = "kind/d_nodes.rs"]
mod d_nodes;
#[path = "kind/docker.rs"]
mod docker;
#[path = "kind/e_operator.rs"]
mod e_operator;
#[path = "kind/f_api_server.rs"]
mod f_api_server;
#[path = "kind/failover_times.rs"]
mod failover_times;
#[path = "kind/g_changes.rs"]
mod g_changes;
#[path = "kind/h_refused.rs"]
mod h_refused;
#[path = "kind/i_volumes.rs"]
mod i_volumes;
#[path = "kind/j_rights.rs"]
mod j_rights;
#[path = "kind/k_rest.rs"]
mod k_rest;
#[path = "kind/kubectl.rs"]
mod kubectl;
#[path = "kind/l_held.rs"]
mod l_held;
#[path = "kind/load.rs"]
mod load;
#[path = "kind/official.rs"]
mod official;
#[path = "kind/pods.rs"]
mod pods;
#[path = "kind/queue.rs"]
mod queue;
#[path = "kind/scene.rs"]
mod scene;
#[path = "kind/times.rs"]
mod times;
#[path = "kind/wait.rs"]
mod wait;
#[path = "kind/z_times.rs"]
mod z_times;
