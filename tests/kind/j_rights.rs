//! What the operator and a broker may do, as the API server sees it.

#[path = "../../operator/core/tests/chart/listed.rs"]
mod listed;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use self::listed::{EVERYWHERE, IN_ITS_NAMESPACE};
use crate::kubectl;
use crate::queue::{QUEUE, Queue};
use crate::scene::{Needs, OPERATOR, SYSTEM, play};

/// What every account of a cluster may: ask who it is and what it may.
const EVERYBODY: [&str; 2] = ["authorization.k8s.io/", "authentication.k8s.io/"];
const BROKER: &[&str] =
    &["reliablequeue.dev/queueshards orders: get watch update", "pods orders-0 orders-1: patch"];

#[test]
fn operator_and_brokers_may_do_this_and_no_more() -> Result<()> {
    play("j-rights", Needs::Cluster, |scene| {
        let queue = Queue::apply(scene, &json!({}))?;
        let here = scene.namespace.as_str();
        let operator = format!("system:serviceaccount:{SYSTEM}:{OPERATOR}");
        let at_home = [EVERYWHERE, IN_ITS_NAMESPACE].concat();
        no_more_than(&operator, SYSTEM, &at_home)?;
        no_more_than(&operator, here, EVERYWHERE)?;
        let broker = format!("system:serviceaccount:{here}:{QUEUE}");
        no_more_than(&broker, here, BROKER)?;
        no_more_than(&broker, SYSTEM, &[])?;
        // Nor has the pod of a broker another account.
        let accounts =
            queue.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].spec.serviceAccountName}"])?;
        ensure!(accounts.split(' ').all(|account| account == QUEUE), "accounts of the pods: {accounts}");
        Ok(())
    })
}

fn no_more_than(user: &str, namespace: &str, list: &[&str]) -> Result<()> {
    let listed: BTreeSet<String> = list.iter().map(|right| (*right).to_owned()).collect();
    let has = rights(user, namespace)?;
    let more: Vec<_> = has.difference(&listed).collect();
    let less: Vec<_> = listed.difference(&has).collect();
    ensure!(
        more.is_empty() && less.is_empty(),
        "{user} in {namespace}: may also {more:#?}, and not {less:#?}"
    );
    Ok(())
}

/// What a user may do in a namespace, one line for each resource of each rule.
fn rights(user: &str, namespace: &str) -> Result<BTreeSet<String>> {
    let question = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": { "namespace": namespace },
    });
    let groups =
        ["system:serviceaccounts", "system:authenticated"].map(|group| format!("--as-group={group}"));
    // Whoever asks may not read the schema of what it asks with.
    let arguments = ["create", "--validate=false", "-o", "json", "--as", user, &groups[0], &groups[1]];
    let answer: Value = serde_json::from_str(&kubectl::run_with(&arguments, &question)?)?;
    ensure!(answer["status"]["incomplete"] != true, "the API server does not know all rights: {answer}");
    let rules = answer["status"]["resourceRules"].as_array().context("no rules")?;
    let words = |rule: &Value, field: &str| -> Vec<String> {
        let list = rule[field].as_array().into_iter().flatten();
        list.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules {
        let names = [vec![String::new()], words(rule, "resourceNames")].concat().join(" ");
        for group in words(rule, "apiGroups") {
            let group = if group.is_empty() { group } else { format!("{group}/") };
            for resource in words(rule, "resources") {
                rights.insert(format!("{group}{resource}{names}: {}", words(rule, "verbs").join(" ")));
            }
        }
    }
    Ok(rights.into_iter().filter(|right| !EVERYBODY.iter().any(|prefix| right.starts_with(prefix))).collect())
}
