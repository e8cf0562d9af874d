//! `kubectl rq events`: how the last failover went, and what was told of the queue.

use clap::Args;
use rq_operator_core::queue::status::LastFailover;
use serde::Serialize;

use super::cluster::Cluster;
use super::timeline::{self, Step};
use crate::args::Global;
use crate::failure::Failure;
use crate::output::{self, Output};

const AFTER_HELP: &str = "\
Times are relative to the moment at which the old master was last known to live, or was found dead. Kubernetes keeps events
for an hour, the queue its last failover for ever.

Examples:
  kubectl rq events orders
  kubectl rq events orders -n shop --limit 100 -o json";

/// `kubectl rq events`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Events {
    /// Name of the queue
    queue: String,
    /// Events shown: the newest
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: usize,
}

/// As it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    last_failover: Option<LastFailover>,
    steps: Vec<Step>,
    events: Vec<Step>,
}

/// Runs the command.
pub(super) async fn run(cluster: &Cluster, global: &Global, command: Events) -> Result<(), Failure> {
    let queue = cluster.queue(&command.queue).await?;
    let last_failover = queue.status.and_then(|status| status.last_failover);
    let events = cluster.events(&command.queue).await?;
    let shown = Shown {
        steps: last_failover.as_ref().map(timeline::steps).unwrap_or_default(),
        events: timeline::newest(events, last_failover.as_ref(), command.limit),
        last_failover,
    };
    match global.output {
        Output::Json => output::json(&shown),
        Output::Table => output::line(&shown.text(&command.queue)),
    }
}

impl Shown {
    fn text(&self, queue: &str) -> String {
        let table = |what: &str, steps: &[Step]| {
            output::columns(&["AFTER", "AT", what, "NOTE"], steps.iter().map(Step::row), false)
        };
        let failover = match &self.last_failover {
            None => format!("{queue} has had no failover that an operator saw"),
            Some(failover) => {
                let told = format!("The last failover of {queue}: {}", timeline::in_short(failover));
                if self.steps.is_empty() { told } else { format!("{told}\n\n{}", table("STEP", &self.steps)) }
            }
        };
        let events = if self.events.is_empty() {
            "No events: Kubernetes keeps them for an hour".to_owned()
        } else {
            table("EVENT", &self.events)
        };
        format!("{failover}\n\n{events}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_without_a_failover_says_so() {
        let text = Shown { last_failover: None, steps: Vec::new(), events: Vec::new() }.text("orders");
        assert_eq!(
            text,
            "orders has had no failover that an operator saw\n\nNo events: Kubernetes keeps them for an hour"
        );
    }

    #[test]
    fn the_failover_comes_before_the_events() {
        let step = |what: &str, after_ms: Option<i64>| Step {
            at: "2026-11-28T10:00:00.500Z".to_owned(),
            after_ms,
            what: what.to_owned(),
            note: "orders-0 is lost".to_owned(),
        };
        let failover = LastFailover {
            epoch: 7,
            from: None,
            to: "orders-1".to_owned(),
            cause: None,
            dead_at: None,
            decided_at: None,
            served_at: None,
        };
        let shown = Shown {
            last_failover: Some(failover),
            steps: vec![step("dead", Some(0))],
            events: vec![step("MemberDown", None)],
        };
        let lines: Vec<_> = shown.text("orders").lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "The last failover of orders: orders-1 in epoch 7");
        assert_eq!(lines[2], "AFTER  AT                        STEP  NOTE");
        assert_eq!(lines[3], "+0 ms  2026-11-28T10:00:00.500Z  dead  orders-0 is lost");
        assert!(lines[6].starts_with("-      2026"), "{lines:?}");
    }
}
