//! What the operator may do, a line for each resource: a right that is added to the chart is added here by somebody who
//! thought about it. `tests/kind` of the workspace holds it against a real cluster: it takes this file as its own.

/// In every namespace.
pub(crate) const EVERYWHERE: &[&str] = &[
    "reliablequeue.dev/reliablequeues: get list watch",
    "reliablequeue.dev/reliablequeues/status: get patch",
    "reliablequeue.dev/reliablequeues/finalizers: update",
    "reliablequeue.dev/queueshards: get list watch create update delete",
    "apps/statefulsets: get list watch create patch delete",
    "services: get list watch create patch",
    "serviceaccounts: get list watch create patch",
    "secrets: get create patch",
    "rbac.authorization.k8s.io/roles: get list watch create patch",
    "rbac.authorization.k8s.io/rolebindings: get list watch create patch",
    "policy/poddisruptionbudgets: get list watch create patch",
    "pods: get list watch patch delete",
    "persistentvolumeclaims: get list watch patch",
    "nodes: get list watch",
    "events.k8s.io/events: create patch",
];
/// In its own, besides.
pub(crate) const IN_ITS_NAMESPACE: &[&str] = &[
    "coordination.k8s.io/leases: create",
    "coordination.k8s.io/leases reliablequeue-operator: get watch update patch",
];
