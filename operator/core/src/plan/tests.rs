//! The rules, one by one. What they do together is tested against a whole cluster in `tests/cluster`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod replacing;
pub(crate) mod scene;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::SignedDuration;
use kube::Resource as _;
use rq_core::config::{Change, Config, FlushMode, FlushPolicy, next};
use rq_core::ids::{Epoch, Session};
use rq_overseer::Told;
use serde_json::json;

use self::scene::{
    DAY, NOW, SESSION, apply_all, at_rest, claim, config, nothing, planned, pod, seen, seen_new, store, time,
    write,
};
use super::{ACCEPT_DATA_LOSS, Action, Child, Rollout};
use crate::children::QUEUE_LABEL;
use crate::observed::Observed;

/// The configuration that is planned for a shard that is to be rebuilt.
fn rebuilt(observed: &Observed) -> Option<Config> {
    planned(observed).actions.into_iter().find_map(|action| match action {
        Action::Rebuild { config, .. } => Some(config),
        _ => None,
    })
}

/// What is planned, a word each; without another number in a budget of disruptions, which has a test of its own.
fn words(observed: &Observed) -> Vec<String> {
    let word = |action: &Action| match action {
        Action::Apply(child) => match **child {
            Child::ServiceAccount(_) => "ServiceAccount".to_owned(),
            Child::Role(_) => "Role".to_owned(),
            Child::RoleBinding(_) => "RoleBinding".to_owned(),
            Child::Service(_) => "Service".to_owned(),
            Child::PodDisruptionBudget(_) => "PodDisruptionBudget".to_owned(),
            Child::StatefulSet(_) => "StatefulSet".to_owned(),
        },
        Action::DeletePod { name, .. } => format!("delete {name}"),
        Action::HandOver { to, .. } => format!("hand over to {}", to.0),
        Action::CreateShard { owned } => format!("create, owned {owned}"),
        Action::OwnShard { owned } => format!("own {owned}"),
        Action::Rebuild { config, .. } => format!("rebuild {}", config.version),
        Action::ResizeVolume { name, size } => format!("resize {name} to {size}"),
        Action::Write(Change::Remove { store }) => format!("remove {}", store.0),
        Action::Write(Change::SetMinInSync(copies)) => format!("minInSync {copies}"),
        other => format!("{other:?}"),
    };
    let words = planned(observed).actions.iter().map(word).collect::<Vec<_>>();
    let has_budget = observed.existing.disruption_budget.is_some();
    words.into_iter().filter(|word| !has_budget || word != "PodDisruptionBudget").collect()
}

#[test]
fn a_new_queue_gets_its_certificate_then_all_its_pods_need_and_its_pods_last() {
    let mut new = nothing(&json!({}));
    let all = [
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "Service",
        "Service",
        "PodDisruptionBudget",
        "create, owned false",
    ];
    assert_eq!(words(&new), [&["IssueCertificate"][..], &all].concat());
    new.certificate = at_rest(&json!({})).certificate;
    assert_eq!(words(&new), [&all[..], &["StatefulSet"]].concat());
}

#[test]
fn what_somebody_else_made_is_never_taken_over_and_nothing_after_it_is_made() {
    let mut new = nothing(&json!({}));
    new.certificate = at_rest(&json!({})).certificate;
    let theirs = json!({ "metadata": { "name": "orders", "labels": { "app": "orders" } } });
    new.existing.service = serde_json::from_value(theirs.clone()).unwrap();
    assert_eq!(words(&new), ["ServiceAccount", "Role", "RoleBinding", "Service"]);
    let plan = planned(&new);
    let up_to_date = plan.status.conditions.iter().find(|found| found.type_ == "UpToDate").unwrap();
    assert_eq!((up_to_date.status.as_str(), up_to_date.reason.as_str()), ("False", "NameTaken"));
    assert!(up_to_date.message.starts_with("Service orders is there"), "{}", up_to_date.message);
    assert_eq!(plan.look_again.as_secs(), 1);
    let mut grown = at_rest(&json!({}));
    grown.existing.stateful_set = serde_json::from_value(theirs).unwrap();
    grown.queue = scene::queue(&json!({ "storage": { "size": "20Gi" } }));
    let plan = planned(&grown);
    assert_eq!((plan.actions.len(), plan.look_again.as_secs()), (0, 10));
    let mut other = at_rest(&json!({}));
    let service = other.existing.service.as_mut().unwrap();
    service.metadata.owner_references = None;
    service.metadata.labels.as_mut().unwrap().insert(QUEUE_LABEL.to_owned(), "payments".to_owned());
    assert_eq!(words(&other), [""; 0], "it is another queue's");
    let mut stripped = at_rest(&json!({}));
    stripped.existing.service.as_mut().unwrap().metadata.labels = None;
    assert_eq!(words(&stripped), ["Service"], "its owner says whose it is");
}

