//! What the chart lets the operator do is what is listed.

use serde_json::Value;

use crate::listed::{EVERYWHERE, IN_ITS_NAMESPACE};
use crate::objects;

fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Every right of the roles of this kind, spelled as above.
fn rights(kind: &str) -> Vec<String> {
    let roles = objects("rbac.yaml").into_iter().filter(|object| object["kind"] == kind);
    let rules = roles.flat_map(|role| role["rules"].as_array().unwrap().clone());
    let mut rights = Vec::new();
    for rule in rules {
        for group in words(&rule["apiGroups"]) {
            let group = if group.is_empty() { group } else { format!("{group}/") };
            let names = [vec![String::new()], words(&rule["resourceNames"])].concat().join(" ");
            for resource in words(&rule["resources"]) {
                rights.push(format!("{group}{resource}{names}: {}", words(&rule["verbs"]).join(" ")));
            }
        }
    }
    rights
}

#[test]
fn the_operator_may_do_this_and_no_more() {
    assert_eq!(rights("ClusterRole"), EVERYWHERE);
    assert_eq!(rights("Role"), IN_ITS_NAMESPACE);
}

#[test]
fn no_right_is_a_wildcard_and_none_lets_it_raise_its_own() {
    for right in rights("ClusterRole").iter().chain(&rights("Role")) {
        for raising in ["*", "escalate", "bind", "impersonate", "pods/exec", "serviceaccounts/token"] {
            assert!(!right.split([' ', ':']).any(|word| word == raising), "{right}");
        }
    }
}
