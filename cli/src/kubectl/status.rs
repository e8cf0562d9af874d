//! `kubectl rq status`: the queues of a namespace, or one of them on one screen.

use std::time::SystemTime;

use clap::Args;
use kube::ResourceExt as _;
use rq_operator_core::conditions::ConditionType;
use rq_operator_core::queue::ReliableQueue;
use serde::Serialize;

use super::cluster::Cluster;
use super::replicas;
use super::screen::{Asked, Shown};
use crate::args::Global;
use crate::failure::Failure;
use crate::output::{self, Output};

const AFTER_HELP: &str = "\
With a name, each broker is asked for its role, its lag and its disk by a forwarded port, for which you need the right to
create pods/portforward. Without it, and while the operator or brokers are down, what the API server knows is shown.

Examples:
  kubectl rq status
  kubectl rq status -A
  kubectl rq status orders -n shop
  kubectl rq status orders -o json";

/// `kubectl rq status`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Status {
    /// Name of the queue; without it, all of the namespace are listed
    #[arg(conflicts_with = "all_namespaces")]
    queue: Option<String>,
    /// List the queues of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

/// Runs the command.
pub(super) async fn run(cluster: &Cluster, global: &Global, command: Status) -> Result<(), Failure> {
    match command.queue {
        Some(name) => one(cluster, global, &name).await,
        None => list(cluster, global, command.all_namespaces).await,
    }
}

async fn one(cluster: &Cluster, global: &Global, name: &str) -> Result<(), Failure> {
    let queue = cluster.queue(name).await?;
    let shard = cluster.shard(&queue).await;
    let pods = match cluster.pods(&queue).await {
        Ok(pods) => {
            let progress = output::waiting("asking the brokers");
            let answers = replicas::ask(cluster, global, &pods).await;
            progress.finish_and_clear();
            Ok(pods.into_iter().zip(answers).collect())
        }
        Err(failure) => Err(failure),
    };
    let shown = Shown::of(Asked { queue: &queue, shard, pods });
    match global.output {
        Output::Json => output::json(&shown),
        Output::Table => output::line(&shown.text()),
    }
}

/// A queue in the list.
#[derive(Serialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
struct Line {
    namespace: String,
    name: String,
    ready: String,
    reason: String,
    master: Option<String>,
    epoch: Option<i64>,
    in_sync: Option<String>,
    failover_ready: String,
    #[serde(skip)]
    age: String,
}

impl Line {
    fn of(queue: &ReliableQueue, now: SystemTime) -> Self {
        let status = queue.status.clone().unwrap_or_default();
        let condition = |type_: ConditionType| {
            let found = status.conditions.iter().find(|found| found.type_ == type_.as_str());
            found.map_or_else(
                || ("Unknown".to_owned(), "NotReconciled".to_owned()),
                |found| (found.status.clone(), found.reason.clone()),
            )
        };
        let (ready, reason) = condition(ConditionType::Ready);
        let born = queue.metadata.creation_timestamp.as_ref().map(|time| SystemTime::from(time.0));
        let age = born.and_then(|born| now.duration_since(born).ok());
        Self {
            namespace: queue.namespace().unwrap_or_default(),
            name: queue.name_any(),
            ready,
            reason,
            master: status.master,
            epoch: status.epoch,
            in_sync: status.copies,
            failover_ready: condition(ConditionType::FailoverReady).0,
            age: age.map_or_else(|| "-".to_owned(), |age| coarse(age.as_secs())),
        }
    }

    fn row(self, all: bool) -> Vec<String> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let named = all.then_some(self.namespace).into_iter();
        named
            .chain([
                self.name,
                self.ready,
                self.reason,
                or_dash(self.master),
                or_dash(self.epoch.map(|epoch| epoch.to_string())),
                or_dash(self.in_sync),
                self.failover_ready,
                self.age,
            ])
            .collect()
    }
}

/// An age in its largest unit, as kubectl shows it.
fn coarse(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

async fn list(cluster: &Cluster, global: &Global, all: bool) -> Result<(), Failure> {
    let now = SystemTime::now();
    let lines: Vec<_> = cluster.queues(all).await?.iter().map(|queue| Line::of(queue, now)).collect();
    if global.output == Output::Json {
        return output::json(&lines);
    }
    if lines.is_empty() {
        let place = if all { "in any namespace" } else { "in this namespace; see others with -A" };
        return output::line(&format!("There is no queue {place}"));
    }
    let named = all.then_some("NAMESPACE").into_iter();
    let header: Vec<_> = named
        .chain(["NAME", "READY", "REASON", "MASTER", "EPOCH", "IN SYNC", "FAILOVER READY", "AGE"])
        .collect();
    output::table(&header, lines.into_iter().map(|line| line.row(all)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_queue_that_no_operator_has_seen_is_unknown() {
        let object = json!({
            "apiVersion": "reliablequeue.dev/v1alpha1", "kind": "ReliableQueue",
            "metadata": { "name": "orders", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "storage": { "size": "1Gi" } },
        });
        let queue: ReliableQueue = serde_json::from_value(object).unwrap();
        let born = SystemTime::from(queue.metadata.creation_timestamp.clone().unwrap().0);
        let line = Line::of(&queue, born + Duration::from_mins(5));
        assert_eq!(
            line.row(true),
            ["shop", "orders", "Unknown", "NotReconciled", "-", "-", "-", "Unknown", "5m"]
        );
    }

    #[test]
    fn an_age_is_in_its_largest_unit() {
        let ages = [(5, "5s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (200_000, "2d")];
        for (seconds, expected) in ages {
            assert_eq!(coarse(seconds), expected);
        }
    }
}
