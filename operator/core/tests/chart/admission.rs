//! Who may write a `QueueShard`, and what: the policy of the chart and the rules of the CRD together, as an API server puts
//! them to each write.

use kube::CustomResourceExt as _;
use kube_cel::{AdmissionRequest, Validator, VapEvaluator, VapExpression};
use rq_operator_core::shard::QueueShard;
use serde_json::{Value, json};

use crate::writes::{A, B, C, illegal, in_sync, shard, with};
use crate::{OPERATOR, objects};

const BROKERS: &str = "system:serviceaccount:shop:orders";
const STRANGERS: [&str; 6] = [
    "kubernetes-admin",
    "system:serviceaccount:shop:default",
    "system:serviceaccount:shop:payments",
    "system:serviceaccount:other:orders",
    "system:serviceaccount:shop:reliablequeue-operator",
    "system:serviceaccount:kube-system:generic-garbage-collector",
];
fn promoted() -> Value {
    with(&json!({ "epoch": 4, "master": B, "inSync": [in_sync(B)] }))
}

struct Server {
    policy: Vec<VapExpression>,
    schema: Value,
}

impl Server {
    fn new() -> Self {
        let policy = objects("admission.yaml").remove(0);
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        let crd = serde_json::to_value(QueueShard::crd()).unwrap();
        Self {
            policy: serde_json::from_value(policy["spec"]["validations"].clone()).unwrap(),
            schema: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone(),
        }
    }

    fn write(&self, user: &str, old: Option<&Value>, new: Option<&Value>) -> Result<(), String> {
        let operation = match (old, new) {
            (None, _) => "CREATE",
            (Some(_), None) => "DELETE",
            (Some(_), Some(_)) => "UPDATE",
        };
        let mut policy = VapEvaluator::builder().request(AdmissionRequest {
            operation: operation.to_owned(),
            username: user.to_owned(),
            name: "orders".to_owned(),
            namespace: "shop".to_owned(),
            ..AdmissionRequest::default()
        });
        policy = if let Some(new) = new { policy.object(new.clone()) } else { policy };
        policy = if let Some(old) = old { policy.old_object(old.clone()) } else { policy };
        let refused = policy.build().evaluate(&self.policy).into_iter().find(|result| !result.passed);
        if let Some(refused) = refused {
            return Err(refused.message.unwrap());
        }
        let Some(new) = new else { return Ok(()) };
        Validator::new().validate(&self.schema, new, old).map_err(|errors| errors.to_string())
    }

    fn update(&self, user: &str, new: &Value) -> Result<(), String> {
        self.write(user, Some(&shard()), Some(new))
    }
}

#[test]
fn the_operator_and_the_brokers_of_the_queue_promote_shrink_and_enlarge() {
    let server = Server::new();
    let shrunk = with(&json!({ "inSync": [in_sync(A)] }));
    let enlarged = with(&json!({ "inSync": [in_sync(A), in_sync(B), in_sync(C)] }));
    for user in [OPERATOR, BROKERS] {
        for new in [promoted(), shrunk.clone(), enlarged.clone()] {
            server.update(user, &new).unwrap_or_else(|refused| panic!("{user}: {refused}"));
        }
    }
}

#[test]
fn nobody_else_writes_a_shard_whatever_the_write() {
    let server = Server::new();
    for user in STRANGERS {
        let refused = server.update(user, &promoted()).unwrap_err();
        assert!(refused.contains("use kubectl rq promote to change the master"), "{user}: {refused}");
    }
    let mut labelled = shard();
    labelled["metadata"]["labels"]["team"] = "a".into();
    server.update("kubernetes-admin", &labelled).unwrap();
}

#[test]
fn only_the_operator_creates_and_deletes() {
    let server = Server::new();
    let unformed = with(&json!({ "version": 0, "epoch": 0, "master": "", "inSync": [], "members": [] }));
    server.write(OPERATOR, None, Some(&unformed)).unwrap();
    server.write(OPERATOR, Some(&shard()), None).unwrap();
    for user in STRANGERS.into_iter().chain([BROKERS]) {
        let created = server.write(user, None, Some(&unformed)).unwrap_err();
        assert!(created.contains("apply a ReliableQueue, and it will"), "{user}: {created}");
        if !user.ends_with("garbage-collector") {
            let deleted = server.write(user, Some(&shard()), None).unwrap_err();
            assert!(deleted.contains("delete the ReliableQueue"), "{user}: {deleted}");
        }
    }
    // What goes with a namespace, or with an owner that the operator gave it.
    for user in ["namespace-controller", "generic-garbage-collector"] {
        server.write(&format!("system:serviceaccount:kube-system:{user}"), Some(&shard()), None).unwrap();
    }
    // One user is both where the controllers have no accounts of their own.
    server.write("system:kube-controller-manager", Some(&shard()), None).unwrap();
}

#[test]
fn a_loss_of_data_is_accepted_by_the_operator_alone() {
    let server = Server::new();
    let unclean = with(&json!({ "epoch": 4, "master": C, "inSync": [in_sync(C)], "uncleanEpoch": 4 }));
    server.update(OPERATOR, &unclean).unwrap();
    for user in [BROKERS, "kubernetes-admin"] {
        assert!(server.update(user, &unclean).is_err(), "{user}");
    }
    let refused = server.update(BROKERS, &unclean).unwrap_err();
    assert!(refused.contains("--accept-data-loss"), "{refused}");
}

#[test]
fn only_the_operator_and_the_collector_change_its_owner() {
    let server = Server::new();
    let mut owned = shard();
    owned["metadata"]["ownerReferences"] = json!([{ "kind": "ConfigMap", "name": "gone" }]);
    server.update(OPERATOR, &owned).unwrap();
    for user in [BROKERS, "kubernetes-admin"] {
        let refused = server.update(user, &owned).unwrap_err();
        assert!(refused.contains("only the operator changes the owner"), "{user}: {refused}");
    }
}

#[test]
fn no_writer_at_all_gets_past_the_rules_of_the_shard() {
    let server = Server::new();
    for (fields, told) in illegal() {
        let refused = server.update(OPERATOR, &with(&fields)).unwrap_err();
        assert!(refused.contains(told), "{fields}\n  should say {told:?}\n  says {refused:?}");
    }
}
