//! The rules of replacing pods.

use rq_core::config::{Change, next};
use rq_core::ids::Epoch;
use serde_json::json;

use super::scene::{self, NOW, SESSION, at_rest, config, pod, seen, store, time, waiting, write};
use super::words;
use crate::observed::{NodeSeen, Observed};
use crate::plan::view::View;
use crate::plan::{Release, Rollout, rollout};

/// What is done to a replica, or to what is known of it.
type Unwell = fn(&mut Observed);

pub(super) fn of(observed: &Observed) -> Rollout {
    let release = Release { broker_image: "broker:1".to_owned() };
    rollout::next(&View::of(observed, &release), None).0
}

/// Three replicas of which these are of the old revision.
pub(super) fn outdated(ordinals: &[u32]) -> Observed {
    let mut observed = at_rest(&json!({ "replicas": 3 }));
    for ordinal in ordinals {
        observed.pods[*ordinal as usize] = pod(*ordinal, "old");
    }
    observed
}

#[test]
fn slaves_are_replaced_first_and_the_master_last_after_it_handed_over() {
    assert_eq!(words(&outdated(&[0, 1, 2])), ["delete orders-2"]);
    assert_eq!(words(&outdated(&[0, 1])), ["delete orders-1"]);
    assert_eq!(words(&outdated(&[0])), ["hand over to 2"]);
    let mut cordoned = outdated(&[0]);
    let on_worker_1 = serde_json::from_value(json!({ "nodeName": "worker-1", "containers": [] }));
    cordoned.pods[1].spec = Some(on_worker_1.unwrap());
    cordoned.nodes.insert("worker-1".to_owned(), NodeSeen { unschedulable: true, ..NodeSeen::default() });
    assert_eq!(words(&cordoned), ["hand over to 3"], "the node of the other is about to be emptied");
    let mut handed = outdated(&[0]);
    let promote = Change::Promote { to: store(1), session: SESSION, keep: vec![store(0), store(2)] };
    let led = next(&config(3, 2), &promote).unwrap();
    write(&mut handed, &led);
    handed.replicas = (0..3).map(|ordinal| seen(ordinal, &led)).collect();
    assert_eq!(words(&handed), ["delete orders-0"]);
    assert_eq!(of(&outdated(&[])), Rollout::UpToDate);
}

#[test]
fn no_pod_is_taken_away_while_another_is_not_well() {
    let cases: [(&str, Unwell); 7] = [
        ("missing", |seen| drop(seen.pods.remove(1))),
        ("terminating", |seen| seen.pods[1].metadata.deletion_timestamp = Some(time(NOW))),
        ("not ready", |seen| seen.pods[1].status = None),
        ("silent", |seen| seen.replicas[1].silent_since = Some(1)),
        ("behind", |seen| seen.replicas[1].told.as_mut().unwrap().config_version = 1),
        ("master not serving", |seen| seen.replicas[0].told.as_mut().unwrap().serves = false),
        ("out of the set", |seen| {
            let by = (store(0), Epoch(1));
            let shrunk = next(&config(3, 2), &Change::Shrink { by, remove: store(1) }).unwrap();
            write(seen, &shrunk);
            seen.replicas = (0..3).map(|ordinal| scene::seen(ordinal, &shrunk)).collect();
        }),
    ];
    for (what, change) in cases {
        let mut observed = outdated(&[0, 2]);
        change(&mut observed);
        assert_eq!(words(&observed), [""; 0], "{what}");
        let rollout = of(&observed);
        assert!(
            matches!(rollout, Rollout::Rolling { left: 2, .. } | Rollout::Waiting { left: 2, .. }),
            "{rollout:?}"
        );
    }
}

#[test]
fn a_new_pod_that_does_not_come_up_stops_the_rollout_and_a_spec_put_right_heals_it() {
    let mut observed = outdated(&[0, 1]);
    waiting(&mut observed.pods[2], "ImagePullBackOff");
    observed.replicas[2].running = false;
    assert_eq!(words(&observed), [""; 0]);
    let why = "ImagePullBackOff: in its words".to_owned();
    assert_eq!(of(&observed), Rollout::Failed { pod: "orders-2".to_owned(), why });
    // The old revision is wanted again: what came up by the other one is of no use.
    for (ordinal, revision) in [(0, "new"), (1, "new"), (2, "old")] {
        let labels = observed.pods[ordinal].metadata.labels.as_mut().unwrap();
        labels.insert("controller-revision-hash".to_owned(), revision.to_owned());
    }
    assert_eq!(words(&observed), ["delete orders-2"]);
}

#[test]
fn a_new_pod_has_five_minutes() {
    let mut observed = outdated(&[0, 1]);
    observed.pods[2].status = None;
    observed.pods[2].metadata.creation_timestamp = Some(time(NOW - 299));
    assert_eq!(of(&observed), Rollout::Rolling { pod: "orders-2".to_owned(), left: 2 });
    observed.pods[2].metadata.creation_timestamp = Some(time(NOW - 300));
    assert!(matches!(of(&observed), Rollout::Failed { .. }));
}

#[test]
fn the_only_replica_is_just_replaced() {
    let mut observed = at_rest(&json!({ "replicas": 1 }));
    observed.pods[0] = pod(0, "old");
    assert_eq!(words(&observed), ["delete orders-0"]);
}

#[test]
fn nothing_is_replaced_before_the_controller_has_looked_at_the_template() {
    let mut observed = outdated(&[0, 1, 2]);
    observed.existing.stateful_set.as_mut().unwrap().metadata.generation = Some(2);
    assert_eq!(words(&observed), [""; 0]);
}