#[test]
fn no_pod_may_be_moved_while_a_copy_is_not_in_sync() {
    let most = |observed: &Observed| {
        let mut observed = observed.clone();
        apply_all(&mut observed);
        observed.existing.disruption_budget.unwrap().spec.unwrap().max_unavailable.unwrap()
    };
    let mut observed = at_rest(&json!({ "replicas": 3 }));
    assert_eq!(most(&observed), IntOrString::Int(1));
    let shrunk = next(&config(3, 2), &Change::Shrink { by: (store(0), Epoch(1)), remove: store(1) }).unwrap();
    write(&mut observed, &shrunk);
    assert_eq!(most(&observed), IntOrString::Int(0));
    write(&mut observed, &config(3, 2));
    assert_eq!(most(&observed), IntOrString::Int(1), "it has caught up");
    assert_eq!(most(&nothing(&json!({}))), IntOrString::Int(0), "none is in sync yet");
    assert_eq!(most(&nothing(&json!({ "replicas": 1 }))), IntOrString::Int(1), "nothing spares it");
}

#[test]
fn a_certificate_is_renewed_when_two_thirds_of_its_time_are_over() {
    let mut observed = at_rest(&json!({}));
    observed.now = time(NOW + 59 * DAY - 30);
    let plan = planned(&observed);
    assert_eq!((plan.actions.len(), plan.look_again.as_secs()), (0, 30));
    observed.now = time(NOW + 59 * DAY);
    assert_eq!(words(&observed), ["IssueCertificate"]);
    observed.queue = scene::queue(&json!({ "reconcile": "Paused" }));
    assert_eq!(words(&observed), ["IssueCertificate"], "also when paused");
}

#[test]
fn a_certificate_that_ends_with_its_authority_is_renewed_when_both_have_ended() {
    let mut observed = at_rest(&json!({}));
    let certificate = observed.certificate.as_mut().unwrap();
    certificate.authority_ends = certificate.not_after.clone();
    observed.now = time(NOW + 89 * DAY - 30);
    let plan = planned(&observed);
    assert_eq!((plan.actions.len(), plan.look_again.as_secs()), (0, 30));
    observed.now = time(NOW + 89 * DAY);
    assert_eq!(words(&observed), ["IssueCertificate"]);
}

#[test]
fn what_is_no_longer_asked_for_is_taken_away() {
    let mut observed = at_rest(&json!({ "scheduling": { "nodeSelector": { "disk": "fast" } } }));
    observed.queue = scene::queue(&json!({}));
    assert_eq!(words(&observed), ["StatefulSet"]);
}

