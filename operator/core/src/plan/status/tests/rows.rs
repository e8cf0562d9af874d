//! The conditions, one row a situation.

use super::*;
use Reason::*;

type Expected = (&'static str, Reason);

const YES: Expected = ("True", AsExpected);

const fn no(reason: Reason) -> Expected {
    ("False", reason)
}

const fn unknown(reason: Reason) -> Expected {
    ("Unknown", reason)
}

/// A situation, a condition, what is seen, the condition's status and reason, and words of its sentence.
type Row = (&'static str, ConditionType, Observed, Expected, &'static str);

#[track_caller]
fn hold(rows: Vec<Row>) {
    for (situation, type_, observed, expected, words) in rows {
        eprintln!("{situation}");
        says(&looked(&observed), type_, expected, &words.split(" | ").collect::<Vec<_>>());
    }
}

fn edited(mut observed: Observed, change: impl FnOnce(&mut Observed)) -> Observed {
    change(&mut observed);
    observed
}

fn pair() -> Observed {
    at_rest(2, &json!({}))
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
    let stalled = master_lost(&json!({}), |seen| seen.trouble = Some(Trouble::Stalled(Stalled::OnlyCopy)));
    let manual = master_lost(&json!({ "failover": { "mode": "Manual" } }), |_| {});
    let new_operator = edited(pair(), |seen| seen.replicas.clear());
    let starved = slave_out(|seen| {
        reshape(seen, |config| {
            config.in_sync.remove(&store(1));
            config.min_in_sync = 2;
        });
        seen.pods.remove(1);
    });
    let emptied = edited(slave_out(|_| {}), |seen| {
        let told = told(seen, 0);
        (told.store, told.serves) = (store(9), false);
    });
    let copies = super::super::status(&emptied, &release(), &Rollout::UpToDate);
    assert_eq!((copies.master, copies.in_sync), (None, Vec::new()), "an empty volume holds nothing");
    hold(vec![
        ("at rest", WritesAvailable, pair(), YES, "orders-0 is master"),
        ("the master's volume is new", WritesAvailable, emptied, no(NoMaster), "orders-0 has another volume"),
        ("a new operator", WritesAvailable, new_operator, YES, "orders-0"),
        ("one lost probe", WritesAvailable, hiccup, YES, "orders-0"),
        (
            "unreachable for the operator alone",
            WritesAvailable,
            silent,
            unknown(NoMaster),
            "slaves hear it | worker-0",
        ),
        ("unreachable for all", WritesAvailable, cut_off, no(NoMaster), "does not answer | takes over"),
        (
            "master lost",
            WritesAvailable,
            master_lost(&json!({}), |_| {}),
            no(NoMaster),
            "orders-0 has no pod yet | takes over",
        ),
        (
            "nobody to promote",
            WritesAvailable,
            stalled,
            no(NoMaster),
            "only copy | bring it back | kubectl rq promote orders POD --accept-data-loss 0@3",
        ),
        ("a human promotes", WritesAvailable, manual, no(NoMaster), "failover.mode to Automatic"),
        (
            "another was appointed",
            WritesAvailable,
            promoting,
            no(Promoting),
            "orders-1 is becoming master | epoch 4",
        ),
        ("never formed", WritesAvailable, unformed, no(Forming), "orders-1 has no pod yet"),
        (
            "minInSync",
            WritesAvailable,
            starved,
            no(NotEnoughInSync),
            "1 of the 2 | minInSync | orders-1 has no pod",
        ),
        (
            "full",
            WritesAvailable,
            edited(pair(), |seen| told(seen, 0).accepts_messages = false),
            no(StorageFull),
            "storage.size",
        ),
    ]);
}

#[test]
fn a_configuration_that_is_lost_or_old_is_told_and_stops_nobody_who_serves() {
    let regressed = master_lost(&json!({}), |seen| {
        seen.shard = None;
        seen.trouble = Some(Trouble::ConfigLost("orders-1".to_owned()));
    });
    let served_without_object = edited(pair(), |seen| {
        seen.shard = None;
        seen.trouble = Some(Trouble::ConfigLost("orders-1".to_owned()));
    });
    let waits = edited(served_without_object.clone(), |seen| {
        let config = pair().shard.unwrap().spec.config().unwrap();
        told(seen, 0).config = config;
        // Its volume is lost.
        told(seen, 1).store = store(9);
    });
    let old = edited(pair(), |seen| {
        let (name, promised, epoch) = ("orders-1".to_owned(), Epoch(9), Epoch(3));
        seen.trouble = Some(Trouble::ConfigOld { name, promised, epoch });
    });
    hold(vec![
        (
            "configuration lost, nobody serves",
            WritesAvailable,
            regressed.clone(),
            no(ConfigRegressed),
            "configuration is gone",
        ),
        ("configuration lost, master serves", WritesAvailable, served_without_object, YES, "orders-0"),
        (
            "configuration lost, and a volume",
            WritesAvailable,
            waits,
            no(ConfigRegressed),
            "waits for orders-1 | kubectl rq promote orders orders-0 --accept-data-loss",
        ),
        (
            "nobody can tell",
            FullyReplicated,
            regressed,
            unknown(ConfigRegressed),
            "bring the configuration back",
        ),
        ("etcd restored", FailoverReady, old.clone(), no(ConfigRegressed), "promised epoch 9"),
        ("etcd restored, master serves", WritesAvailable, old, YES, "orders-0"),
    ]);
}

#[test]
fn a_copy_that_is_missing_is_named_with_its_cause() {
    let down = |change: &Value| slave_out(|seen| container(seen, 1, change));
    let deleting = slave_out(|seen| seen.pods[1].metadata.deletion_timestamp = Some(at(900)));
    let pull = json!({ "ready": false, "image": "broker:typo", "state": { "waiting": { "reason": "ImagePullBackOff" } } });
    let crash = json!({ "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": 1, "message": "{\"level\":\"INFO\"}\nrq-broker: the log is damaged: restore it" } } });
    let halted = slave_out(|seen| told(seen, 1).halted = true);
    let silent = slave_out(|seen| seen.replicas[1].silent_since = Some(0));
    hold(vec![
        ("at rest", FullyReplicated, pair(), YES, "orders-0, orders-1"),
        ("catching up", FullyReplicated, slave_out(|_| {}), no(CatchingUp), "orders-1 is catching up"),
        (
            "no pod",
            FullyReplicated,
            slave_out(|seen| drop(seen.pods.remove(1))),
            no(MemberDown),
            "orders-1 has no pod",
        ),
        ("deleted", FullyReplicated, deleting, no(MemberTerminating), "orders-1 is being deleted"),
        (
            "bad image",
            FullyReplicated,
            down(&pull),
            no(MemberDown),
            "cannot get its image broker:typo | spec.image",
        ),
        (
            "crash loop",
            FullyReplicated,
            down(&crash),
            no(MemberDown),
            "rq-broker: the log is damaged: restore it",
        ),
        ("halted", FullyReplicated, halted, no(MemberDown), "kubectl logs orders-1"),
        ("silent", FullyReplicated, silent, no(MemberDown), "does not answer | worker-1"),
    ]);
}

