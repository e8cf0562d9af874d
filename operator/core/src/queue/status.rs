//! What a queue's status tells: is it safe, who is master, where clients connect, how the last failover went. Only the
//! operator writes it; it can be made anew at any time from what is there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::spec::FlushMode;
use crate::conditions::{ConditionStatus, ConditionType, Reason};

/// Time of the conditions that the schema gives to a queue that nobody has looked at.
const NEVER: &str = "1970-01-01T00:00:00Z";

/// What is seen of a queue.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = not_reconciled()))]
pub struct ReliableQueueStatus {
    /// Generation of the spec that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds and what does not, and why.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Pods that are there.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that serve.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Copies that hold everything acknowledged.
    #[serde(default)]
    pub in_sync_replicas: i32,
    /// Copies in sync of those asked for, such as `2/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<String>,
    /// Finds the pods, as a query for labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Pod of the master; none while nobody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Number of the present mastership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Pods of the in-sync set.
    #[schemars(length(max = 9))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_sync: Vec<String>,
    /// When a message counts as kept by a replica, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush_mode: Option<FlushMode>,
    /// Image that the pods are to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Where clients connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// How the last failover went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failover: Option<LastFailover>,
}

/// Where clients connect.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// `HOST:PORT` to give to clients.
    pub bootstrap: String,
    /// `HOST:PORT` of each replica.
    #[schemars(length(max = 9))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<String>,
}

/// Why a master was replaced.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailoverCause {
    /// It handed over: it was told to stop, or a human asked for it.
    HandedOver,
    /// Its pod was deleted.
    PodDeleted,
    /// Its container ended.
    ContainerTerminated,
    /// Its node was declared out of service.
    NodeOutOfService,
    /// It did not answer, and its slaves did not hear it.
    Silent,
    /// A human accepted the loss of data.
    DataLossAccepted,
}

/// How a failover went. What the operator was not there to see is left out.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct LastFailover {
    /// The epoch that it began.
    pub epoch: i64,
    /// Pod of the master before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Pod of the master after.
    pub to: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<FailoverCause>,
    /// When the old master was last known to live, or was found dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_at: Option<MicroTime>,
    /// When the promotion was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<MicroTime>,
    /// When the new master took messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_at: Option<MicroTime>,
}

/// The status of a queue that no operator has seen: without it, tools would take it for done.
fn not_reconciled() -> Value {
    let conditions = ConditionType::ALL.map(|condition| {
        json!({
            "type": condition.as_str(),
            "status": ConditionStatus::Unknown.as_str(),
            "reason": Reason::NotReconciled.as_str(),
            "message": "no operator has looked at this queue yet",
            "lastTransitionTime": NEVER,
        })
    });
    json!({ "conditions": conditions })
}
