//! The conditions, one row a situation.

use super::*;

/// A situation, a condition, its status and reason, and words of its sentence.
type Row = (&'static str, Observed, ConditionType, (&'static str, Reason), &'static [&'static str]);

#[track_caller]
fn hold(rows: Vec<Row>) {
    for (situation, observed, type_, expected, words) in rows {
        eprintln!("{situation}");
        says(&looked(&observed), type_, expected, words);
    }
}

fn edited(mut observed: Observed, change: impl FnOnce(&mut Observed)) -> Observed {
    change(&mut observed);
    observed
}

fn pair() -> Observed {
    at_rest(2, json!({}))
}

#[test]
fn writes_are_available_while_a_master_serves_with_enough_copies_and_room() {
    let promoting = edited(pair(), |seen| {
        reshape(seen, |config| (config.master, config.epoch) = (store(1), Epoch(4)));
    });
    let unformed = edited(pair(), |seen| {
        seen.shard = Some(QueueShard::new("orders", QueueShardSpec::unformed()));
        told(seen, 0).serves = false;
        seen.pods.remove(1);
    });
    let silent = edited(pair(), |seen| seen.replicas[0].silent_since = Some(NOW_MS - 5_000));
    let hiccup = edited(pair(), |seen| seen.replicas[0].silent_since = Some(NOW_MS - 400));
    let cut_off = edited(silent.clone(), |seen| told(seen, 1).master_silent_since = Some(NOW_MS - 5_000));
    let stalled = master_lost(json!({}), |seen| seen.trouble = Some(Trouble::Stalled(Stalled::OnlyCopy)));
    let regressed = master_lost(json!({}), |seen| {
        seen.shard = None;
        seen.trouble = Some(Trouble::ConfigLost("orders-1".to_owned()));
    });
    let served_without_object = edited(pair(), |seen| {
        seen.shard = None;
        seen.trouble = Some(Trouble::ConfigLost("orders-1".to_owned()));
    });
    let manual = master_lost(json!({ "failover": { "mode": "Manual" } }), |_| {});
    let new_operator = edited(pair(), |seen| seen.replicas.clear());
    let starved = slave_out(|seen| {
        reshape(seen, |config| {
            config.in_sync.remove(&store(1));
            config.min_in_sync = 2;
        });
        seen.pods.remove(1);
    });
    hold(vec![
        ("at rest", pair(), WritesAvailable, ("True", Reason::AsExpected), &["orders-0 is master"]),
        ("a new operator", new_operator, WritesAvailable, ("True", Reason::AsExpected), &["orders-0"]),
        ("one lost probe", hiccup, WritesAvailable, ("True", Reason::AsExpected), &["orders-0"]),
        (
            "unreachable for the operator alone",
            silent,
            WritesAvailable,
            ("Unknown", Reason::NoMaster),
            &["slaves hear it", "worker-0"],
        ),
        (
            "unreachable for all",
            cut_off,
            WritesAvailable,
            ("False", Reason::NoMaster),
            &["does not answer", "takes over"],
        ),
        (
            "master lost",
            master_lost(json!({}), |_| {}),
            WritesAvailable,
            ("False", Reason::NoMaster),
            &["orders-0 has no pod yet", "takes over"],
        ),
        (
            "nobody to promote",
            stalled,
            WritesAvailable,
            ("False", Reason::NoMaster),
            &["only copy", "bring it back"],
        ),
        (
            "a human promotes",
            manual,
            WritesAvailable,
            ("False", Reason::NoMaster),
            &["kubectl rq promote orders POD"],
        ),
        (
            "another was appointed",
            promoting,
            WritesAvailable,
            ("False", Reason::Promoting),
            &["orders-1 is becoming master", "epoch 4"],
        ),
        ("never formed", unformed, WritesAvailable, ("False", Reason::Forming), &["orders-1 has no pod yet"]),
        (
            "minInSync",
            starved,
            WritesAvailable,
            ("False", Reason::NotEnoughInSync),
            &["1 of the 2", "minInSync", "orders-1 has no pod"],
        ),
        (
            "full",
            edited(pair(), |seen| told(seen, 0).accepts_messages = false),
            WritesAvailable,
            ("False", Reason::StorageFull),
            &["storage.size"],
        ),
        (
            "configuration lost, nobody serves",
            regressed,
            WritesAvailable,
            ("False", Reason::ConfigRegressed),
            &["configuration is gone"],
        ),
        (
            "configuration lost, master serves",
            served_without_object,
            WritesAvailable,
            ("True", Reason::AsExpected),
            &["orders-0"],
        ),
    ]);
}