#[test]
fn a_shard_is_made_only_where_nothing_can_have_been_of_one() {
    let gone = |pods: bool, volumes: bool, replicas: Vec<rq_overseer::Seen>| {
        let mut observed = at_rest(&json!({}));
        observed.shard = None;
        observed.replicas = replicas;
        observed.pods.retain(|_| pods);
        observed.volumes.retain(|_| volumes);
        words(&observed)
    };
    let create = ["create, owned false"];
    assert_eq!(gone(false, false, vec![]), create);
    assert_eq!(gone(true, true, vec![]), [""; 0], "nobody was asked");
    assert_eq!(gone(false, true, vec![]), [""; 0]);
    assert_eq!(gone(true, true, vec![seen_new(0)]), [""; 0], "one may know better");
    assert_eq!(gone(true, true, vec![seen_new(0), seen_new(1)]), create);
    let known = config(2, 1);
    assert_eq!(gone(true, true, vec![seen(1, &known)]), [""; 0], "a member is away");
    assert_eq!(gone(true, true, vec![seen(0, &known), seen(1, &known)]), ["rebuild 2"]);
}

#[test]
fn pods_of_retained_volumes_are_started_so_that_they_can_be_asked() {
    let mut observed = at_rest(&json!({ "replicas": 1 }));
    (observed.shard, observed.pods, observed.replicas) = (None, vec![], vec![]);
    observed.existing.stateful_set = None;
    observed.volumes = vec![claim(0), claim(1)];
    let plan = planned(&observed);
    let set = plan.actions.iter().find_map(|action| match action {
        Action::Apply(child) => match &**child {
            Child::StatefulSet(set) => set.spec.as_ref().unwrap().replicas,
            _ => None,
        },
        _ => None,
    });
    assert_eq!(set, Some(2));
    assert!(!plan.actions.iter().any(|action| matches!(action, Action::CreateShard { .. })));
}

#[test]
fn a_shard_that_went_back_is_put_forward_and_nothing_else_is_changed_meanwhile() {
    let mut observed = at_rest(&json!({ "replicas": 3 }));
    write(&mut observed, &config(2, 2));
    observed.pods[2] = pod(2, "old");
    assert_eq!(words(&observed), ["rebuild 3"]);
    observed.replicas[2].running = false;
    assert_eq!(words(&observed), [""; 0], "who is away may know a newer one");
}

#[test]
fn the_shard_goes_with_the_queue_only_if_its_volumes_do() {
    let mut observed = at_rest(&json!({}));
    observed.queue = scene::queue(&json!({ "storage": { "size": "10Gi", "onDelete": "Delete" } }));
    assert_eq!(words(&observed), ["own true", "StatefulSet"]);
}

#[test]
fn the_shard_stays_only_after_its_volumes_do() {
    let mut observed = at_rest(&json!({}));
    observed.queue = scene::queue(&json!({ "storage": { "size": "10Gi", "onDelete": "Delete" } }));
    apply_all(&mut observed);
    let owner = observed.queue.controller_owner_ref(&()).unwrap();
    observed.shard.as_mut().unwrap().metadata.owner_references = Some(vec![owner]);
    assert_eq!(words(&observed), [""; 0]);
    observed.queue = scene::queue(&json!({}));
    assert_eq!(words(&observed), ["StatefulSet", "own false"]);
    observed.existing.stateful_set.as_mut().unwrap().metadata.deletion_timestamp = Some(time(NOW));
    assert_eq!(words(&observed), [""; 0], "it still takes the volumes with it");
}

#[test]
fn more_copies_are_demanded_by_default_when_they_are_there_and_by_word_at_once() {
    let mut observed = at_rest(&json!({ "replicas": 2 }));
    let two = observed.existing.clone();
    observed.queue = scene::queue(&json!({ "replicas": 2, "replication": { "minInSync": 2 } }));
    assert_eq!(words(&observed), ["minInSync 2"]);
    let mut alone = at_rest(&json!({ "replicas": 1 }));
    alone.queue = scene::queue(&json!({ "replicas": 3 }));
    assert_eq!(words(&alone), ["Role", "StatefulSet"], "a queue that grows goes on");
    alone.queue = scene::queue(&json!({ "replicas": 3, "replication": { "minInSync": 2 } }));
    assert_eq!(words(&alone), ["Role", "StatefulSet", "minInSync 2"]);
    assert_eq!(observed.existing, two);
}

