//! The summary, the rest of the status, what stays at rest, and events.

use super::*;

#[test]
fn a_rollout_is_told_with_what_it_waits_for() {
    let told = |rollout: Rollout| status(&at_rest(2, &json!({})), &release(), &rollout);
    let rolling = told(Rollout::Rolling { pod: "orders-1".to_owned(), left: 2 });
    says(&rolling, UpToDate, ("False", Reason::Rolling), &["orders-1", "2 pods are"]);
    says(&rolling, Ready, ("False", Reason::Rolling), &["orders-1"]);
    let waiting = told(Rollout::Waiting { why: "orders-1 is not in sync".to_owned(), left: 1 });
    says(&waiting, UpToDate, ("False", Reason::Rolling), &["1 pod is", "orders-1 is not in sync"]);
    let failed =
        told(Rollout::Failed { pod: "orders-1".to_owned(), why: "it cannot get its image".to_owned() });
    says(&failed, UpToDate, ("False", Reason::RolloutFailed), &["cannot get its image", "put it back"]);
    let taken = told(Rollout::Taken(children::Taken("Service orders".to_owned())));
    says(&taken, UpToDate, ("False", Reason::NameTaken), &["Service orders", "rename or delete"]);
    let paused = told(Rollout::Paused { left: 2 });
    says(&paused, UpToDate, ("False", Reason::Paused), &["reconcile is Paused", "Active"]);
}

#[test]
fn ready_is_the_first_condition_that_fails_and_what_the_user_asked_for_does_not_count() {
    says(&looked(&at_rest(2, &json!({}))), Ready, ("True", Reason::AsExpected), &[]);
    says(&looked(&at_rest(1, &json!({}))), Ready, ("True", Reason::AsExpected), &[]);
    for failover in [json!({ "mode": "Manual" }), json!({ "brokerInitiated": "Disabled" })] {
        says(
            &looked(&at_rest(2, &json!({ "failover": failover }))),
            Ready,
            ("True", Reason::AsExpected),
            &[],
        );
    }
    let lost = master_lost(&json!({}), |_| {});
    says(&looked(&lost), Ready, ("False", Reason::NoMaster), &["orders-0"]);
    let mut silent = at_rest(2, &json!({}));
    silent.replicas[0].silent_since = Some(0);
    silent.pods[1].metadata.deletion_timestamp = Some(at(1));
    let both = looked(&silent);
    says(&both, WritesAvailable, ("Unknown", Reason::NoMaster), &[]);
    says(&both, Ready, ("False", Reason::MemberDown), &[]);
}

#[test]
fn the_status_names_pods_and_addresses_instead_of_stores() {
    let mut observed = at_rest(2, &json!({}));
    observed.queue.spec.flush_mode = FlushMode::Async;
    let status = looked(&observed);
    assert_eq!(status.observed_generation, Some(4));
    assert_eq!((status.replicas, status.ready_replicas, status.in_sync_replicas), (2, 2, 2));
    assert_eq!(status.copies.as_deref(), Some("2/2"));
    assert_eq!((status.master.as_deref(), status.epoch), (Some("orders-0"), Some(3)));
    assert_eq!(status.in_sync, ["orders-0", "orders-1"]);
    assert_eq!(status.flush_mode, Some(FlushMode::Sync), "it tells what is, not what is wanted");
    assert_eq!(status.image.as_deref(), Some("reliablequeue/broker:1"));
    assert_eq!(
        status.selector.as_deref(),
        Some("app.kubernetes.io/instance=orders,app.kubernetes.io/name=reliablequeue")
    );
    let endpoints = status.endpoints.unwrap();
    assert_eq!(endpoints.bootstrap, "orders.shop.svc:8081");
    assert_eq!(
        endpoints.replicas,
        ["orders-0.orders-pods.shop.svc:8081", "orders-1.orders-pods.shop.svc:8081"]
    );
    assert_eq!(looked(&master_lost(&json!({}), |_| {})).master, None);
}

#[track_caller]
fn stays(mut later: Observed) {
    let first = looked(&later);
    later.queue.status = Some(first.clone());
    later.now = at(2_000);
    later.now_ms += 100;
    assert_eq!(looked(&later), first);
    assert_eq!(events(Some(&first), &first), []);
}

#[test]
fn a_queue_at_rest_is_not_written_again_however_time_goes_on() {
    stays(at_rest(2, &json!({})));
    stays(slave_out(|_| {}));
    stays(master_lost(&json!({}), |_| {}));
}

#[test]
fn the_last_failover_is_kept_until_a_newer_one_is_seen() {
    let failover = |epoch: i64| LastFailover {
        epoch,
        from: None,
        to: "orders-1".to_owned(),
        cause: None,
        dead_at: None,
        decided_at: None,
        served_at: None,
    };
    let mut observed = at_rest(2, &json!({}));
    observed.queue.status =
        Some(ReliableQueueStatus { last_failover: Some(failover(3)), ..ReliableQueueStatus::default() });
    assert_eq!(looked(&observed).last_failover, Some(failover(3)), "a new operator has seen none");
    for (seen, expected) in [(2, 3), (3, 3), (4, 4)] {
        observed.failover = Some(failover(seen));
        assert_eq!(looked(&observed).last_failover, Some(failover(expected)), "{seen}");
    }
}

#[test]
fn a_change_is_told_once_by_its_cause_and_a_recovery_by_the_condition() {
    let well = looked(&at_rest(2, &json!({})));
    assert_eq!(events(None, &well), [], "that all is well from the start is no news");
    let lost = looked(&slave_out(|seen| drop(seen.pods.remove(1))));
    let told = |before: &ReliableQueueStatus, after: &ReliableQueueStatus| -> Vec<_> {
        events(Some(before), after).into_iter().map(|note| (note.warning, note.reason)).collect()
    };
    let expected =
        [(true, "MemberDown"), (true, "SingleInSync")].map(|(warning, reason)| (warning, reason.to_owned()));
    assert_eq!(told(&well, &lost), expected, "the summary repeats the first of them, and is not told again");
    let catching_up = looked(&slave_out(|_| {}));
    assert_eq!(told(&lost, &catching_up), [(false, "CatchingUp".to_owned())]);
    let expected = ["FullyReplicated", "FailoverReady", "Ready"].map(|reason| (false, reason.to_owned()));
    assert_eq!(told(&catching_up, &well), expected);
}
