//! `rq group reset-offset`: a group goes on elsewhere in a topic.

use std::str::FromStr;

use clap::Args;
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::reset_offset_request::{Earliest, Latest, To};
use serde::Serialize;

use crate::admin::{Admin, call};
use crate::args::Global;
use crate::confirm::confirm;
use crate::failure::Failure;
use crate::moment;
use crate::output::{self, Output};

pub(super) const AFTER_HELP: &str = "\
What the group was handed in this topic and has not acknowledged is forgotten: if it lies behind the new position it comes
again, and its acknowledgement is refused. What lies before the new position never comes to the group any more; it is as if it
had been acknowledged.

With a time the group goes on where nothing that was sent at that time or later lies before. A delayed message counts from when
it was due; one of a transaction and a replayed dead letter from when it was sent, though it came into its queue later; one of a
dead-letter topic from when it became a dead letter. What was sent earlier and lies behind comes to the group too.

The command shows what would be and asks, unless --yes is given.

Examples:
  rq group reset-offset billing --topic orders --to latest
  rq group reset-offset billing --topic orders --to '1h ago' --dry-run
  rq group reset-offset billing --topic orders --to 2026-05-04T12:00:00Z --yes";

/// `rq group reset-offset`.
#[derive(Args)]
pub(crate) struct Reset {
    /// Name of the consumer group
    name: String,
    /// The topic
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// Where it goes on: `earliest`, `latest`, a time as in RFC 3339, or `1h ago`
    #[arg(long, value_name = "WHERE")]
    to: Target,
    /// Only show what would be
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Where a group goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    Earliest,
    Latest,
    Time(i64),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            time => {
                let time = moment::moment(time);
                time.map(Self::Time).map_err(|forms| format!("say `earliest` or `latest`, or {forms}"))
            }
        }
    }
}

/// What it comes to in one queue.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    queue: u32,
    before: Option<i64>,
    after: i64,
    /// Messages from there to the end of the queue.
    to_come: i64,
}

/// Runs the command.
pub(super) async fn run(global: &Global, admin: &Admin, reset: Reset) -> Result<(), Failure> {
    let planned = ask(admin, &reset, true).await?;
    if reset.dry_run {
        return print(global.output, &reset, &planned, false);
    }
    if !reset.yes {
        // People decide on what they see, also where the output is for programs.
        eprintln!("{}", table(&planned));
        confirm(&format!("Have {} go on there in {}?", reset.name, reset.topic), false, "--dry-run")?;
    }
    let done = ask(admin, &reset, false).await?;
    print(global.output, &reset, &done, true)
}

async fn ask(admin: &Admin, reset: &Reset, dry_run: bool) -> Result<Vec<Shown>, Failure> {
    let to = match reset.to {
        Target::Earliest => To::Earliest(Earliest {}),
        Target::Latest => To::Latest(Latest {}),
        Target::Time(ms) => To::TimeMs(ms),
    };
    let (group, topic) = (reset.name.clone(), reset.topic.clone());
    let answer = call!(admin.reset_offset(pb::ResetOffsetRequest { group, topic, dry_run, to: Some(to) }))?;
    let shown = answer.queues.into_iter().map(|queue| Shown {
        queue: queue.queue,
        before: queue.before,
        after: queue.after,
        to_come: queue.next_offset - queue.after,
    });
    Ok(shown.collect())
}

fn print(output: Output, reset: &Reset, queues: &[Shown], done: bool) -> Result<(), Failure> {
    match output {
        Output::Json => output::json(&serde_json::json!({
            "group": reset.name, "topic": reset.topic, "done": done, "queues": queues,
        })),
        Output::Table => output::line(&table(queues)),
    }
}

fn table(queues: &[Shown]) -> String {
    let rows = queues.iter().map(|queue| {
        let before = queue.before.map_or_else(|| "-".to_owned(), |before| before.to_string());
        vec![queue.queue.to_string(), before, queue.after.to_string(), queue.to_come.to_string()]
    });
    output::columns(&["QUEUE", "BEFORE", "AFTER", "TO COME"], rows, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_end_of_the_queue_or_a_time() {
        assert_eq!("earliest".parse(), Ok(Target::Earliest));
        assert_eq!("latest".parse(), Ok(Target::Latest));
        assert_eq!("1970-01-01T00:00:07Z".parse(), Ok(Target::Time(7_000)));
        let refused = "newest".parse::<Target>().unwrap_err();
        assert!(refused.contains("latest") && refused.contains("1h ago"), "{refused}");
    }
}