#[test]
fn another_flush_mode_is_asked_of_the_master_that_serves() {
    let mut observed = at_rest(&json!({}));
    observed.queue = scene::queue(&json!({ "flushMode": "Async", "flushInterval": "1s" }));
    let wanted = FlushPolicy { mode: FlushMode::Async, interval_ms: 1_000 };
    assert_eq!(planned(&observed).actions, [Action::SetFlushMode(wanted)]);
    observed.replicas[0].told.as_mut().unwrap().flush_policy = None;
    assert_eq!(words(&observed), [""; 0], "it is on the way");
    observed.replicas[0].told.as_mut().unwrap().serves = false;
    assert_eq!(words(&observed), [""; 0]);
}

/// What a configuration that is made anew is ahead, in epochs and in versions.
const AHEAD: u32 = 1 << 16;

/// The master, alone in the set, has been silent for so long, in ms, for the operator and for its slave.
fn only_copy_away(silent: u64, unheard: u64) -> Observed {
    let mut observed = at_rest(&json!({}));
    let alone = next(&config(2, 1), &Change::Shrink { by: (store(0), Epoch(1)), remove: store(1) }).unwrap();
    write(&mut observed, &alone);
    observed.replicas = vec![seen(0, &alone), seen(1, &alone)];
    observed.replicas[0].silent_since = Some(observed.now_ms - silent);
    observed.replicas[1].told.as_mut().unwrap().master_silent_since = Some(observed.now_ms - unheard);
    apply_all(&mut observed);
    observed
}

fn accepting(mut observed: Observed, text: &str) -> Observed {
    let until = observed.now.0 + SignedDuration::from_mins(1);
    observed.queue.metadata.annotations =
        Some([(ACCEPT_DATA_LOSS.to_owned(), format!("{text}/{until}"))].into());
    observed
}

#[test]
fn a_loss_of_data_is_accepted_for_the_epoch_and_the_pod_that_were_named() {
    let accepted = Action::Write(Change::AcceptDataLoss { seen: Epoch(1), to: store(1), session: SESSION });
    for (text, acts) in [
        ("orders-1/0@1", true),
        ("orders-1/0@2", false),
        ("orders-1/1@1", false),
        ("orders-1/0@01", false),
        ("orders-1/0@+1", false),
        ("orders-1/0@1 ", false),
        ("orders-1", false),
        ("orders-0/0@1", false),
        ("orders-2/0@1", false),
    ] {
        let mut observed = accepting(only_copy_away(5_000, 5_000), text);
        let plan = planned(&observed);
        assert_eq!(plan.actions.contains(&accepted), acts, "{text}");
        assert_eq!(plan.events.iter().any(|event| event.reason == "DataLossAccepted"), acts, "{text}");
        observed.replicas[0].silent_since = None;
        assert_eq!(words(&observed), [""; 0], "a copy that has everything answers");
    }
}

#[test]
fn a_loss_of_data_is_accepted_for_a_while_and_never_as_a_standing_order() {
    let acts = |until: SignedDuration, mend: &dyn Fn(String) -> String| {
        let mut observed = only_copy_away(5_000, 5_000);
        let text = mend(format!("orders-1/0@1/{}", observed.now.0 + until));
        observed.queue.metadata.annotations = Some([(ACCEPT_DATA_LOSS.to_owned(), text)].into());
        !planned(&observed).actions.is_empty()
    };
    let as_it_is = |text| text;
    assert!(acts(SignedDuration::from_secs(1), &as_it_is));
    assert!(!acts(SignedDuration::ZERO, &as_it_is), "its time is over");
    assert!(acts(SignedDuration::from_mins(15), &as_it_is));
    assert!(!acts(SignedDuration::from_mins(16), &as_it_is), "so long nobody waits for it");
    let without = |text: String| text.rsplit_once('/').unwrap().0.to_owned();
    assert!(!acts(SignedDuration::from_secs(1), &without), "nobody says until when");
}

