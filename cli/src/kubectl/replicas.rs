//! What brokers say of themselves, each asked through a forwarded port; where one cannot be, the reason stands in its place.

use futures::future;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use rq_operator_core::children::CLIENT_PORT;
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::replica_client::ReplicaClient;

use super::cluster::Cluster;
use super::forward::Forward;
use crate::args::Global;
use crate::promote::describe;

/// A broker's answer, or why there is none.
pub(super) type Answer = Result<pb::ReplicaStatus, String>;

/// Asks all pods at once.
pub(super) async fn ask(cluster: &Cluster, global: &Global, pods: &[Pod]) -> Vec<Answer> {
    future::join_all(pods.iter().map(|pod| one(cluster, global, pod))).await
}

async fn one(cluster: &Cluster, global: &Global, pod: &Pod) -> Answer {
    if !is_started(pod) {
        return Err("the broker has not started".to_owned());
    }
    let asked = async {
        let forward = Forward::open(cluster.pod_api(), &pod.name_any(), CLIENT_PORT)
            .await
            .map_err(|error| error.to_string())?;
        let global = Global { endpoint: forward.endpoint.clone(), ..global.clone() };
        let described = async {
            let mut client = ReplicaClient::new(global.endpoint.connect(global.timeout).await?);
            describe(&global, &mut client).await
        };
        match described.await {
            Ok(status) => Ok(status),
            Err(failure) => Err(forward.trouble().await.unwrap_or_else(|| failure.to_string())),
        }
    };
    match tokio::time::timeout(global.timeout, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(global.timeout))),
    }
}

/// Its broker runs, whether ready or not.
pub(super) fn is_started(pod: &Pod) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let is_running = |state: &k8s_openapi::api::core::v1::ContainerState| state.running.is_some();
    statuses.into_iter().flatten().any(|status| status.state.as_ref().is_some_and(is_running))
}

/// It takes calls.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready =
        conditions.into_iter().flatten().any(|found| found.type_ == "Ready" && found.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}
