//! `make failover-bench`: how long clients of a queue with the defaults go without an acknowledged send, from the last OK to the
//! next, in many runs of each fault. Prints the table of docs/performance.md; a bar that is missed is printed like one that is
//! reached, but a lost message fails.

use std::env;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rq_tests::requirement::loudly;
use rq_tests::run::rounds;
use serde_json::json;

use crate::bench_history::longest_gap;
use crate::docker::{Loss, let_it_last};
use crate::e_operator::without_operator;
use crate::kubectl::text;
use crate::load::{Load, now};
use crate::pods::{End, replaced};
use crate::queue::{Queue, incarnation};
use crate::scene::{Needs, play};

/// Load around a fault of a pod, and around one of a node, whose detection takes longer.
const AROUND_POD: Duration = Duration::from_secs(15);
const AROUND_NODE: Duration = Duration::from_secs(25);
/// A node stays away for so long: longer than it takes to promote.
const AWAY: Duration = Duration::from_secs(10);
/// Runs of a fault of a pod, and of a node.
const RUNS: (u32, u32) = (20, 5);

/// What happens to the master.
#[derive(Clone, Copy)]
enum Fault {
    Pod(End),
    Node(Loss),
}

/// One line of the table.
struct Line {
    told: &'static str,
    fault: Fault,
    /// No operator runs meanwhile.
    alone: bool,
    /// Most seconds in the median and at worst, where there is a bar.
    bars: (Option<f64>, f64),
}

const LINES: [Line; 7] = [
    Line {
        told: "graceful delete of the master's pod",
        fault: Fault::Pod(End::Deleted),
        alone: false,
        bars: (Some(0.5), f64::INFINITY),
    },
    Line {
        told: "force delete",
        fault: Fault::Pod(End::DeletedByForce),
        alone: false,
        bars: (Some(1.0), 3.0),
    },
    Line {
        told: "SIGKILL of the process",
        fault: Fault::Pod(End::Killed),
        alone: false,
        bars: (Some(1.0), 3.0),
    },
    Line { told: "node paused", fault: Fault::Node(Loss::Paused), alone: false, bars: (None, 6.0) },
    Line { told: "node killed", fault: Fault::Node(Loss::Killed), alone: false, bars: (None, 6.0) },
    // A pod deleted by force hands over: without an operator, what counts is a master that cannot.
    Line {
        told: "no operator, SIGKILL of the process",
        fault: Fault::Pod(End::Killed),
        alone: true,
        bars: (None, 6.0),
    },
    Line {
        told: "no operator, node killed",
        fault: Fault::Node(Loss::Killed),
        alone: true,
        bars: (None, 6.0),
    },
];

#[test]
#[ignore = "takes an hour: `make failover-bench`; RQ_ROUNDS to shorten it, RQ_FAULTS for the lines that have these words"]
fn failover_is_measured() -> Result<()> {
    play("bench", Needs::Docker, |scene| {
        let queue = Queue::apply(scene, &json!({ "scheduling": { "hostSpread": "Required" } }))?;
        let mut table = "| fault | runs | bar | median | worst | |\n|---|---|---|---|---|---|\n".to_owned();
        let only = env::var("RQ_FAULTS").unwrap_or_default();
        for line in LINES.iter().filter(|line| line.told.contains(&only)) {
            let row = line.measure(&queue).with_context(|| line.told)?;
            eprint!("{row}");
            table.push_str(&row);
        }
        loudly(&format!("from the last OK to the next, two replicas:\n{table}"));
        Ok(())
    })
}

impl Line {
    fn measure(&self, queue: &Queue<'_>) -> Result<String> {
        let runs = match self.fault {
            Fault::Pod(_) => rounds(RUNS.0, RUNS.0),
            Fault::Node(_) => rounds(RUNS.1, RUNS.1).min(RUNS.1),
        };
        let operator = self.alone.then(without_operator).transpose()?;
        let mut gaps = Vec::new();
        for run in 1..=runs {
            let gap = self.run(queue, run).with_context(|| format!("run {run}"))?;
            eprintln!("{}, run {run} of {runs}: {gap:.2} s", self.told);
            gaps.push(gap);
        }
        if let Some(operator) = operator {
            operator.now()?;
            queue.whole(2)?;
        }
        gaps.sort_by(f64::total_cmp);
        Ok(self.row(&gaps))
    }

    /// One fault: the longest time without an acknowledged send from then on, in seconds.
    fn run(&self, queue: &Queue<'_>, run: u32) -> Result<f64> {
        let name = format!("load-{}-{run}", self.told.to_lowercase().replace([' ', ',', '\''], "-"));
        let around = if matches!(self.fault, Fault::Pod(_)) { AROUND_POD } else { AROUND_NODE };
        let load = Load::start_as(queue, &name, around)?;
        let before = queue.shard()?;
        let master = queue.pod(&before.master)?;
        let fault = now();
        match self.fault {
            Fault::Pod(end) => {
                end.of(queue, &before.master)?;
                let promoted = queue.promoted_after(&before)?;
                // A pod whose broker ends again and again is started later and later; a new pod is not.
                if end == End::Killed && promoted.master != before.master {
                    End::DeletedByForce.of(queue, &before.master)?;
                }
                replaced(queue, &before.master, &incarnation(&master))?;
            }
            Fault::Node(loss) => {
                let back = loss.of(text(&master, "/spec/nodeName"))?;
                queue.promoted_after(&before)?;
                let_it_last(AWAY);
                back.now()?;
            }
        }
        let history = load.finish(fault)?;
        queue.both_in_sync()?;
        Ok(longest_gap(&history, fault).as_secs_f64())
    }

    /// The line of the table, from the times in order.
    fn row(&self, gaps: &[f64]) -> String {
        let (median, worst) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
        let (most, at_worst) = self.bars;
        let reached = most.is_none_or(|most| median < most) && worst < at_worst;
        let bars = [
            most.map(|most| format!("median < {most} s")),
            at_worst.is_finite().then(|| format!("worst < {at_worst} s")),
        ];
        let bars = bars.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let reached = if reached { "reached" } else { "**missed**" };
        format!("| {} | {} | {bars} | {median:.2} s | {worst:.2} s | {reached} |\n", self.told, gaps.len())
    }
}