#[test]
fn a_loss_of_data_is_accepted_before_anything_that_the_api_server_may_refuse() {
    let mut observed = accepting(only_copy_away(5_000, 5_000), "orders-1/0@1");
    observed.certificate = None;
    observed.queue.spec.replication.min_in_sync = Some(2);
    let actions = planned(&observed).actions;
    assert!(
        matches!(actions[..], [Action::Write(Change::AcceptDataLoss { .. }), Action::IssueCertificate, ..]),
        "{actions:?}"
    );
    let writes = actions.iter().filter(|act| matches!(act, Action::Write(_))).count();
    assert_eq!(writes, 1, "one change of the shard at a time: {actions:?}");
}

#[test]
fn a_loss_of_data_is_accepted_only_when_everybody_has_heard_nothing_of_the_set_for_a_while() {
    let acts = |change: &dyn Fn(&mut Observed)| {
        let mut observed = accepting(only_copy_away(5_000, 5_000), "orders-1/0@1");
        change(&mut observed);
        planned(&observed)
            .actions
            .iter()
            .any(|act| matches!(act, Action::Write(Change::AcceptDataLoss { .. })))
    };
    assert!(acts(&|_| {}));
    assert!(!acts(&|seen| seen.replicas[0].silent_since = Some(seen.now_ms - 4_999)), "one question missed");
    let new_operator = |seen: &mut Observed| {
        (seen.replicas[0].told, seen.replicas[0].silent_since) = (None, Some(seen.now_ms - 600));
    };
    assert!(!acts(&new_operator), "it was never asked before");
    assert!(acts(&|seen| seen.replicas[0].told = None), "it has never answered");
    let of_slave = |since: Option<u64>| {
        acts(&|seen: &mut Observed| seen.replicas[1].told.as_mut().unwrap().master_silent_since = since)
    };
    assert!(!of_slave(None) && !of_slave(Some(1_000_000 - 4_999)), "the slave has heard its master");
    let dead = |seen: &mut Observed| {
        let new = rq_overseer::Seen::new("orders-0".to_owned(), String::new());
        (seen.replicas[0], seen.pods) = (new, vec![seen.pods.remove(1)]);
    };
    assert!(acts(&dead), "its process ended");
    assert!(!acts(&|seen| drop(seen.replicas.remove(0))), "its pod was not looked at yet");
    let replaced = |seen: &mut Observed| {
        seen.replicas[0] = seen_new(0);
        seen.replicas[0].told.as_mut().unwrap().store = store(7);
    };
    assert!(acts(&replaced), "another store is in its place");
    let plan = planned(&accepting(only_copy_away(1_000, 5_000), "orders-1/0@1"));
    assert_eq!(plan.look_again.as_secs(), 1, "it may only be too early");
}

/// All machines of a queue with `flushMode: Async` have lost their power: nobody is sure to have what it wrote.
#[test]
fn a_copy_whose_session_ended_holds_nothing_for_sure_and_may_be_accepted() {
    let mut config = config(2, 1);
    config.flush_mode = FlushMode::Async;
    let mut observed = accepting(at_rest(&json!({})), "orders-1/0@1");
    write(&mut observed, &config);
    observed.replicas = vec![seen(0, &config), seen(1, &config)];
    for replica in &mut observed.replicas {
        let told = replica.told.as_mut().unwrap();
        (told.session, told.serves) = (Session(8), false);
        told.master_silent_since = Some(observed.now_ms - 5_000);
    }
    let accepted = Change::AcceptDataLoss { seen: Epoch(1), to: store(1), session: Session(8) };
    assert_eq!(planned(&observed).actions, [Action::Write(accepted)]);
    observed.replicas[0].told.as_mut().unwrap().session = SESSION;
    assert_eq!(words(&observed), [""; 0], "it never went");
}

