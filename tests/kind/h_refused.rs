//! What a real API server refuses: the same rows, and the same verdicts, as the rules have in the tests of `operator/core`.
//! Everything is asked with `--dry-run=server` but what stands in the cluster before a change.

#[path = "../../operator/core/tests/transitions/rows.rs"]
mod rows;
#[path = "../../operator/core/tests/queues/table.rs"]
mod table;
#[path = "../../operator/core/tests/chart/writes.rs"]
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Result, ensure};
use rq_core::config::{self, Config, FlushMode};
use serde_json::{Value, json};

use self::rows::{every_change, small_pairs};
use self::table::{Refused, changed, table};
use self::writes::{B, C, illegal, in_sync, shard, with};
use crate::kubectl;
use crate::queue::QUEUE;
use crate::scene::{Needs, OPERATOR, SYSTEM, Scene, has_time, play};
use crate::times;

/// Of the transitions, one in so many goes to the API server where there is no time for all: each is some calls.
const ONE_IN: usize = 12;
/// How often a write is repeated that somebody else got ahead of.
const CONFLICTS: usize = 5;
/// So many stand in the cluster at a time.
const AT_ONCE: usize = 400;

#[test]
fn queues_that_cannot_work_are_refused_in_words_that_say_what_to_change() -> Result<()> {
    play("h-queues", Needs::Cluster, |scene| {
        let rows = table();
        ensure!(rows.len() >= 20, "{} rows", rows.len());
        for Refused { old, new, told } in &rows {
            let refused = put(scene, old.as_ref(), new)?;
            ensure!(refused.contains(told), "{old:?} -> {new}\n  should say {told:?}\n  says {refused:?}");
        }
        eprintln!("{}: {} invalid queues refused", scene.test, rows.len());
        Ok(())
    })
}

/// What the API server says to a queue that is written over what is stored; empty if it takes it.
fn put(scene: &Scene, old: Option<&Value>, new: &Value) -> Result<String> {
    let place = |mut queue: Value| {
        queue["metadata"]["namespace"] = scene.namespace.as_str().into();
        queue
    };
    let verb = if let Some(old) = old {
        let mut stored = place(changed(old));
        // The operator shall make nothing of it.
        stored["spec"]["reconcile"] = "Paused".into();
        kubectl::run_with(&["create"], &stored)?;
        "replace"
    } else {
        "create"
    };
    let asked = place(changed(new));
    let mut answer = kubectl::output_with(&[verb, "--dry-run=server"], &asked)?;
    // The operator writes the status of a new queue, and may do so between kubectl's read and its write.
    for _ in 0..CONFLICTS {
        if !String::from_utf8_lossy(&answer.stderr).contains("(Conflict)") {
            break;
        }
        answer = kubectl::output_with(&[verb, "--dry-run=server"], &asked)?;
    }
    if let Some(old) = old {
        kubectl::run_with(&["delete"], &place(changed(old)))?;
    }
    Ok(if answer.status.success() {
        String::new()
    } else {
        String::from_utf8_lossy(&answer.stderr).into_owned()
    })
}

#[test]
fn a_queue_shard_is_written_by_the_right_ones_alone_and_by_the_rules() -> Result<()> {
    play("h-shards", Needs::Cluster, |scene| {
        let operator = format!("system:serviceaccount:{SYSTEM}:{OPERATOR}");
        let brokers = format!("system:serviceaccount:{}:{QUEUE}", scene.namespace);
        brokers_may_write(scene)?;
        let place = |object: Value| placed(scene, QUEUE, &object);
        kubectl::run_with(&["create", "--as", &operator], &place(shard()))?;
        let promoted = json!({ "epoch": 4, "master": B, "inSync": [in_sync(B)] });
        let unclean = json!({ "epoch": 4, "master": C, "inSync": [in_sync(C)], "uncleanEpoch": 4 });
        let mut owned = shard();
        owned["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000" }]);
        let mut another = shard();
        another["metadata"]["name"] = "another".into();
        let mut rows: Vec<(&str, Option<&str>, Value, &str)> = vec![
            ("replace", None, with(&promoted), "use kubectl rq promote to change the master"),
            ("replace", Some(&brokers), with(&unclean), "--accept-data-loss"),
            ("replace", None, with(&unclean), "only the operator"),
            ("replace", None, owned.clone(), "only the operator changes the owner"),
            ("replace", Some(&brokers), owned, "only the operator changes the owner"),
            ("create", None, another, "apply a ReliableQueue, and it will"),
            ("delete", None, shard(), "delete the ReliableQueue"),
        ];
        rows.extend(
            illegal()
                .into_iter()
                .map(|(fields, told)| ("replace", Some(operator.as_str()), with(&fields), told)),
        );
        ensure!(rows.len() >= 15, "{} rows", rows.len());
        for (verb, user, object, told) in &rows {
            let named = kubectl::name(object).to_owned();
            let refused = write(verb, *user, &placed(scene, &named, object))?;
            ensure!(
                refused.contains(told),
                "{verb} by {user:?}: {object}\n  should say {told:?}\n  says {refused:?}"
            );
        }
        eprintln!("{}: {} writes of a QueueShard refused", scene.test, rows.len());
        // And what is legal is taken, of both that may write: otherwise the test shows nothing.
        for user in [&operator, &brokers] {
            let refused = write("replace", Some(user), &place(with(&promoted)))?;
            ensure!(refused.is_empty(), "a promotion by {user}: {refused}");
        }
        Ok(())
    })
}

