#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;
use crate::children::Children;
use crate::plan::tests::scene;

#[test]
fn what_the_api_server_filled_in_is_no_difference() {
    let children =
        Children::of(&scene::queue(&json!({ "resources": { "limits": { "cpu": "1000m" } } })), "b:1");
    let wanted = serde_json::to_value(&children.stateful_set).unwrap();
    let mut there = wanted.clone();
    there["metadata"]["uid"] = json!("1");
    there["metadata"]["labels"]["team"] = json!("a");
    there["metadata"]["managedFields"] = json!([{ "manager": "rq" }]);
    there["status"] = json!({ "replicas": 2 });
    let spec = &mut there["spec"];
    spec["revisionHistoryLimit"] = json!(10);
    spec["volumeClaimTemplates"][0]["spec"]["volumeMode"] = json!("Filesystem");
    let pod = &mut spec["template"]["spec"];
    pod["dnsPolicy"] = json!("ClusterFirst");
    pod["containers"][0]["resources"]["limits"]["cpu"] = json!("1");
    pod["containers"][0]["readinessProbe"]["successThreshold"] = json!(1);
    pod["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = json!("v1");
    pod["volumes"][0]["projected"]["defaultMode"] = json!(420);
    assert!(!differs(&wanted, &there));

    let wanted = serde_json::to_value(&children.service).unwrap();
    let mut there = wanted.clone();
    there["spec"]["clusterIP"] = json!("10.96.0.1");
    there["spec"]["clusterIPs"] = json!(["10.96.0.1"]);
    there["spec"]["ports"][0]["protocol"] = json!("TCP");
    assert!(!differs(&wanted, &there));

    let wanted = serde_json::to_value(&children.role).unwrap();
    let mut there = wanted.clone();
    there["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(!differs(&wanted, &there));
}

#[test]
fn what_was_asked_for_and_is_not_there_is_a_difference() {
    let cases = [
        (json!({ "a": 1 }), json!({ "a": 2 })),
        (json!({ "a": 1 }), json!({})),
        (json!({ "a": [1, 2] }), json!({ "a": [1] })),
        (json!({ "a": [1] }), json!({ "a": [1, 2] })),
        (json!({ "a": [{ "b": 1 }] }), json!({ "a": [{ "b": 2, "c": 3 }] })),
        (json!({ "limits": { "cpu": "1" } }), json!({ "limits": { "cpu": "2" } })),
        (json!({ "limits": { "cpu": "1" } }), json!({ "limits": {} })),
        (json!({ "limits": { "cpu": "1" } }), json!({})),
        (json!({ "labels": { "a": "1" } }), json!({ "labels": { "b": "1" } })),
    ];
    for (wanted, there) in cases {
        assert!(differs(&wanted, &there), "{wanted} {there}");
    }
    assert!(
        !differs(&json!({ "annotations": {}, "list": [], "flag": null }), &json!({})),
        "what is empty is left out"
    );
}
