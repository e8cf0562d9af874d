//! The parts of a queue's spec: replication, failover, storage, services. Every default is in the schema, so that
//! `kubectl get -o yaml` shows what holds.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::annotations_rule;
use crate::units::{Size, Span};

/// When nodes pull an image.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PullPolicy {
    /// Each time a pod starts.
    Always,
    /// When the node does not have it.
    #[default]
    IfNotPresent,
    /// Never: the node must have it.
    Never,
}

/// A Secret of the queue's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct PullSecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// When a message counts as kept by a replica.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FlushMode {
    /// When its disk has flushed it: nothing acknowledged is lost even if all nodes lose power at once.
    #[default]
    Sync,
    /// When its kernel has it: faster, and safe while not all nodes lose power within one `flushInterval`.
    Async,
}

/// How the copies are kept in sync.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Replication {
    /// With fewer copies in sync, producers are refused. Where it is not given: 1 of up to two replicas, 2 of more.
    #[schemars(range(min = 1, max = 5))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_in_sync: Option<i32>,
    /// A slave that has not kept a message for so long is taken out of the in-sync set.
    #[x_kube(validation = Span::within("500ms", "60s"))]
    #[serde(default = "ack_timeout")]
    pub ack_timeout: Span,
    /// A slave is taken back into the in-sync set when it is less than this behind.
    #[x_kube(validation = Size::within("64Ki", "1Gi"))]
    #[serde(default = "rejoin_lag")]
    pub rejoin_lag: Size,
}

fn ack_timeout() -> Span {
    Span::from("3s")
}

fn rejoin_lag() -> Size {
    Size::from("4Mi")
}

impl Default for Replication {
    fn default() -> Self {
        Self { min_in_sync: None, ack_timeout: ack_timeout(), rejoin_lag: rejoin_lag() }
    }
}

/// Whether a failover needs a human.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FailoverMode {
    /// A slave of the in-sync set is promoted as soon as the master is lost.
    #[default]
    Automatic,
    /// Nobody takes over by itself: `kubectl rq promote` has a master that lives hand over, and from one that is gone a slave takes
    /// over once the mode is Automatic again.
    Manual,
}

/// Whether brokers may promote themselves.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BrokerInitiated {
    /// A slave that has lost its master promotes itself, so that a failover needs no operator.
    #[default]
    Enabled,
    /// Only the operator promotes.
    Disabled,
}

/// Who is promoted when the master is lost, and when.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// Whether a failover needs a human.
    #[serde(default)]
    pub mode: FailoverMode,
    /// Silence after which the operator takes a master for lost that its slaves do not hear either. Proof of its death does not wait.
    /// A slave alone waits 3.5 s, whatever stands here: who wants longer pauses to pass sets brokerInitiated to Disabled too.
    #[x_kube(validation = Span::within("1s", "60s"))]
    #[serde(default = "detect_timeout")]
    pub detect_timeout: Span,
    /// Whether brokers may promote themselves.
    #[serde(default)]
    pub broker_initiated: BrokerInitiated,
}

fn detect_timeout() -> Span {
    Span::from("2s")
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            mode: FailoverMode::default(),
            detect_timeout: detect_timeout(),
            broker_initiated: BrokerInitiated::default(),
        }
    }
}

/// What becomes of the volumes when the queue is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnDelete {
    /// They stay, with the `QueueShard`; a queue of the same name finds its messages again.
    #[default]
    Retain,
    /// They are deleted, and all messages with them.
    Delete,
}

/// The volume of each replica.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)")
        .message("storageClassName cannot change: volumes do not move between classes; put it back, and make another queue for another class"),
)]
pub struct Storage {
    /// Size of each volume. It can grow, and never shrinks.
    #[x_kube(
        validation = Size::within("1Gi", "64Ti"),
        validation = Rule::new("!isQuantity(self) || !isQuantity(oldSelf) || quantity(self).compareTo(quantity(oldSelf)) >= 0")
            .message(Message::Expression("'volumes cannot shrink: set the size to ' + oldSelf + ' or more'".to_owned())),
    )]
    pub size: Size,
    /// Class of the volumes. Without it, the cluster's default at the time.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// What becomes of the volumes when the queue is deleted.
    #[serde(default)]
    pub on_delete: OnDelete,
}

/// Kind of a Service.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ServiceType {
    /// For clients of the cluster.
    #[default]
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// For clients that reach the nodes.
    NodePort,
    /// For clients outside.
    LoadBalancer,
}

/// How clients reach the queue.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// The Service named like the queue, port 8081, of all replicas that are ready.
    #[serde(default)]
    pub bootstrap: BootstrapService,
}

/// The Service that clients are given.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapService {
    /// Its type.
    #[serde(rename = "type", default)]
    pub type_: ServiceType,
    /// Its annotations, such as those that tell a cloud what load balancer to make.
    #[schemars(schema_with = "texts::<32, 4096>")]
    #[x_kube(validation = annotations_rule())]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Whether changes of the spec are carried out.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reconcile {
    /// They are.
    #[default]
    Active,
    /// They wait. Failover goes on.
    Paused,
}

/// What a broker asks for where the user says nothing.
pub(super) fn small_requests() -> ResourceRequirements {
    let requests = [("cpu", "100m"), ("memory", "256Mi")];
    let quantities = requests.map(|(name, quantity)| (name.to_owned(), Quantity(quantity.to_owned())));
    ResourceRequirements { requests: Some(BTreeMap::from(quantities)), ..ResourceRequirements::default() }
}

/// A map of at most `MOST` texts, each of at most `LONG` characters: without bounds, rules over it would cost too much.
pub(super) fn texts<const MOST: u32, const LONG: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": { "type": "string", "maxLength": LONG },
        "maxProperties": MOST,
    })
}
