//! `rq dlq`: the dead letters of a consumer group, looked at without consuming them, given back, or taken away.

mod act;
mod select;
mod show;

use clap::{Args, Subcommand};
use rq_proto::reliablequeue as pb;

use self::select::{Rest, Which};
use crate::admin::{Admin, call};
use crate::args::Global;
use crate::failure::Failure;
use crate::output::{self, Output};

const AFTER_HELP: &str = "\
A message becomes a dead letter of a group after its last attempt. Dead letters are messages of the topic
%DLQ%GROUP and can be consumed like any other: rq consume %DLQ%billing --group repair

Half messages whose producers never said how their transaction ended are dead letters too, of no group: give
TRANS_CHECK_MAX_TIME_TOPIC as the group. Replayed, they come to every group of their topic.

A dead letter that is damaged on the disk is left out with a warning, and the command ends with code 1.

Examples:
  rq dlq count billing
  rq dlq list billing --limit 20
  rq dlq list billing --topic orders --since '2h ago' -o json
  rq dlq show billing 17
  rq dlq replay billing --property region=eu --dry-run
  rq dlq replay billing --key order-4711
  rq dlq purge billing --before 2026-05-01T00:00:00Z
  rq dlq list TRANS_CHECK_MAX_TIME_TOPIC";

const REPLAY_HELP: &str = "\
Each dead letter goes back to the topic and the queue that it was sent to; only this group gets it again, and its attempts are
counted from 1. It is no dead letter any more. One whose topic is gone stays.

Examples:
  rq dlq replay billing
  rq dlq replay billing --from 100 --to 199 --dry-run";

const PURGE_HELP: &str = "\
What is purged is gone for good. The command asks before, unless --yes is given.

Examples:
  rq dlq purge billing --topic orders --tag test
  rq dlq purge billing --before '7days ago' --yes";

/// `rq dlq …`.
#[derive(Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(crate) enum DlqCommand {
    /// List dead letters, oldest first
    List(List),
    /// Show one dead letter with its properties and its whole body
    Show {
        /// Name of the consumer group
        group: String,
        /// Its offset, as `rq dlq list` shows it
        #[arg(value_parser = clap::value_parser!(i64).range(0..))]
        offset: i64,
    },
    /// Print the number of dead letters
    Count {
        /// Name of the consumer group
        group: String,
    },
    /// Give dead letters back to the group that could not consume them
    #[command(after_help = REPLAY_HELP)]
    Replay(Replay),
    /// Take dead letters away for good
    #[command(after_help = PURGE_HELP)]
    Purge(Purge),
}

/// `rq dlq list`.
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    which: Which,
    /// Most dead letters to list; whether there are more is said on standard error
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
}

/// `rq dlq replay`.
#[derive(Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    which: Which,
    /// Only say how many would be replayed; `rq dlq list` with the same options shows them
    #[arg(long)]
    dry_run: bool,
}

/// `rq dlq purge`.
#[derive(Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    which: Which,
    /// Only say how many would be purged; `rq dlq list` with the same options shows them
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, command: DlqCommand) -> Result<(), Failure> {
    let admin = Admin::connect(global).await?;
    match command {
        DlqCommand::Count { group } => {
            let counted =
                call!(admin.count_dead_letters(pb::CountDeadLettersRequest { group: group.clone() }))?;
            match global.output {
                Output::Json => output::json(&serde_json::json!({ "group": group, "count": counted.count })),
                Output::Table => output::line(&counted.count.to_string()),
            }
        }
        DlqCommand::List(list) => {
            let found = select::fetch(&admin, &list.which, list.limit, true, |_| {}).await?;
            // What was found is shown also where nobody says what else there is.
            let rest = found.rest(&admin, &list.which).await.unwrap_or(Rest::Unknown);
            let shown = found.letters.len();
            show::list(global.output, found.letters)?;
            match rest {
                Rest::None => {}
                Rest::Some => output::cut(shown, "dead letters", "are"),
                Rest::Unknown => output::cut(shown, "dead letters", "may be"),
            }
            select::warn(&found.damaged)
        }
        DlqCommand::Show { group, offset } => {
            let found = select::fetch(&admin, &Which::one(&group, offset), 1, true, |_| {}).await?;
            select::warn(&found.damaged)?;
            let letter = found.letters.into_iter().next();
            show::one(global.output, letter.ok_or(Failure::NoDeadLetter { group, offset })?)
        }
        DlqCommand::Replay(replay) => act::replay(global, &admin, &replay.which, replay.dry_run).await,
        DlqCommand::Purge(purge) => act::purge(global, &admin, &purge.which, purge.dry_run, purge.yes).await,
    }
}
