//! `rq dlq`: the dead letters of a consumer group, read without consuming them.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use rq_proto::reliablequeue as pb;
use serde::Serialize;

use crate::admin::{Admin, call};
use crate::args::Global;
use crate::consume::Body;
use crate::failure::Failure;
use crate::output::{self, Output};

/// Most dead letters of one page, as the broker allows.
const PAGE: u32 = 1000;
/// Characters of a body that a table shows.
const BODY_SHOWN: usize = 40;

const AFTER_HELP: &str = "\
A message becomes a dead letter of a group after its last attempt. Dead letters are messages of the topic
%DLQ%GROUP and can be consumed like any other: rq consume %DLQ%billing --group repair

A dead letter that is damaged on the disk is left out with a warning, and list ends with code 1.

Examples:
  rq dlq count billing
  rq dlq list billing --limit 20
  rq dlq list billing -o json";

/// `rq dlq …`.
#[derive(Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(crate) enum DlqCommand {
    /// List dead letters, oldest first
    List(List),
    /// Print the number of dead letters
    Count {
        /// Name of the consumer group
        group: String,
    },
}

/// `rq dlq list`.
#[derive(Args)]
pub(crate) struct List {
    /// Name of the consumer group
    group: String,
    /// Most dead letters to list
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
    /// First offset in the dead-letter topic to list
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..), value_name = "OFFSET")]
    from: i64,
}

/// A dead letter as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    offset: i64,
    message_id: String,
    topic: String,
    tag: String,
    keys: Vec<String>,
    message_group: String,
    properties: BTreeMap<String, String>,
    #[serde(flatten)]
    body: Body,
    born_time_ms: i64,
    store_time_ms: i64,
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
            let (letters, damaged) = fetch(&admin, &list).await?;
            show(global.output, letters)?;
            for letter in &damaged {
                eprintln!("rq: the dead letter at offset {} was left out: {}", letter.offset, letter.reason);
            }
            if damaged.is_empty() { Ok(()) } else { Err(Failure::DamagedLetters { damaged: damaged.len() }) }
        }
    }
}

/// Fetches page by page, as many as asked for; and what could not be read among them.
async fn fetch(
    admin: &Admin,
    list: &List,
) -> Result<(Vec<pb::DeadLetter>, Vec<pb::DamagedDeadLetter>), Failure> {
    let (mut letters, mut damaged) = (Vec::new(), Vec::new());
    let mut from_offset = list.from;
    while (letters.len() as u64) < list.limit {
        let missing = list.limit - letters.len() as u64;
        let limit = u32::try_from(missing).map_or(PAGE, |missing| missing.min(PAGE));
        let request =
            pb::ListDeadLettersRequest { group: list.group.clone(), from_offset, limit, without_body: false };
        let page = call!(admin.list_dead_letters(request))?;
        letters.extend(page.dead_letters);
        damaged.extend(page.damaged);
        from_offset = page.next_offset;
        if from_offset == 0 {
            break;
        }
    }
    Ok((letters, damaged))
}

fn show(output: Output, letters: Vec<pb::DeadLetter>) -> Result<(), Failure> {
    if output == Output::Json {
        return output::json(&letters.into_iter().map(Shown::from).collect::<Vec<_>>());
    }
    let rows = letters.into_iter().map(|letter| {
        let (offset, stored) = (letter.offset.to_string(), output::time(letter.store_time_ms));
        let (tag, keys) = (output::or_dash(&letter.tag), output::or_dash(&letter.keys.join(" ")));
        vec![
            offset,
            letter.message_id,
            letter.topic,
            tag,
            keys,
            stored,
            output::body(&letter.body, BODY_SHOWN),
        ]
    });
    output::table(&["OFFSET", "MESSAGE ID", "TOPIC", "TAG", "KEYS", "STORED", "BODY"], rows)
}

impl From<pb::DeadLetter> for Shown {
    fn from(letter: pb::DeadLetter) -> Self {
        Self {
            offset: letter.offset,
            message_id: letter.message_id,
            topic: letter.topic,
            tag: letter.tag,
            keys: letter.keys,
            message_group: letter.message_group,
            properties: letter.properties,
            body: Body::from(letter.body.as_slice()),
            born_time_ms: letter.born_time_ms,
            store_time_ms: letter.store_time_ms,
        }
    }
}
