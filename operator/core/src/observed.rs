//! What is seen of a queue and of all that belongs to it, at one moment: the input of [`crate::plan`]. Some of it is from a
//! cache that lags, so that a plan is written to be right, or refused by the API server, where it was made from what is old.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rq_overseer::{Seen, Trouble};

use crate::queue::ReliableQueue;
use crate::queue::status::LastFailover;
use crate::shard::QueueShard;

/// Whoever sets this taint on a node says that it is surely off.
pub const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";

/// All that is known of a queue.
#[derive(Clone, PartialEq, Debug)]
pub struct Observed {
    /// What the user wants, and the status that it was given last.
    pub queue: ReliableQueue,
    /// The objects that the operator makes, as they are.
    pub existing: Existing,
    /// The configuration of the shard; none where there is no such object.
    pub shard: Option<QueueShard>,
    /// The pods that the selector of the queue finds, in no order.
    pub pods: Vec<Pod>,
    /// The claims of volumes that the selector finds.
    pub volumes: Vec<PersistentVolumeClaim>,
    /// The nodes on which those pods run, by name.
    pub nodes: BTreeMap<String, NodeSeen>,
    /// The certificate with which the brokers and the operator know each other; none where there is none, or one that cannot
    /// be read.
    pub certificate: Option<CertificateSeen>,
    /// What the replicas say of themselves, by the failure detector. A pod that it has not seen yet is left out.
    pub replicas: Vec<Seen>,
    /// What keeps the failure detector from having the shard well.
    pub trouble: Option<Trouble>,
    /// The newest failover that the failure detector has seen.
    pub failover: Option<LastFailover>,
    /// On the clock of `replicas`, in ms.
    pub now_ms: u64,
    /// The time of day, for conditions and for certificates.
    pub now: Time,
}

/// The objects of a queue that the operator makes, where they are there.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Existing {
    /// The account of the brokers.
    pub service_account: Option<ServiceAccount>,
    /// What they may do.
    pub role: Option<Role>,
    /// That they may.
    pub role_binding: Option<RoleBinding>,
    /// For clients.
    pub service: Option<Service>,
    /// A name for each pod.
    pub pod_service: Option<Service>,
    /// One pod at a time may be moved.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// The pods.
    pub stateful_set: Option<StatefulSet>,
}

/// What counts of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NodeSeen {
    /// Its zone, if it says one.
    pub zone: Option<String>,
    /// It takes no new pods: cordoned.
    pub unschedulable: bool,
}

/// The certificate of a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateSeen {
    /// When it begins to hold.
    pub not_before: Time,
    /// When it ends to hold.
    pub not_after: Time,
    /// When its authority ends to hold.
    pub authority_ends: Time,
}
