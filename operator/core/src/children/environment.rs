//! What a broker is told: its own place, and the parts of the spec that it must know when it starts. Settings of the user
//! come from the `ConfigMap`; these go over them.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};
use kube::ResourceExt as _;

use super::{CLIENT_PORT, HTTP_PORT, PEER_PORT, SELF_PROMOTION, peer_name, shard_name};
use crate::queue::ReliableQueue;
use crate::queue::spec::{BrokerInitiated, FailoverMode};

/// Where it finds its certificate.
pub(super) const CERTIFICATE: &str = "/certificate";
/// Where its store lies: below the mount of its volume, for a new volume may have a `lost+found`.
const STORE: &str = "/data/store";

/// The variables, in the order in which they may use each other.
pub(super) fn of(queue: &ReliableQueue) -> Vec<EnvVar> {
    let failover = &queue.spec.failover;
    let by_itself =
        failover.mode == FailoverMode::Automatic && failover.broker_initiated == BrokerInitiated::Enabled;
    let of_pod = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let fixed =
        |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() };
    let mut variables = vec![
        of_pod("RQ_NAME", "metadata.name"),
        // It comes before the variable that is made from it.
        of_pod("POD_IP", "status.podIP"),
        fixed("RQ_ADVERTISE", format!("$(POD_IP):{PEER_PORT}")),
        fixed("RQ_PEER_LISTEN", format!("0.0.0.0:{PEER_PORT}")),
        fixed("RQ_PEER_TLS", CERTIFICATE.to_owned()),
        fixed("RQ_PEER_TLS_NAME", peer_name(queue)),
        fixed("RQ_ACK_TIMEOUT", queue.spec.replication.ack_timeout.0.clone()),
        fixed("RQ_CLUSTER", queue.name_any()),
        fixed("RQ_DATA", STORE.to_owned()),
        fixed("RQ_LISTEN", format!("0.0.0.0:{CLIENT_PORT}")),
        fixed("RQ_HTTP", format!("0.0.0.0:{HTTP_PORT}")),
        fixed("RQ_QUEUE_SHARD", format!("{}/{}", queue.namespace().unwrap_or_default(), shard_name(queue))),
        fixed(SELF_PROMOTION, by_itself.to_string()),
        fixed("RQ_LOG_FORMAT", "json".to_owned()),
    ];
    // The broker has units of its own; the rules of the CRD let no size through that is none.
    let lag = queue.spec.replication.rejoin_lag.bytes().ok();
    variables.extend(lag.map(|bytes| fixed("RQ_REJOIN_LAG", bytes.to_string())));
    let extra = queue.spec.scheduling.pod_template.env.iter().map(|variable| EnvVar {
        name: variable.name.clone(),
        value: variable.value.clone(),
        value_from: variable.value_from.clone(),
    });
    variables.extend(extra);
    variables
}
