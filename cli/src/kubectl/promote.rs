//! `kubectl rq promote`: another master without a failure, asked of the master itself; or one that may lack acknowledged
//! messages, asked of the operator, which makes sure that no copy with everything answers.

use std::time::{Instant, SystemTime};

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use rq_operator_core::children::CLIENT_PORT;
use rq_operator_core::conditions::{ConditionStatus, ConditionType};
use rq_operator_core::plan::ACCEPT_DATA_LOSS;
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::queue::spec::FailoverMode;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::cluster::Cluster;
use super::failure::KubeFailure;
use super::forward::Forward;
use super::replicas::is_ready;
use crate::args::Global;
use crate::failure::Failure;
use crate::output;
use crate::promote::{self, Ending, Promoted};

/// The one shard of a queue.
const SHARD: u16 = 0;
/// How often it is looked whether it did.
const POLL: Duration = Duration::from_millis(250);
/// The operator has at least so long: it first looks whether any copy with everything answers.
const PATIENCE: Duration = Duration::from_mins(1);
/// And no longer than this: further ahead the operator takes no acceptance.
const PATIENCE_MAX: Duration = Duration::from_mins(10);

const AFTER_HELP: &str = "\
Only a replica in the in-sync set can be promoted: it holds everything that was acknowledged. `kubectl rq status QUEUE` shows
them.

If no replica of that set will ever come back, --accept-data-loss makes another one the master: what was acknowledged and is
not on it is gone. Name the shard and the epoch that ends, as `kubectl rq status` tells them. The operator refuses while any
copy of the in-sync set answers.

Examples:
  kubectl rq promote orders orders-1 -n shop
  kubectl rq promote orders orders-1 -n shop --accept-data-loss 0@7";

/// `kubectl rq promote`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Promote {
    /// Name of the queue
    queue: String,
    /// Pod that shall be master
    pod: String,
    /// Make it the master although it may lack acknowledged messages, for good
    #[arg(long, value_name = "SHARD@EPOCH")]
    accept_data_loss: Option<Ending>,
}

/// Runs the command.
pub(super) async fn run(cluster: &Cluster, global: &Global, command: Promote) -> Result<(), Failure> {
    let queue = cluster.queue(&command.queue).await?;
    let there: Vec<_> =
        (0..queue.spec.replicas).map(|ordinal| format!("{}-{ordinal}", command.queue)).collect();
    if !there.contains(&command.pod) {
        return Err(KubeFailure::NoPod { pod: command.pod, queue: command.queue, there }.into());
    }
    match command.accept_data_loss {
        None => hand_over(cluster, global, &queue, &command.pod).await,
        Some(ending) => accept_data_loss(cluster, global, &queue, &command.pod, ending).await,
    }
}

/// Asked of the master, or of any pod: each forwards to it.
async fn hand_over(
    cluster: &Cluster,
    global: &Global,
    queue: &ReliableQueue,
    pod: &str,
) -> Result<(), Failure> {
    let name = queue.name_any();
    let pods = cluster.pods(queue).await?;
    let master = queue.status.as_ref().and_then(|status| status.master.as_deref());
    let ready = || pods.iter().filter(|pod| is_ready(pod)).map(Pod::name_any);
    let through = ready().find(|pod| Some(pod.as_str()) == master).or_else(|| ready().next());
    let Some(through) = through else { return Err(KubeFailure::NoneReady { queue: name }.into()) };
    let forward = Forward::open(cluster.pod_api(), &through, CLIENT_PORT).await?;
    let progress = output::waiting("waiting for the new master to serve");
    let global = Global { endpoint: forward.endpoint.clone(), ..global.clone() };
    let done = promote::hand_over(&global, pod).await;
    progress.finish_and_clear();
    match done {
        Err(failure) if failure.is_temporary() || matches!(failure, Failure::MasterSilent { .. }) => {
            Err(KubeFailure::MasterAway { reason: forward.trouble().await, next: next(queue), queue: name }
                .into())
        }
        done => done,
    }
}

/// What helps where the master does not answer.
fn next(queue: &ReliableQueue) -> String {
    let name = queue.name_any();
    match queue.spec.failover.mode {
        FailoverMode::Automatic => {
            format!("a slave in sync takes over by itself, see `kubectl rq status {name}`")
        }
        FailoverMode::Manual => format!(
            "failover.mode is Manual, so that nobody takes over by itself; bring the master back, or let a slave in sync take over with `kubectl patch rq {name} --type merge -p '{{\"spec\":{{\"failover\":{{\"mode\":\"Automatic\"}}}}}}'`"
        ),
    }
}

