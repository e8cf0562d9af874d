#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;

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

#[test]
fn another_setting_gives_another_revision_and_another_operator_does_not() {
    let revision = |queue: &ReliableQueue| {
        let template = Children::of(queue, "broker:1").stateful_set.spec.unwrap().template;
        template.metadata.unwrap().annotations.unwrap()[REVISION_ANNOTATION].clone()
    };
    let with =
        |value: &str| queue(&json!({ "storage": { "size": "10Gi" }, "config": { "max-body": value } }));
    assert_ne!(revision(&with("1MiB")), revision(&with("2MiB")));
    // Written down: a number that changes with a release would restart every broker of every queue.
    assert_eq!(revision(&minimal()), "00000000");
    let settings = Children::of(&with("1MiB"), "broker:1").config_map.data.unwrap();
    assert_eq!(settings, BTreeMap::from([("RQ_MAX_BODY".to_owned(), "1MiB".to_owned())]));
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
