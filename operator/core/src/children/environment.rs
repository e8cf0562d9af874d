//! What a broker is told when it starts: its own place, the parts of the spec that it must know, and the settings of the
//! user. All of it is part of the pod's template: a broker that restarts has what it was started with, whatever the spec
//! says by now, until its pod is replaced.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};
use kube::ResourceExt as _;

use super::{CLIENT_PORT, HTTP_PORT, PEER_PORT, SELF_PROMOTION, peer_name, shard_name};
use crate::queue::spec::{BrokerInitiated, FailoverMode};
use crate::queue::{ReliableQueue, SET_BY_OPERATOR};

/// Where it finds its certificate.
pub(super) const CERTIFICATE: &str = "/certificate";
/// Where its store lies: below the mount of its volume, for a new volume may have a `lost+found`.
const STORE: &str = "/data/store";

/// All variables, in the order in which they may use each other. Rules of the CRD keep those of the user apart from those of the
/// operator: the API server refuses a list that has a name twice.
pub(super) fn of(queue: &ReliableQueue) -> Vec<EnvVar> {
    let of_user = settings(queue).chain(further(queue));
    of_operator(queue).into_iter().chain(of_user).collect()
}

/// `spec.config` as the variables that the broker reads, in the order of their names.
pub(crate) fn settings(queue: &ReliableQueue) -> impl Iterator<Item = EnvVar> + '_ {
    // A queue may have been stored before a rule refused its setting.
    let of_user = queue.spec.config.iter().filter(|(key, _)| !SET_BY_OPERATOR.contains(&key.as_str()));
    // Kubernetes would put other variables in for $(NAME); `$$` is a `$` and begins nothing.
    of_user.map(|(key, value)| fixed(&variable(key), value.replace('$', "$$")))
}

/// The variable of a setting, by its name on the broker's command line.
pub(crate) fn variable(key: &str) -> String {
    format!("RQ_{}", key.to_ascii_uppercase().replace('-', "_"))
}

/// What the user wants the broker to have besides: none of the broker's settings.
fn further(queue: &ReliableQueue) -> impl Iterator<Item = EnvVar> + '_ {
    queue.spec.scheduling.pod_template.env.iter().map(|variable| EnvVar {
        name: variable.name.clone(),
        value: variable.value.clone(),
        value_from: variable.value_from.clone(),
    })
}

fn fixed(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), ..EnvVar::default() }
}

fn of_operator(queue: &ReliableQueue) -> Vec<EnvVar> {
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
    variables
}