#[test]
fn a_loss_of_data_is_accepted_also_where_the_configuration_is_lost() {
    let lost = |text: &str| {
        let mut observed = accepting(only_copy_away(5_000, 5_000), text);
        // The master's store was told of one more version than the slave has kept.
        observed.replicas[0].told.as_mut().unwrap().config_version = 4;
        observed.shard = None;
        observed
    };
    let config = rebuilt(&lost("orders-1/0@1")).unwrap();
    assert_eq!(
        (config.version, config.epoch),
        (u64::from(AHEAD) + 5, Epoch(AHEAD + 2)),
        "ahead of all that anybody may know"
    );
    assert_eq!(config.unclean, Some(config.epoch));
    assert_eq!((config.master, config.in_sync), (store(1), [(store(1), SESSION)].into()));
    assert_eq!(rebuilt(&lost("orders-1/0@2")), None, "another epoch was named");
    let mut answers = lost("orders-1/0@1");
    answers.replicas[0].silent_since = Some(answers.now_ms - 600);
    assert_eq!(rebuilt(&answers), None);
    answers.replicas[0].silent_since = None;
    assert_eq!(rebuilt(&answers), None, "a copy that has everything answers, and is to be asked");
}

#[test]
fn a_copy_with_everything_goes_on_without_a_member_that_is_gone_where_the_configuration_is_lost() {
    let lost = |text: &str| {
        let mut observed = accepting(at_rest(&json!({})), text);
        // The other's volume is lost: its pod has a new store.
        let told = observed.replicas[1].told.as_mut().unwrap();
        *told = Told { store: store(9), promised: Epoch(0), config_version: 0, config: None, ..told.clone() };
        observed.shard = None;
        observed
    };
    let before = config(2, 1);
    let after = rebuilt(&lost("orders-0/0@1")).unwrap();
    assert_eq!((after.epoch, after.version), (Epoch(AHEAD + 2), u64::from(AHEAD) + before.version + 1));
    assert_eq!(after.unclean, Some(after.epoch), "the member that is gone may have known more");
    assert_eq!((after.master, after.in_sync), (store(0), [(store(0), SESSION)].into()));
    assert_eq!(rebuilt(&lost("orders-0/0@2")), None, "another epoch was named");
    assert_eq!(rebuilt(&lost("orders-1/0@1")), None, "an empty disk has nothing");
    let mut silent = lost("orders-0/0@1");
    silent.replicas[1].told.as_mut().unwrap().store = store(1);
    silent.replicas[1].silent_since = Some(silent.now_ms - 600);
    assert_eq!(rebuilt(&silent), None, "it may be slow, and know better");
    silent.replicas[1].silent_since = Some(silent.now_ms - 5_000);
    assert!(rebuilt(&silent).is_some());
    let mut newer = lost("orders-0/0@1");
    newer.replicas[1].told.as_mut().unwrap().promised = Epoch(2);
    assert_eq!(rebuilt(&newer), None, "somebody has promised a later epoch");
}

#[test]
fn a_volume_that_was_restored_alone_begins_a_new_epoch_once_somebody_accepts_it() {
    // Of the slave, under the name of the first replica.
    let mut restored = accepting(at_rest(&json!({ "replicas": 1 })), "orders-0/0@1");
    let before = config(2, 1);
    let mut slave = seen(1, &before);
    "orders-0".clone_into(&mut slave.name);
    restored.replicas = vec![slave];
    restored.shard = None;
    let after = rebuilt(&restored).unwrap();
    assert_eq!((after.epoch, after.master), (Epoch(AHEAD + 2), store(1)));
    assert_eq!(after.in_sync, [(store(1), SESSION)].into());
}

#[test]
fn replicas_that_go_hand_over_then_leave_the_shard_and_then_their_pods_go() {
    let smaller = scene::queue(&json!({ "replicas": 2, "replication": { "minInSync": 2 } }));
    let mut observed = at_rest(&json!({ "replicas": 3 }));
    observed.queue = smaller.clone();
    assert_eq!(words(&observed), ["remove 3"]);
    let promote = Change::Promote { to: store(2), session: SESSION, keep: vec![store(0), store(1)] };
    let led = next(&config(3, 2), &promote).unwrap();
    write(&mut observed, &led);
    observed.replicas = (0..3).map(|ordinal| seen(ordinal, &led)).collect();
    assert_eq!(words(&observed), ["hand over to 1"]);
    let removed = next(&config(3, 2), &Change::Remove { store: store(2) }).unwrap();
    write(&mut observed, &removed);
    observed.replicas = (0..3).map(|ordinal| seen(ordinal, &removed)).collect();
    assert_eq!(words(&observed), ["Role", "StatefulSet"]);
}

