//! What a broker may do: read and change the one configuration of its shard, and label its own kind of pods. Nothing else.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::ResourceExt as _;

use super::{metadata, shard_name};
use crate::queue::ReliableQueue;

pub(super) fn service_account(queue: &ReliableQueue) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(queue, shard_name(queue)),
        // The pods mount a token of their own, with a lifetime.
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

pub(super) fn role(queue: &ReliableQueue) -> Role {
    let pods = (0..queue.spec.replicas).map(|ordinal| format!("{}-{ordinal}", queue.name_any()));
    let rule = |group: &str, resource: &str, names: Vec<String>, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: Some(names),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    Role {
        metadata: metadata(queue, shard_name(queue)),
        rules: Some(vec![
            rule("reliablequeue.dev", "queueshards", vec![shard_name(queue)], &["get", "watch", "update"]),
            rule("", "pods", pods.collect(), &["patch"]),
        ]),
    }
}

pub(super) fn role_binding(queue: &ReliableQueue) -> RoleBinding {
    RoleBinding {
        metadata: metadata(queue, shard_name(queue)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: shard_name(queue),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: shard_name(queue),
            namespace: queue.namespace(),
            ..Subject::default()
        }]),
    }
}
