//! The objects that belong to a queue, as they should be: built from its spec alone, one file for each concern. Nothing
//! here depends on the release of the operator but the image, so that a new operator restarts no broker.

mod access;
pub(crate) mod disruption;
pub(crate) mod environment;
mod pods;
mod services;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt as _};

use crate::queue::ReliableQueue;

/// Port on which a broker serves clients.
pub const CLIENT_PORT: u16 = 8081;
/// Port on which brokers and the operator speak with a broker, each with a certificate.
pub const PEER_PORT: u16 = 8083;
/// Port on which a broker serves metrics and health.
pub const HTTP_PORT: u16 = 8082;
/// Name of the broker's container in each pod.
pub const BROKER_CONTAINER: &str = "broker";
/// Variable of that: whether it may promote itself.
pub(crate) const SELF_PROMOTION: &str = "RQ_SELF_PROMOTION";
/// Selects what belongs to any queue: its pods and its volumes.
pub const OF_QUEUES: &str = "app.kubernetes.io/name=reliablequeue";
/// Label of who made an object: [`MANAGER`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The operator, as it calls itself to the API server.
pub const MANAGER: &str = "reliablequeue-operator";
/// Label of the queue that an object belongs to.
pub const QUEUE_LABEL: &str = "app.kubernetes.io/instance";
/// Label of a pod: `master` or `slave`. The broker sets it on its own pod.
pub const ROLE_LABEL: &str = "reliablequeue.dev/role";

/// All that a queue is made of, besides its `QueueShard` and its volumes.
#[derive(Clone, PartialEq, Debug)]
pub struct Children {
    /// The account of the brokers.
    pub service_account: ServiceAccount,
    /// What they may do.
    pub role: Role,
    /// That they may.
    pub role_binding: RoleBinding,
    /// For clients, named like the queue.
    pub service: Service,
    /// A name for each pod, also before it is ready.
    pub pod_service: Service,
    /// One pod at a time may be moved.
    pub disruption_budget: PodDisruptionBudget,
    /// The pods.
    pub stateful_set: StatefulSet,
}

impl Children {
    /// As the spec says, with this image where it names none.
    #[must_use]
    pub fn of(queue: &ReliableQueue, image: &str) -> Self {
        Self {
            service_account: access::service_account(queue),
            role: access::role(queue),
            role_binding: access::role_binding(queue),
            service: services::for_clients(queue),
            pod_service: services::for_pods(queue),
            disruption_budget: disruption::budget(queue),
            stateful_set: pods::stateful_set(queue, image),
        }
    }
}

/// Name of the `QueueShard` of a queue, of its `StatefulSet`, of its Service, and of the account of its brokers.
#[must_use]
pub fn shard_name(queue: &ReliableQueue) -> String {
    queue.name_any()
}

/// Name of the Service that gives each pod a name.
pub(crate) fn pod_service_name(queue: &ReliableQueue) -> String {
    format!("{}-pods", queue.name_any())
}

/// The name in the certificate of a queue, by which its brokers and the operator know each other. No DNS has it.
#[must_use]
pub fn peer_name(queue: &ReliableQueue) -> String {
    format!("{}.{}.reliablequeue.internal", queue.name_any(), queue.namespace().unwrap_or_default())
}

/// Name of the Secret with that certificate, its key, and the authority's certificate. The pods mount it.
#[must_use]
pub fn certificate_secret(queue: &ReliableQueue) -> String {
    format!("{}-certificate", queue.name_any())
}

/// Name of the Secret with the authority's certificate and key. Nobody mounts it.
#[must_use]
pub fn authority_secret(queue: &ReliableQueue) -> String {
    format!("{}-authority", queue.name_any())
}

/// Labels by which the pods of a queue are found.
#[must_use]
pub fn selector(queue: &ReliableQueue) -> BTreeMap<String, String> {
    let labels = [("app.kubernetes.io/name", "reliablequeue".to_owned()), (QUEUE_LABEL, queue.name_any())];
    labels.map(|(key, value)| (key.to_owned(), value)).into()
}

fn metadata(queue: &ReliableQueue, name: String) -> ObjectMeta {
    let mut labels = selector(queue);
    labels.insert("app.kubernetes.io/component".to_owned(), "broker".to_owned());
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    ObjectMeta {
        name: Some(name),
        namespace: queue.namespace(),
        labels: Some(labels),
        owner_references: owner(queue).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

/// Whether the operator made this object for this queue. What somebody else made is left as it is.
pub fn is_ours(queue: &ReliableQueue, object: &impl Resource) -> bool {
    let has = |label: &str, value: &str| object.labels().get(label).is_some_and(|there| there == value);
    let labelled = has(MANAGED_BY_LABEL, MANAGER) && has(QUEUE_LABEL, &queue.name_any());
    // Somebody may have taken the labels away.
    labelled || queue.uid().is_some_and(|uid| object.owner_references().iter().any(|owner| owner.uid == uid))
}

/// With the queue go all objects that own no data.
fn owner(queue: &ReliableQueue) -> Option<OwnerReference> {
    queue.controller_owner_ref(&())
}

#[cfg(test)]
mod tests;