#[test]
fn no_copy_is_given_up_that_the_new_spec_needs() {
    let mut observed = at_rest(&json!({ "replicas": 3 }));
    observed.queue = scene::queue(&json!({ "replicas": 2, "replication": { "minInSync": 2 } }));
    let shrunk = next(&config(3, 2), &Change::Shrink { by: (store(0), Epoch(1)), remove: store(1) }).unwrap();
    write(&mut observed, &shrunk);
    observed.replicas = (0..3).map(|ordinal| seen(ordinal, &shrunk)).collect();
    assert_eq!(words(&observed), [""; 0]);
}

#[test]
fn no_copy_in_sync_is_taken_away_unless_a_master_serves_and_those_that_stay_answer() {
    let smaller = |change: &dyn Fn(&mut Observed)| {
        let mut observed = at_rest(&json!({ "replicas": 3 }));
        observed.queue = scene::queue(&json!({ "replicas": 2, "replication": { "minInSync": 2 } }));
        change(&mut observed);
        words(&observed)
    };
    assert_eq!(smaller(&|_| {}), ["remove 3"]);
    assert_eq!(smaller(&|seen| seen.replicas[1].silent_since = Some(1)), [""; 0], "one of two would be left");
    assert_eq!(smaller(&|seen| seen.replicas[0].silent_since = Some(1)), [""; 0], "no master answers");
    assert_eq!(smaller(&|seen| seen.replicas[0].told.as_mut().unwrap().serves = false), [""; 0]);
    assert_eq!(smaller(&|seen| seen.replicas[2].running = false), ["remove 3"], "nobody waits for what goes");
}

#[test]
fn volumes_grow_one_by_one_and_then_the_stateful_set_is_made_anew() {
    let mut observed = at_rest(&json!({}));
    observed.queue = scene::queue(&json!({ "storage": { "size": "20Gi" } }));
    assert_eq!(words(&observed), ["resize data-orders-0 to 20Gi", "resize data-orders-1 to 20Gi"]);
    for claim in &mut observed.volumes {
        let spec = json!({ "resources": { "requests": { "storage": "20480Mi" } } });
        claim.spec = Some(serde_json::from_value(spec).unwrap());
    }
    assert_eq!(words(&observed), ["OrphanStatefulSet"]);
    observed.existing.stateful_set = None;
    assert_eq!(words(&observed), ["StatefulSet"]);
    apply_all(&mut observed);
    assert_eq!(words(&observed), [""; 0]);
}

#[test]
fn a_paused_queue_is_left_alone_and_one_that_is_deleted_is_not_made_anew() {
    let mut observed = replacing::outdated(&[0, 1]);
    observed.queue = scene::queue(&json!({ "replicas": 4, "reconcile": "Paused" }));
    assert_eq!((words(&observed), replacing::of(&observed)), (vec![], Rollout::Paused { left: 2 }));
    let paused = |change: &serde_json::Value| {
        let mut observed = at_rest(&json!({}));
        observed.queue = scene::queue(change);
        let conditions = planned(&observed).status.conditions;
        conditions.into_iter().find(|condition| condition.type_ == "UpToDate").unwrap().reason
    };
    assert_eq!(paused(&json!({ "reconcile": "Paused" })), "AsExpected", "there is nothing to do");
    let changed = json!({ "reconcile": "Paused", "scheduling": { "nodeSelector": { "disk": "fast" } } });
    assert_eq!(paused(&changed), "Paused");
    let mut deleted = nothing(&json!({}));
    deleted.queue.metadata.deletion_timestamp = Some(time(NOW));
    assert_eq!(words(&deleted), [""; 0]);
}