#[test]
fn a_failover_that_would_not_go_by_itself_is_told_with_the_reason() {
    let disabled = at_rest(2, &json!({ "failover": { "brokerInitiated": "Disabled" } }));
    let dead_slave = edited(pair(), |seen| {
        container(seen, 1, &json!({ "ready": false, "state": { "terminated": { "exitCode": 137 } } }));
    });
    let stalled = master_lost(&json!({}), |seen| seen.trouble = Some(Trouble::Stalled(Stalled::NoSlave)));
    let thin = edited(at_rest(2, &json!({})), |seen| reshape(seen, |config| config.min_in_sync = 2));
    let not_rolled_out = edited(at_rest(2, &json!({ "failover": { "mode": "Manual" } })), |seen| {
        let broker = json!({ "name": "broker", "env": [{ "name": "RQ_SELF_PROMOTION", "value": "true" }] });
        seen.pods[0].spec = serde_json::from_value(json!({ "containers": [broker] })).unwrap();
    });
    hold(vec![
        ("at rest", FailoverReady, pair(), YES, "orders-1 takes over"),
        ("minInSync of all", FailoverReady, thin, YES, "producers are then refused until 2"),
        ("one replica", FailoverReady, at_rest(1, &json!({})), no(SingleInSync), "set replicas to 2"),
        ("one in sync", FailoverReady, slave_out(|_| {}), no(SingleInSync), "orders-0 alone | do not delete"),
        ("the slave in sync is down", FailoverReady, dead_slave, no(SingleInSync), "orders-1 has ended"),
        (
            "manual",
            FailoverReady,
            at_rest(2, &json!({ "failover": { "mode": "Manual" } })),
            no(Manual),
            "sets it to Automatic",
        ),
        (
            "manual, and not rolled out yet",
            FailoverReady,
            not_rolled_out,
            no(Manual),
            "orders-0 may still promote themselves until their pods are replaced",
        ),
        ("operator only", FailoverReady, disabled, no(OperatorOnly), "brokerInitiated is Disabled"),
        ("stalled", FailoverReady, stalled, no(FailoverStalled), "no slave of the in-sync set answers"),
    ]);
}

