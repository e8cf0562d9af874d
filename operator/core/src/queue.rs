//! `ReliableQueue`: what the user asks for and is told. What its schema cannot say, CEL rules do, so that the API server
//! refuses a spec that cannot work and says what to change. Machines keep their own state in `QueueShard`, never here.

pub mod scheduling;
pub mod spec;
pub mod status;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use self::scheduling::Scheduling;
use self::spec::{
    Failover, FlushMode, PullPolicy, PullSecret, Reconcile, Replication, Services, Storage, small_requests,
    texts,
};
use self::status::ReliableQueueStatus;
use crate::units::Span;

/// Prefix of the labels and annotations that are ours.
pub const LABEL_PREFIX: &str = "reliablequeue.dev/";
/// Longest name of a queue: those of its pods and Services are made from it, and labels carry them.
pub const NAME_MAX: usize = 40;
/// Labels of `app.kubernetes.io/` by which the pods of a queue are found.
pub const FOUND_BY: [&str; 4] = ["name", "instance", "component", "managed-by"];
/// `flushInterval` where it is not given.
pub const FLUSH_INTERVAL: &str = "500ms";

/// A message queue of `replicas` brokers, each with a copy of every message.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "reliablequeue.dev",
    version = "v1alpha1",
    kind = "ReliableQueue",
    plural = "reliablequeues",
    shortname = "rq",
    namespaced,
    derive = "PartialEq",
    status = "ReliableQueueStatus",
    doc = "A message queue that never loses an acknowledged message: a master and its slaves, each with a copy of every message.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Master", type_ = "string", json_path = ".status.master"),
    printcolumn(name = "InSync", type_ = "string", json_path = ".status.copies"),
    printcolumn(name = "Flush", type_ = "string", json_path = ".status.flushMode"),
    printcolumn(
        name = "FailoverReady",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"FailoverReady\")].status",
        priority = 1
    ),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image", priority = 1),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = name_rule()
)]
#[x_kube(
    validation = Rule::new("!has(self.replication.minInSync) || self.replication.minInSync <= self.replicas")
        .message("replication.minInSync is more than replicas, so that nothing could ever be written: lower it, or raise replicas"),
    validation = Rule::new("!has(self.flushInterval) || self.flushMode == 'Async'")
        .message("flushInterval has a meaning only with flushMode Async: remove it, or set flushMode to Async"),
)]
pub struct ReliableQueueSpec {
    /// Image of the broker. Without it, the one that the operator was released with.
    #[schemars(length(min = 1, max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When nodes pull the image.
    #[serde(default)]
    pub image_pull_policy: PullPolicy,
    /// Secrets of the queue's namespace with which nodes pull the image.
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<PullSecret>,
    /// Copies of every message, the master's among them.
    #[schemars(range(min = 1, max = 5))]
    #[serde(default = "two_replicas")]
    pub replicas: i32,
    /// Replicated logs that the queue is spread over. One, in this version.
    #[x_kube(validation = Rule::new("self == 1").message("set shards to 1: this version keeps a queue in one shard"))]
    #[serde(default = "one_shard")]
    pub shards: i32,
    /// When a message counts as kept by a replica.
    #[serde(default)]
    pub flush_mode: FlushMode,
    /// With `flushMode: Async`, the time after which what was written is flushed at the latest. 500ms where it is not given.
    #[x_kube(validation = Span::within("10ms", "60s"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush_interval: Option<Span>,
    /// How the copies are kept in sync.
    #[serde(default)]
    pub replication: Replication,
    /// Who is promoted when the master is lost, and when.
    #[serde(default)]
    pub failover: Failover,
    /// The volume of each replica.
    pub storage: Storage,
    /// What each broker asks for and may take.
    #[serde(default = "small_requests")]
    pub resources: ResourceRequirements,
    /// Where the replicas run, and what their pods carry.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// How clients reach the queue.
    #[serde(default)]
    pub services: Services,
    /// Settings of the broker by their names on its command line, such as `max-body: 8MiB`.
    #[schemars(schema_with = "texts::<128, 1024>")]
    #[x_kube(
        validation = Rule::new("self.all(key, key.size() <= 64 && key.matches('^[a-z]+(-[a-z]+)*$'))")
            .message("write the keys of config as on the command line of the broker, in lower-case letters and '-', such as max-body"),
        validation = settings_rule(),
    )]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Whether changes of this spec are carried out. Failover goes on while they are not.
    #[serde(default)]
    pub reconcile: Reconcile,
}

/// Settings of the broker that the operator gives it, by their names on the command line.
pub(crate) const SET_BY_OPERATOR: [&str; 17] = [
    "data",
    "listen",
    "http",
    "cluster",
    "config",
    "config-store",
    "name",
    "allow-unsafe-filesystem",
    "queue-shard",
    "advertise",
    "peer-listen",
    "peer-tls",
    "peer-tls-name",
    "self-promotion",
    "ack-timeout",
    "rejoin-lag",
    "log-format",
];

/// That the settings of the user are none of the operator's.
fn settings_rule() -> Rule {
    let told = format!(
        "remove {} and {} from config: the operator sets them, some from other fields of the spec",
        SET_BY_OPERATOR[..SET_BY_OPERATOR.len() - 1].join(", "),
        SET_BY_OPERATOR[SET_BY_OPERATOR.len() - 1]
    );
    Rule::new(format!("!{SET_BY_OPERATOR:?}.exists(key, key in self)").replace('"', "'"))
        .message(told.as_str())
}

fn name_rule() -> Rule {
    let told = format!(
        "give the queue a name of at most {NAME_MAX} lower-case letters, digits and '-' that begins with a letter: its Service has the same"
    );
    Rule::new(format!(
        "self.metadata.name.size() <= {NAME_MAX} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"
    ))
    .message(told.as_str())
}

/// That annotations of the user are not ours.
fn annotations_rule() -> Rule {
    Rule::new(format!("self.all(key, !key.startsWith('{LABEL_PREFIX}'))")).message(
        format!("remove the annotations that begin with {LABEL_PREFIX}: the operator sets them").as_str(),
    )
}

/// That labels of the user are not those by which pods are found.
fn labels_rule() -> Rule {
    let found_by = FOUND_BY.map(|name| format!("'app.kubernetes.io/{name}'")).join(", ");
    let told = format!(
        "remove the labels that begin with {LABEL_PREFIX} and app.kubernetes.io/{}: the operator finds its pods by them",
        FOUND_BY.join(", ")
    );
    Rule::new(format!("self.all(key, !key.startsWith('{LABEL_PREFIX}') && !(key in [{found_by}]))"))
        .message(told.as_str())
}

const fn two_replicas() -> i32 {
    2
}

const fn one_shard() -> i32 {
    1
}

impl ReliableQueueSpec {
    /// Copies in sync without which producers are refused: as given, or one of up to two replicas and two of more.
    #[must_use]
    pub fn min_in_sync(&self) -> i32 {
        let by_default = || rq_overseer::min_in_sync(usize::try_from(self.replicas).unwrap_or(1));
        self.replication.min_in_sync.unwrap_or_else(|| by_default().into())
    }

    /// The interval of flushes with `flushMode: Async`.
    #[must_use]
    pub fn flush_interval(&self) -> Span {
        self.flush_interval.clone().unwrap_or_else(|| Span::from(FLUSH_INTERVAL))
    }
}
