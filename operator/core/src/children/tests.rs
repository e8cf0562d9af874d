#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;
use crate::queue::SET_BY_OPERATOR;

fn queue(spec: &serde_json::Value) -> ReliableQueue {
    let object = json!({
        "apiVersion": "reliablequeue.dev/v1alpha1",
        "kind": "ReliableQueue",
        "metadata": { "name": "orders", "namespace": "shop", "uid": "7" },
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn minimal() -> ReliableQueue {
    queue(&json!({ "storage": { "size": "10Gi" } }))
}

#[test]
fn pods_start_together_and_only_the_operator_replaces_them() {
    let spec = Children::of(&minimal(), "broker:1").stateful_set.spec.unwrap();
    assert_eq!(spec.replicas, Some(2));
    assert_eq!(spec.pod_management_policy.as_deref(), Some("Parallel"));
    assert_eq!(spec.update_strategy.unwrap().type_.as_deref(), Some("OnDelete"));
}

#[test]
fn a_broker_runs_as_restricted_pod_security_demands() {
    let children = Children::of(&minimal(), "broker:1");
    let pod = children.stateful_set.spec.unwrap().template.spec.unwrap();
    let of_pod = pod.security_context.unwrap();
    assert_eq!(
        (of_pod.run_as_non_root, of_pod.seccomp_profile.unwrap().type_.as_str()),
        (Some(true), "RuntimeDefault")
    );
    let [broker] = pod.containers.as_slice() else { panic!("one container") };
    let of_container = broker.security_context.clone().unwrap();
    assert_eq!(of_container.allow_privilege_escalation, Some(false));
    assert_eq!(of_container.capabilities.unwrap().drop.unwrap(), ["ALL"]);
    assert_eq!(of_container.read_only_root_filesystem, Some(true));
    assert!(pod.volumes.unwrap().iter().all(|volume| volume.host_path.is_none()));
}

#[test]
fn a_broker_may_change_its_own_configuration_and_label_its_own_pods_and_nothing_else() {
    let rules = Children::of(&minimal(), "broker:1").role.rules.unwrap();
    let told: Vec<_> = rules
        .into_iter()
        .map(|rule| (rule.resources.unwrap(), rule.resource_names.unwrap(), rule.verbs))
        .collect();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            (words(&["queueshards"]), words(&["orders"]), words(&["get", "watch", "update"])),
            (words(&["pods"]), words(&["orders-0", "orders-1"]), words(&["patch"])),
        ]
    );
}

/// The variables of a broker of this queue, by name, in their order.
fn variables(queue: &ReliableQueue) -> Vec<(String, String)> {
    let template = Children::of(queue, "broker:1").stateful_set.spec.unwrap().template;
    let env = template.spec.unwrap().containers.remove(0).env.unwrap();
    env.into_iter().map(|variable| (variable.name, variable.value.unwrap_or_default())).collect()
}

#[test]
fn the_pods_template_carries_the_settings_after_those_of_the_operator_and_in_one_order() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let with = queue(&json!({
        "storage": { "size": "10Gi" },
        "config": { "max-body": "1MiB", "log": "info,x=$(HOME)", "auto-create": "true" },
        "scheduling": { "podTemplate": { "env": [{ "name": "A", "value": "$(POD_IP)" }] } },
    }));
    let operators = variables(&minimal());
    let of_user = [
        pair("RQ_AUTO_CREATE", "true"),
        pair("RQ_LOG", "info,x=$$(HOME)"),
        pair("RQ_MAX_BODY", "1MiB"),
        pair("A", "$(POD_IP)"),
    ];
    assert_eq!(variables(&with), [&operators[..], &of_user].concat());
}

#[test]
fn what_the_operator_sets_is_no_setting_of_the_user() {
    let options = variables(&minimal()).into_iter().map(|(name, _)| name);
    for variable in options.filter(|name| name.starts_with("RQ_")) {
        let is_refused = SET_BY_OPERATOR.iter().any(|key| environment::variable(key) == variable);
        assert!(is_refused, "spec.config may hold {variable}, which the operator sets");
    }
    // Stored by a release that did not refuse it yet.
    let old = queue(&json!({ "storage": { "size": "10Gi" }, "config": { "log-format": "text" } }));
    assert_eq!(variables(&old), variables(&minimal()), "no variable is there twice");
}

#[test]
fn a_release_that_changes_the_template_of_an_unchanged_spec_is_noticed() {
    let template = Children::of(&minimal(), "broker:1").stateful_set.spec.unwrap().template;
    let number = rq_core::hash::crc32c(serde_json::to_string(&template).unwrap().as_bytes());
    // Written down: another template replaces every pod of every queue when the operator is upgraded.
    assert_eq!(format!("{number:08x}"), "793a82ca");
}

#[test]
fn the_queue_owns_what_holds_no_data() {
    let children = Children::of(&minimal(), "broker:1");
    for metadata in [&children.stateful_set.metadata, &children.service.metadata, &children.role.metadata] {
        let [owner] = metadata.owner_references.as_deref().unwrap() else { panic!("one owner") };
        assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("ReliableQueue", "orders"));
    }
    let claims = children.stateful_set.spec.unwrap().volume_claim_templates.unwrap();
    assert!(claims[0].metadata.owner_references.is_none());
}

#[test]
fn a_broker_knows_where_its_peers_find_it_and_by_which_name_it_is_known() {
    let spec = json!({
        "storage": { "size": "10Gi" },
        "replication": { "rejoinLag": "1Mi" },
        "failover": { "mode": "Manual" },
    });
    let children = Children::of(&queue(&spec), "broker:1");
    let template = children.stateful_set.spec.unwrap().template;
    let pod = template.spec.unwrap();
    let env = pod.containers[0].env.clone().unwrap();
    let at = |name: &str| env.iter().position(|variable| variable.name == name).unwrap();
    let value = |name: &str| env[at(name)].value.clone().unwrap();
    assert_eq!(value("RQ_ADVERTISE"), "$(POD_IP):8083");
    assert!(at("POD_IP") < at("RQ_ADVERTISE"), "a variable is made from those before it");
    assert_eq!(value("RQ_PEER_TLS_NAME"), "orders.shop.reliablequeue.internal");
    assert_eq!((value("RQ_REJOIN_LAG"), value("RQ_ACK_TIMEOUT")), ("1048576".to_owned(), "3s".to_owned()));
    assert_eq!(value("RQ_SELF_PROMOTION"), "false");
    let volumes = pod.volumes.unwrap();
    let secret = volumes.iter().find_map(|volume| volume.secret.as_ref()).unwrap();
    assert_eq!(secret.secret_name.as_deref(), Some("orders-certificate"));
    let mounts = pod.containers[0].volume_mounts.clone().unwrap();
    assert!(mounts.iter().any(|mount| mount.mount_path == "/certificate" && mount.read_only == Some(true)));
    let ports = children.pod_service.spec.unwrap().ports.unwrap();
    assert!(ports.iter().any(|port| port.name.as_deref() == Some("peers") && port.port == 8083));
}