#[test]
fn copies_that_share_a_node_or_a_zone_are_told_unless_nobody_minds() {
    let on_one_node = |spec: Value| {
        edited(at_rest(2, &json!({ "scheduling": spec })), |seen| {
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
        ("at rest", TopologySatisfied, pair(), YES, ""),
        (
            "one node",
            TopologySatisfied,
            on_one_node(json!({})),
            no(SameHost),
            "orders-0 and orders-1 | worker-0",
        ),
        ("one node, preferred", Ready, on_one_node(json!({})), YES, ""),
        ("one node, required", Ready, on_one_node(json!({ "hostSpread": "Required" })), no(SameHost), ""),
        (
            "one node, nobody minds",
            TopologySatisfied,
            on_one_node(json!({ "hostSpread": "None", "zoneSpread": "None" })),
            YES,
            "",
        ),
        ("one zone", TopologySatisfied, in_one_zone(Some("a")), no(SameZone), "the zone a | zoneSpread"),
        ("no zones", TopologySatisfied, in_one_zone(None), YES, ""),
        ("no node", TopologySatisfied, homeless, no(Unschedulable), "orders-1 | 0/3 nodes"),
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
        ("at rest", StorageHealthy, pair(), YES, "10Gi"),
        ("in bare bytes", StorageHealthy, status(1, json!({ "capacity": { "storage": "20Gi" } })), YES, ""),
        ("of a replica that is no more", StorageHealthy, left_over, YES, ""),
        ("nearly full", StorageHealthy, nearly, no(NearFull), "orders-1 | 85 % | storage.size"),
        ("full", StorageHealthy, full, no(Full), "orders-1 | storage.size"),
        (
            "smaller",
            StorageHealthy,
            status(1, json!({ "capacity": { "storage": "10Gi" } })),
            no(ResizePending),
            "data-orders-1 | 20Gi | allowVolumeExpansion",
        ),
        (
            "grows",
            StorageHealthy,
            growing(json!({ "type": "Resizing", "status": "True" })),
            no(ResizePending),
            "making it larger",
        ),
        (
            "waits for its pod",
            StorageHealthy,
            growing(json!({ "type": "FileSystemResizePending", "status": "True" })),
            no(ResizePending),
            "when its pod is started",
        ),
        (
            "refused",
            StorageHealthy,
            status(1, failed),
            no(ResizeFailed),
            "data-orders-1 | kubectl describe pvc",
        ),
        ("in error", StorageHealthy, growing(error), no(ResizeFailed), "quota exceeded"),
    ]);
}

#[test]
fn an_authority_is_told_of_half_a_year_before_it_ends_and_is_no_reason_not_to_be_ready() {
    let none = edited(pair(), |seen| seen.certificate = None);
    let ends = |day| edited(pair(), |seen| seen.certificate.as_mut().unwrap().authority_ends = at(day * DAY));
    let told = "1970-06-29 | delete the Secrets orders-authority and orders-certificate";
    hold(vec![
        ("new", CertificateHealthy, none, unknown(Forming), ""),
        ("long before the end", CertificateHealthy, ends(181), YES, "by itself"),
        ("near the end", CertificateHealthy, ends(179), no(AuthorityEnds), told),
        ("and ready", Ready, ends(179), YES, ""),
    ]);
}

#[test]
fn a_setting_that_brokers_refuse_is_told_in_their_words() {
    let crash = |key: &str, words: &str| {
        edited(at_rest(2, &json!({ "config": { key: "9" } })), |seen| {
            started_with(seen, key, "9");
            let ended = json!({ "ready": false, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 1, "message": words } } });
            container(seen, 1, &ended);
        })
    };
    let misspelt =
        "rq-broker: the environment variable RQ_MAX_BODIES is unknown: use RQ_MAX_BODY, or unset it\n";
    let range = "{\"level\":\"INFO\"}\nrq-broker: max-body is 9B: use 1KiB to 64MiB";
    let clap = "error: invalid value '9' for '--max-body <SIZE>': write a unit\n\nFor more information, try '--help'.";
    let elsewhere = "rq-broker: max-body-sum is 9";
    let recovered = edited(crash("max-body", range), |seen| {
        container(seen, 1, &json!({ "ready": true, "state": { "running": {} } }));
    });
    let starting = edited(at_rest(2, &json!({ "config": { "max-body": "1MiB" } })), |seen| {
        for ordinal in 0..2 {
            container(
                seen,
                ordinal,
                &json!({ "ready": false, "state": { "waiting": { "reason": "ContainerCreating" } } }),
            );
        }
    });
    let older = edited(at_rest(2, &json!({ "config": { "max-body": "1MiB" } })), |seen| {
        started_with(seen, "max-body", "2MiB");
    });
    hold(vec![
        ("no settings", ConfigAccepted, pair(), YES, ""),
        (
            "unknown",
            ConfigAccepted,
            crash("max-bodies", misspelt),
            no(UnknownKey),
            "orders-1 | use RQ_MAX_BODY",
        ),
        ("out of range", ConfigAccepted, crash("max-body", range), no(InvalidValue), "use 1KiB to 64MiB"),
        ("unreadable", ConfigAccepted, crash("max-body", clap), no(InvalidValue), "write a unit"),
        ("of something else", ConfigAccepted, crash("max-body", elsewhere), YES, ""),
        ("corrected", ConfigAccepted, recovered, YES, "took"),
        (
            "started with older settings",
            ConfigAccepted,
            older,
            unknown(Forming),
            "no broker has started with",
        ),
        ("starting", ConfigAccepted, starting, unknown(Forming), ""),
    ]);
}
