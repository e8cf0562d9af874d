//! What cannot work is refused by the rules of the CRD, with a sentence that says what to change.

use serde_json::json;

use crate::schema::Crd;
use crate::table::{Refused, changed, table};

#[test]
fn what_cannot_work_is_refused_and_the_user_told_what_to_change() {
    let crd = Crd::new();
    let table = table();
    assert!(table.len() >= 40, "{}", table.len());
    for Refused { old, new, told } in table {
        let put = match &old {
            Some(old) => crd.update(&changed(old), &changed(&new)),
            None => crd.create(&changed(&new)),
        };
        let refused = put.err().unwrap_or_else(|| panic!("{old:?} -> {new} was taken"));
        // Where the API server repeats path and value, the test's schema does not.
        let told = told.rsplit(" in body ").next().unwrap();
        assert!(refused.contains(told), "{new}\n  should say {told:?}\n  says {refused:?}");
    }
}

#[test]
fn what_can_be_changed_in_a_running_queue_is_taken() {
    let crd = Crd::new();
    let bigger = json!({ "spec": { "storage": { "size": "20Gi", "onDelete": "Delete" } } });
    let flush = json!({ "spec": { "flushMode": "Async", "flushInterval": "1s" } });
    let copies = json!({ "spec": { "replicas": 5, "replication": { "minInSync": 3, "ackTimeout": "1m" } } });
    let paused = json!({ "spec": { "reconcile": "Paused", "failover": { "mode": "Manual" } } });
    let extras =
        json!({ "spec": { "config": { "max-body": "8MiB" }, "image": "reliablequeue/broker:0.1.0" } });
    for new in [bigger, flush, copies, paused, extras] {
        crd.update(&changed(&json!({})), &changed(&new)).unwrap();
    }
}