/// What the API server says to a write that would not be carried out; empty if it takes it.
fn write(verb: &str, user: Option<&str>, object: &Value) -> Result<String> {
    let mut arguments = vec![verb, "--dry-run=server"];
    arguments.extend(user.iter().flat_map(|user| ["--as", *user]));
    let answer = kubectl::output_with(&arguments, object)?;
    Ok(if answer.status.success() {
        String::new()
    } else {
        String::from_utf8_lossy(&answer.stderr).into_owned()
    })
}

fn placed(scene: &Scene, named: &str, object: &Value) -> Value {
    let mut object = object.clone();
    object["apiVersion"] = "reliablequeue.dev/v1alpha1".into();
    object["kind"] = "QueueShard".into();
    object["metadata"]["name"] = named.into();
    object["metadata"]["namespace"] = scene.namespace.as_str().into();
    object
}

/// The rights that the operator gives to the brokers of a queue.
fn brokers_may_write(scene: &Scene) -> Result<()> {
    let metadata = json!({ "name": QUEUE, "namespace": scene.namespace });
    let api = "rbac.authorization.k8s.io";
    kubectl::apply(&json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": metadata,
            "rules": [{
                "apiGroups": ["reliablequeue.dev"], "resources": ["queueshards"], "resourceNames": [QUEUE],
                "verbs": ["get", "watch", "update"],
            }],
        },
        {
            "apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": api, "kind": "Role", "name": QUEUE },
            "subjects": [{ "kind": "ServiceAccount", "name": QUEUE, "namespace": scene.namespace }],
        },
    ] }))
}

#[test]
fn the_api_server_and_the_core_agree_on_every_transition_of_a_shard() -> Result<()> {
    play("h-transitions", Needs::Cluster, |scene| {
        let rows: Vec<_> = small_pairs().into_iter().chain(every_change()).collect();
        let one_in = if has_time() { 1 } else { ONE_IN };
        let asked: Vec<_> = rows.iter().step_by(one_in).collect();
        let begun = Instant::now();
        let mut legal = 0;
        for (nth, chunk) in asked.chunks(AT_ONCE).enumerate() {
            legal += same_verdicts(scene, nth * AT_ONCE, chunk)?;
        }
        let (asked, all) = (asked.len(), rows.len());
        times::note(&scene.test, &format!("{asked} of {all} transitions asked"), begun.elapsed());
        eprintln!("{}: {asked} of {all} transitions asked: {legal} are legal, on both sides", scene.test);
        ensure!(legal > 20 && legal < asked / 2 + asked / 4, "{legal} legal ones of {asked} show little");
        Ok(())
    })
}

/// Holds what the API server says to these transitions against the core. How many are legal.
fn same_verdicts(scene: &Scene, first: usize, pairs: &[&(Config, Config)]) -> Result<usize> {
    let operator = format!("system:serviceaccount:{SYSTEM}:{OPERATOR}");
    let named = |nth: usize| format!("row-{}", first + nth);
    let list = |configs: Vec<&Config>| {
        let object = |(nth, config)| placed(scene, &named(nth), &json!({ "spec": spec(config) }));
        let items: Vec<_> = configs.into_iter().enumerate().map(object).collect();
        json!({ "apiVersion": "v1", "kind": "List", "items": items })
    };
    let olds = list(pairs.iter().map(|(old, _)| old).collect());
    let news = list(pairs.iter().map(|(_, new)| new).collect());
    kubectl::run_with(&["create", "--as", &operator], &olds)?;
    let replace = ["replace", "--dry-run=server", "-o", "name", "--as", &operator];
    let answer = kubectl::output_with(&replace, &news)?;
    let (taken, refused) = (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
    let taken: BTreeSet<&str> = taken.lines().filter_map(|line| line.rsplit('/').next()).collect();
    let refused = refusals(&refused);
    let mut legal = 0;
    for (nth, (old, new)) in pairs.iter().enumerate() {
        let (name, ours) = (named(nth), config::check(old, new));
        let told = refused.get(name.as_str());
        ensure!(taken.contains(name.as_str()) != told.is_some(), "{name}: no verdict, or two: {told:?}");
        ensure!(ours.is_ok() == told.is_none(), "{old:#?}\n{new:#?}\nours: {ours:?}\ntheirs: {told:?}");
        legal += usize::from(ours.is_ok());
    }
    kubectl::run_with(&["delete", "--wait=false", "--as", &operator], &olds)?;
    Ok(legal)
}

/// The answer to each row that was refused for what is in it, by the name of the row.
fn refusals(text: &str) -> BTreeMap<&str, &str> {
    let named = |line: &'_ str| Some((line.find("\"row-")? + 1, line.contains("is invalid")));
    let lines = text
        .lines()
        .filter(|line| line.starts_with("Error from server") || line.starts_with("The QueueShard "));
    lines
        .filter_map(|line| {
            let (at, invalid) = named(line)?;
            let name = line[at..].split('"').next()?;
            invalid.then_some((name, line))
        })
        .collect()
}

/// A configuration as a `QueueShard` has it.
fn spec(config: &Config) -> Value {
    let in_sync: Vec<_> = config
        .in_sync
        .iter()
        .map(|(store, session)| json!({ "storeId": store.to_string(), "session": format!("{:016x}", session.0) }))
        .collect();
    let members: Vec<_> = config
        .members
        .iter()
        .map(|(store, member)| json!({ "storeId": store.to_string(), "name": member.name, "address": member.address }))
        .collect();
    json!({
        "version": config.version,
        "epoch": config.epoch.0,
        "master": config.master.to_string(),
        "inSync": in_sync,
        "members": members,
        "minInSync": config.min_in_sync,
        "flushMode": match config.flush_mode { FlushMode::Sync => "Sync", FlushMode::Async => "Async" },
        "uncleanEpoch": config.unclean.map_or(0, |epoch| epoch.0),
    })
}