#[test]
fn a_copy_that_is_missing_is_named_with_its_cause() {
    let down = |change: Value| slave_out(|seen| container(seen, 1, change));
    let deleting = slave_out(|seen| seen.pods[1].metadata.deletion_timestamp = Some(at(900)));
    let pull = json!({ "ready": false, "image": "broker:typo", "state": { "waiting": { "reason": "ImagePullBackOff" } } });
    let crash = json!({ "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": 1, "message": "{\"level\":\"INFO\"}\nrq-broker: the log is damaged: restore it" } } });
    let halted = slave_out(|seen| told(seen, 1).halted = true);
    let silent = slave_out(|seen| seen.replicas[1].silent_since = Some(0));
    let regressed = edited(pair(), |seen| {
        seen.shard = None;
        seen.trouble = Some(Trouble::ConfigLost("orders-1".to_owned()));
    });
    hold(vec![
        ("at rest", pair(), FullyReplicated, ("True", Reason::AsExpected), &["orders-0, orders-1"]),
        (
            "catching up",
            slave_out(|_| {}),
            FullyReplicated,
            ("False", Reason::CatchingUp),
            &["orders-1 is catching up"],
        ),
        (
            "no pod",
            slave_out(|seen| drop(seen.pods.remove(1))),
            FullyReplicated,
            ("False", Reason::MemberDown),
            &["orders-1 has no pod"],
        ),
        (
            "deleted",
            deleting,
            FullyReplicated,
            ("False", Reason::MemberTerminating),
            &["orders-1 is being deleted"],
        ),
        (
            "bad image",
            down(pull),
            FullyReplicated,
            ("False", Reason::MemberDown),
            &["cannot get its image broker:typo", "spec.image"],
        ),
        (
            "crash loop",
            down(crash),
            FullyReplicated,
            ("False", Reason::MemberDown),
            &["rq-broker: the log is damaged: restore it"],
        ),
        ("halted", halted, FullyReplicated, ("False", Reason::MemberDown), &["kubectl logs orders-1"]),
        ("silent", silent, FullyReplicated, ("False", Reason::MemberDown), &["does not answer", "worker-1"]),
        (
            "configuration lost",
            regressed,
            FullyReplicated,
            ("Unknown", Reason::ConfigRegressed),
            &["bring the configuration back"],
        ),
    ]);
}

#[test]
fn a_failover_that_would_not_go_by_itself_is_told_with_the_reason() {
    let disabled = at_rest(2, json!({ "failover": { "brokerInitiated": "Disabled" } }));
    let dead_slave = edited(pair(), |seen| {
        container(seen, 1, json!({ "ready": false, "state": { "terminated": { "exitCode": 137 } } }));
    });
    let old = edited(pair(), |seen| {
        let (name, promised, epoch) = ("orders-1".to_owned(), Epoch(9), Epoch(3));
        seen.trouble = Some(Trouble::ConfigOld { name, promised, epoch });
    });
    let stalled = master_lost(json!({}), |seen| seen.trouble = Some(Trouble::Stalled(Stalled::NoSlave)));
    let thin = edited(at_rest(2, json!({})), |seen| reshape(seen, |config| config.min_in_sync = 2));
    hold(vec![
        ("at rest", pair(), FailoverReady, ("True", Reason::AsExpected), &["orders-1 takes over"]),
        (
            "minInSync of all",
            thin,
            FailoverReady,
            ("True", Reason::AsExpected),
            &["producers are then refused until 2"],
        ),
        (
            "one replica",
            at_rest(1, json!({})),
            FailoverReady,
            ("False", Reason::SingleInSync),
            &["set replicas to 2"],
        ),
        (
            "one in sync",
            slave_out(|_| {}),
            FailoverReady,
            ("False", Reason::SingleInSync),
            &["orders-0 alone", "do not delete"],
        ),
        (
            "the slave in sync is down",
            dead_slave,
            FailoverReady,
            ("False", Reason::SingleInSync),
            &["orders-1 has ended"],
        ),
        (
            "manual",
            at_rest(2, json!({ "failover": { "mode": "Manual" } })),
            FailoverReady,
            ("False", Reason::Manual),
            &["kubectl rq promote orders"],
        ),
        (
            "operator only",
            disabled,
            FailoverReady,
            ("False", Reason::OperatorOnly),
            &["brokerInitiated is Disabled"],
        ),
        (
            "stalled",
            stalled,
            FailoverReady,
            ("False", Reason::FailoverStalled),
            &["no slave of the in-sync set answers"],
        ),
        ("etcd restored", old, FailoverReady, ("False", Reason::ConfigRegressed), &["promised epoch 9"]),
    ]);
}