/// By an annotation on the queue, so that it stands in the audit log who asked for it.
async fn accept_data_loss(
    cluster: &Cluster,
    global: &Global,
    queue: &ReliableQueue,
    pod: &str,
    ending: Ending,
) -> Result<(), Failure> {
    let (name, began) = (queue.name_any(), Instant::now());
    if ending.shard != SHARD {
        return Err(KubeFailure::OtherShard { named: ending.shard, shard: SHARD }.into());
    }
    let known = match cluster.shard(queue).await? {
        Some(shard) => Some(shard.spec.epoch),
        None => queue.status.as_ref().and_then(|status| status.epoch),
    };
    // It may be older than what the brokers have kept, as after an etcd restore: the operator compares with that.
    if let Some(present) = known.filter(|present| *present > i64::from(ending.epoch)) {
        let present = format!("{}@{present}", ending.shard);
        return Err(KubeFailure::OtherEpoch { named: ending.to_string(), present }.into());
    }
    let patience = PATIENCE.max(global.timeout).min(PATIENCE_MAX);
    cluster.patch(&name, annotated(Some(&acceptance(pod, ending, SystemTime::now() + patience)))).await?;
    let progress =
        output::waiting("waiting for the operator: it looks whether any copy with everything answers");
    let (pod_name, queue) = (pod.to_owned(), name.clone());
    let accepted = tokio::select! {
        epoch = until_serves(cluster, &name, pod, ending) => Ok(epoch),
        () = sleep(patience) => Err(KubeFailure::NotAccepted { pod: pod_name, queue, waited: patience }),
        _ = tokio::signal::ctrl_c() => Err(KubeFailure::Withdrawn { pod: pod_name, queue }),
    };
    progress.finish_and_clear();
    // Done or not, it is nobody's wish any more. Should this fail, it ends at its time.
    let taken_back = cluster.patch(&name, annotated(None)).await;
    let epoch = accepted?;
    taken_back?;
    Promoted::since(began, pod, epoch).print(global)
}

/// Waits until the pod serves in a later epoch. A question that fails is asked again: the request is made.
async fn until_serves(cluster: &Cluster, queue: &str, pod: &str, ending: Ending) -> u32 {
    loop {
        let looked = cluster.queue(queue).await.ok();
        if let Some(epoch) = looked.and_then(|queue| serves(&queue, pod, ending)) {
            return epoch;
        }
        sleep(POLL).await;
    }
}

/// What is accepted, and until when, as the operator reads it.
fn acceptance(pod: &str, ending: Ending, until: SystemTime) -> String {
    format!("{pod}/{ending}/{}", humantime::format_rfc3339_seconds(until))
}

fn annotated(value: Option<&str>) -> Value {
    json!({ "metadata": { "annotations": { ACCEPT_DATA_LOSS: value } } })
}

/// The epoch in which the pod serves, once a later one than that which ends has begun.
fn serves(queue: &ReliableQueue, pod: &str, ending: Ending) -> Option<u32> {
    let status = queue.status.as_ref()?;
    let takes_messages = status.conditions.iter().any(|found| {
        found.type_ == ConditionType::WritesAvailable.as_str()
            && found.status == ConditionStatus::True.as_str()
    });
    let epoch = u32::try_from(status.epoch?).ok()?;
    (status.master.as_deref() == Some(pod) && epoch > ending.epoch && takes_messages).then_some(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(master: &str, epoch: i64, writes: &str, mode: &str) -> ReliableQueue {
        let condition = json!({ "type": "WritesAvailable", "status": writes, "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z" });
        let object = json!({
            "apiVersion": "reliablequeue.dev/v1alpha1", "kind": "ReliableQueue",
            "metadata": { "name": "orders" },
            "spec": { "storage": { "size": "1Gi" }, "failover": { "mode": mode } },
            "status": { "master": master, "epoch": epoch, "conditions": [condition] },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_loss_is_accepted_once_that_pod_serves_in_a_later_epoch() {
        let ending: Ending = "0@7".parse().unwrap();
        let served = |master: &str, epoch: i64, writes: &str| {
            serves(&queue(master, epoch, writes, "Automatic"), "orders-1", ending)
        };
        assert_eq!(served("orders-1", 8, "True"), Some(8));
        assert_eq!(served("orders-1", 7, "True"), None, "it was master before");
        assert_eq!(served("orders-1", 8, "False"), None, "it does not serve yet");
        assert_eq!(served("orders-0", 8, "True"), None);
    }

    #[test]
    fn the_annotation_names_pod_shard_epoch_and_end_and_is_taken_away_again() {
        let ending: Ending = "0@7".parse().unwrap();
        let until = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let set = annotated(Some(&acceptance("orders-1", ending, until)));
        let value = &set["metadata"]["annotations"]["reliablequeue.dev/accept-data-loss"];
        assert_eq!(value, "orders-1/0@7/2027-01-15T08:00:00Z");
        assert!(annotated(None)["metadata"]["annotations"][ACCEPT_DATA_LOSS].is_null());
    }

    #[test]
    fn who_waits_for_a_dead_master_is_told_what_helps() {
        assert!(next(&queue("orders-0", 7, "False", "Automatic")).contains("takes over by itself"));
        let told = next(&queue("orders-0", 7, "False", "Manual"));
        assert!(
            told.contains(
                r#"kubectl patch rq orders --type merge -p '{"spec":{"failover":{"mode":"Automatic"}}}'"#
            ),
            "{told}"
        );
    }
}
