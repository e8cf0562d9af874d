//! On Kubernetes, the label of this replica's pod says whether it is the master, for a Service that leads to the master alone.

use std::time::Duration;

use rq_kubernetes::{Client, PodRole, label_pod};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::shard_name::ShardName;
use crate::engine::cluster::ReplicaView;

/// How soon a label that could not be set is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How much longer than the engine it may take to set the last one.
const LAST_WITHIN: Duration = Duration::from_millis(500);

/// Keeps the label of this pod as the replica's role is, until the engine has stopped: a master that has handed over and
/// stops is called a slave.
pub(crate) async fn keep_labelled(
    client: Client,
    shard: ShardName,
    pod: String,
    mut view: watch::Receiver<ReplicaView>,
) {
    let mut failing = false;
    loop {
        // In a new process the pod may still have the label of the one before.
        let role = role(&view.borrow_and_update());
        let labelled = label_pod(&client, &shard.namespace, &pod, role).await;
        let engine_stopped = match labelled {
            Ok(()) => {
                failing = false;
                view.wait_for(|view| self::role(view) != role).await.is_err()
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::warn!(
                        error,
                        pod,
                        "the pod could not be labelled with its role: tried again until it is"
                    );
                }
                tokio::time::sleep(RETRY_AFTER).await;
                view.has_changed().is_err()
            }
        };
        if engine_stopped {
            return;
        }
    }
}

/// Lets the label be set that was being set when the engine stopped.
pub(crate) async fn say_last(labelled: JoinHandle<()>) {
    if tokio::time::timeout(LAST_WITHIN, labelled).await.is_err() {
        tracing::debug!("the label of the pod may be outdated: its broker has stopped");
    }
}

fn role(view: &ReplicaView) -> PodRole {
    if view.leads() { PodRole::Master } else { PodRole::Slave }
}
