//! On Kubernetes, the label of this replica's pod says whether it is the master, for a Service that leads to the master alone.

use std::time::Duration;

use rq_kubernetes::{Client, PodRole, label_pod};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::shard_name::ShardName;
use crate::engine::cluster::ReplicaView;

/// How soon a label that could not be set is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Keeps the label of this pod as the replica's role is, until `stop`.
pub(crate) async fn keep_labelled(
    client: Client,
    shard: ShardName,
    pod: String,
    mut view: watch::Receiver<ReplicaView>,
    stop: CancellationToken,
) {
    let keep = async {
        let mut failing = false;
        loop {
            // In a new process the pod may still have the label of the one before.
            let role = role(&view.borrow_and_update());
            let Err(error) = label_pod(&client, &shard.namespace, &pod, role).await else {
                failing = false;
                if view.wait_for(|view| self::role(view) != role).await.is_err() {
                    return;
                }
                continue;
            };
            if !std::mem::replace(&mut failing, true) {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(
                    error,
                    pod,
                    "the pod could not be labelled with its role: tried again until it is"
                );
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    };
    tokio::select! {
        () = keep => {}
        () = stop.cancelled() => {}
    }
}

fn role(view: &ReplicaView) -> PodRole {
    if view.leads() { PodRole::Master } else { PodRole::Slave }
}