#[test]
fn copies_that_share_a_node_or_a_zone_are_told_unless_nobody_minds() {
    let on_one_node = |spec: Value| {
        edited(at_rest(2, json!({ "scheduling": spec })), |seen| {
            seen.pods[1].spec.as_mut().unwrap().node_name = Some("worker-0".to_owned());
        })
    };
    let in_one_zone = |zone: Option<&str>| {
        edited(pair(), |seen| seen.nodes.values_mut().for_each(|node| node.zone = zone.map(str::to_owned)))
    };
    let homeless = edited(pair(), |seen| {
        let conditions = json!([{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available" }]);
        seen.pods[1].status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
    });
    hold(vec![
        ("at rest", pair(), TopologySatisfied, ("True", Reason::AsExpected), &[]),
        (
            "one node",
            on_one_node(json!({})),
            TopologySatisfied,
            ("False", Reason::SameHost),
            &["orders-0 and orders-1", "worker-0"],
        ),
        ("one node, preferred", on_one_node(json!({})), Ready, ("True", Reason::AsExpected), &[]),
        (
            "one node, required",
            on_one_node(json!({ "hostSpread": "Required" })),
            Ready,
            ("False", Reason::SameHost),
            &[],
        ),
        (
            "one node, nobody minds",
            on_one_node(json!({ "hostSpread": "None", "zoneSpread": "None" })),
            TopologySatisfied,
            ("True", Reason::AsExpected),
            &[],
        ),
        (
            "one zone",
            in_one_zone(Some("a")),
            TopologySatisfied,
            ("False", Reason::SameZone),
            &["the zone a", "zoneSpread"],
        ),
        ("no zones", in_one_zone(None), TopologySatisfied, ("True", Reason::AsExpected), &[]),
        (
            "no node",
            homeless,
            TopologySatisfied,
            ("False", Reason::Unschedulable),
            &["orders-1", "0/3 nodes"],
        ),
    ]);
}

#[test]
fn volumes_that_fill_up_or_do_not_grow_are_told() {
    let status = |ordinal: usize, status: Value| {
        edited(pair(), |seen| {
            seen.queue.spec.storage.size = "20Gi".into();
            for volume in &mut seen.volumes {
                volume.status.as_mut().unwrap().capacity =
                    serde_json::from_value(json!({ "storage": "21474836480" })).unwrap();
            }
            seen.volumes[ordinal].status = serde_json::from_value(status).unwrap();
        })
    };
    let growing =
        |condition: Value| status(1, json!({ "capacity": { "storage": "10Gi" }, "conditions": [condition] }));
    let nearly = edited(pair(), |seen| told(seen, 1).disk.free_bytes = 15);
    let full = edited(nearly.clone(), |seen| told(seen, 0).accepts_messages = false);
    let left_over = edited(pair(), |seen| {
        let mut volume = volume(4);
        volume.status.as_mut().unwrap().capacity =
            serde_json::from_value(json!({ "storage": "1Gi" })).unwrap();
        seen.volumes.push(volume);
    });
    let failed = json!({ "capacity": { "storage": "10Gi" }, "allocatedResourceStatuses": { "storage": "ControllerResizeInfeasible" } });
    let error = json!({ "type": "ControllerResizeError", "status": "True", "message": "quota exceeded" });
    hold(vec![
        ("at rest", pair(), StorageHealthy, ("True", Reason::AsExpected), &["10Gi"]),
        (
            "in bare bytes",
            status(1, json!({ "capacity": { "storage": "20Gi" } })),
            StorageHealthy,
            ("True", Reason::AsExpected),
            &[],
        ),
        ("of a replica that is no more", left_over, StorageHealthy, ("True", Reason::AsExpected), &[]),
        (
            "nearly full",
            nearly,
            StorageHealthy,
            ("False", Reason::NearFull),
            &["orders-1", "85 %", "storage.size"],
        ),
        ("full", full, StorageHealthy, ("False", Reason::Full), &["orders-1", "storage.size"]),
        (
            "smaller",
            status(1, json!({ "capacity": { "storage": "10Gi" } })),
            StorageHealthy,
            ("False", Reason::ResizePending),
            &["data-orders-1", "20Gi", "allowVolumeExpansion"],
        ),
        (
            "grows",
            growing(json!({ "type": "Resizing", "status": "True" })),
            StorageHealthy,
            ("False", Reason::ResizePending),
            &["making it larger"],
        ),
        (
            "waits for its pod",
            growing(json!({ "type": "FileSystemResizePending", "status": "True" })),
            StorageHealthy,
            ("False", Reason::ResizePending),
            &["when its pod is started"],
        ),
        (
            "refused",
            status(1, failed),
            StorageHealthy,
            ("False", Reason::ResizeFailed),
            &["data-orders-1", "kubectl describe pvc"],
        ),
        ("in error", growing(error), StorageHealthy, ("False", Reason::ResizeFailed), &["quota exceeded"]),
    ]);
}

#[test]
fn a_setting_that_brokers_refuse_is_told_in_their_words() {
    let crash = |key: &str, words: &str| {
        edited(at_rest(2, json!({ "config": { key: "9" } })), |seen| {
            let ended = json!({ "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 1, "message": words } } });
            container(seen, 1, ended);
        })
    };
    let unknown =
        "rq-broker: the environment variable RQ_MAX_BODIES is unknown: use RQ_MAX_BODY, or unset it\n";
    let range = "{\"level\":\"INFO\"}\nrq-broker: max-body is 9B: use 1KiB to 64MiB";
    let clap = "error: invalid value '9' for '--max-body <SIZE>': write a unit\n\nFor more information, try '--help'.";
    let elsewhere = "rq-broker: max-body-sum is 9";
    let recovered = edited(crash("max-body", range), |seen| {
        container(seen, 1, json!({ "ready": true, "state": { "running": {} } }));
    });
    let starting = edited(at_rest(2, json!({ "config": { "max-body": "1MiB" } })), |seen| {
        for ordinal in 0..2 {
            container(
                seen,
                ordinal,
                json!({ "ready": false, "state": { "waiting": { "reason": "ContainerCreating" } } }),
            );
        }
    });
    hold(vec![
        ("no settings", pair(), ConfigAccepted, ("True", Reason::AsExpected), &[]),
        (
            "unknown",
            crash("max-bodies", unknown),
            ConfigAccepted,
            ("False", Reason::UnknownKey),
            &["orders-1", "use RQ_MAX_BODY"],
        ),
        (
            "out of range",
            crash("max-body", range),
            ConfigAccepted,
            ("False", Reason::InvalidValue),
            &["use 1KiB to 64MiB"],
        ),
        (
            "unreadable",
            crash("max-body", clap),
            ConfigAccepted,
            ("False", Reason::InvalidValue),
            &["write a unit"],
        ),
        (
            "of something else",
            crash("max-body", elsewhere),
            ConfigAccepted,
            ("True", Reason::AsExpected),
            &[],
        ),
        ("corrected", recovered, ConfigAccepted, ("True", Reason::AsExpected), &["took"]),
        ("starting", starting, ConfigAccepted, ("Unknown", Reason::Forming), &[]),
    ]);
}
