//! `rq tx`: transactions that have not ended, and their end by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use rq_proto::reliablequeue as pb;
use serde::Serialize;

use crate::admin::{Admin, call};
use crate::args::{Global, filled};
use crate::consume::Body;
use crate::failure::Failure;
use crate::output::{self, Output};

/// Where whoever types commands has the ids from.
const SOURCE_OF_IDS: &str = "as `rq tx list` or `rq produce -o json` shows it";

/// Most transactions of one page, as the broker allows.
const PAGE: u32 = 1000;

/// What is said of transactions that come after a call that nobody answered.
const NOT_TRIED: &str = "not tried, because the broker did not answer before";

const AFTER_HELP: &str = "\
A half message waits until its producer commits its transaction or rolls it back. A producer
that says nothing is asked, first after 6 s and then about every 35 s; while no producer of the
topic is connected nobody is, and that does not count. After 15 checks in vain the message goes to
the topic TRANS_CHECK_MAX_TIME_TOPIC: `rq dlq list TRANS_CHECK_MAX_TIME_TOPIC` shows it, `rq dlq
replay` gives it to the consumers of its topic after all.

Commit or roll back by hand only what its producer will not end: a transaction ends once. Of several
ids each is told what became of it, with -o json on a line of its own; one that is refused, whose line
has an `error`, does not stop the others. The exit code is then that of the first that was refused.
A broker that does not answer is not asked about those that are left.

Examples:
  rq tx list
  rq tx list --topic orders -o json
  rq tx show 0200000100000040a100000000000091905417
  rq tx commit 0200000100000040a100000000000091905417";

/// `rq tx …`.
#[derive(Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(crate) enum TxCommand {
    /// List open transactions, oldest first
    List(List),
    /// Show an open transaction with its message
    Show {
        /// Id of the transaction, as `rq tx list` or `rq produce -o json` shows it
        id: String,
    },
    /// Commit transactions: consumers see their messages. One that is refused does not stop the others;
    /// the exit code tells of it
    Commit(End),
    /// Roll back transactions: their messages are dropped. One that is refused does not stop the others;
    /// the exit code tells of it
    Rollback(End),
}

/// `rq tx list`.
#[derive(Args)]
pub(crate) struct List {
    /// Only transactions of this topic
    #[arg(long, value_parser = filled, value_name = "TOPIC")]
    topic: Option<String>,
    /// Most transactions to list; whether there are more is said on standard error
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u64,
}

/// `rq tx commit` and `rq tx rollback`.
#[derive(Args)]
pub(crate) struct End {
    /// Ids of the transactions, as `rq tx list` or `rq produce -o json` shows them
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// A transaction as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    transaction_id: String,
    topic: String,
    queue: u32,
    message_id: String,
    tag: String,
    keys: Vec<String>,
    properties: BTreeMap<String, String>,
    born_time_ms: i64,
    store_time_ms: i64,
    checks: u32,
    next_check_ms: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    damage: String,
}

#[derive(Serialize)]
struct ShownWhole {
    #[serde(flatten)]
    transaction: Shown,
    #[serde(flatten)]
    body: Body,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, command: TxCommand) -> Result<(), Failure> {
    let admin = Admin::connect(global).await?;
    match command {
        TxCommand::List(list) => {
            let Listed { transactions, now_ms, more } = fetch(&admin, &list).await?;
            let shown = transactions.len();
            show_list(global.output, transactions, now_ms)?;
            if more {
                output::cut(shown, "transactions", "are");
            }
            Ok(())
        }
        TxCommand::Show { id } => {
            let request = pb::DescribeTransactionRequest { transaction_id: id };
            let described = call!(admin.describe_transaction(request));
            show(global.output, described.map_err(|failure| failure.of_typed(SOURCE_OF_IDS))?)
        }
        TxCommand::Commit(end) => end_all(global.output, &admin, &end.ids, true).await,
        TxCommand::Rollback(end) => end_all(global.output, &admin, &end.ids, false).await,
    }
}

/// What was asked for of the list.
struct Listed {
    transactions: Vec<pb::Transaction>,
    /// The broker's time of the last page.
    now_ms: i64,
    /// Whether the list goes on.
    more: bool,
}

/// Fetches page by page, as many as asked for.
async fn fetch(admin: &Admin, list: &List) -> Result<Listed, Failure> {
    let (mut transactions, mut from) = (Vec::new(), 0);
    loop {
        let missing = list.limit.saturating_sub(transactions.len() as u64);
        let limit = u32::try_from(missing).map_or(PAGE, |missing| missing.clamp(1, PAGE));
        let request =
            pb::ListTransactionsRequest { topic: list.topic.clone().unwrap_or_default(), from, limit };
        let page = call!(admin.list_transactions(request))?;
        transactions.extend(page.transactions);
        from = page.next;
        if from == 0 || transactions.len() as u64 >= list.limit {
            let most = usize::try_from(list.limit).unwrap_or(usize::MAX);
            let more = from != 0 || transactions.len() > most;
            transactions.truncate(most);
            return Ok(Listed { transactions, now_ms: page.now_ms, more });
        }
    }
}

fn show_list(output: Output, transactions: Vec<pb::Transaction>, now_ms: i64) -> Result<(), Failure> {
    if output == Output::Json {
        return output::json(&transactions.into_iter().map(Shown::from).collect::<Vec<_>>());
    }
    let rows = transactions.into_iter().map(|transaction| {
        let (age, next) = (age(&transaction, now_ms), until(transaction.next_check_ms, now_ms));
        let message =
            if transaction.damage.is_empty() { transaction.message_id } else { "damaged".to_owned() };
        vec![
            transaction.transaction_id,
            transaction.topic,
            message,
            age,
            transaction.checks.to_string(),
            next,
        ]
    });
    output::table(&["TRANSACTION ID", "TOPIC", "MESSAGE ID", "AGE", "CHECKS", "NEXT CHECK"], rows)
}

fn show(output: Output, transaction: pb::Transaction) -> Result<(), Failure> {
    let body = Body::from(transaction.body.as_slice());
    if output == Output::Json {
        return output::json(&ShownWhole { body, transaction: transaction.into() });
    }
    let properties: Vec<String> =
        transaction.properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut fields = vec![
        ("transaction", transaction.transaction_id),
        ("topic", transaction.topic),
        ("queue", transaction.queue.to_string()),
        ("message", output::or_dash(&transaction.message_id)),
        ("tag", output::or_dash(&transaction.tag)),
        ("keys", output::or_dash(&transaction.keys.join(" "))),
        ("properties", output::or_dash(&output::body(properties.join(" ").as_bytes(), usize::MAX))),
        ("born", output::time(transaction.born_time_ms)),
        ("stored", output::time(transaction.store_time_ms)),
        ("checks", transaction.checks.to_string()),
        ("next check", output::time(transaction.next_check_ms)),
        ("body", output::body(&transaction.body, usize::MAX)),
    ];
    if !transaction.damage.is_empty() {
        fields.push(("damage", transaction.damage));
    }
    output::fields(&fields)
}

/// One after the other, also those behind one that is refused. A broker that does not answer is asked no more: each of those
/// that are left would wait as long for nothing.
async fn end_all(output: Output, admin: &Admin, ids: &[String], commit: bool) -> Result<(), Failure> {
    let (mut failed, mut first, mut silent) = (0, None, false);
    for id in ids {
        let reason = if silent {
            NOT_TRIED.to_owned()
        } else {
            match end(admin, id, commit).await {
                Ok(topic) => {
                    tell_ended(output, id, &topic, commit)?;
                    continue;
                }
                Err(failure) => {
                    silent = failure.is_temporary();
                    let reason = failure.to_string();
                    first.get_or_insert(failure);
                    reason
                }
            }
        };
        failed += 1;
        // Of a single one the command's own end says it.
        tell_failed(output, id, &reason, ids.len() > 1)?;
    }
    first.map_or(Ok(()), |first| Err(not_ended(ids, failed, commit, first)))
}

/// Ends one, and tells the name of its topic.
async fn end(admin: &Admin, id: &str, commit: bool) -> Result<String, Failure> {
    let request = pb::EndTransactionRequest { transaction_id: id.to_owned(), commit };
    let ended = call!(admin.end_transaction(request));
    ended.map(|ended| ended.topic).map_err(|failure| failure.of_typed(SOURCE_OF_IDS))
}

fn tell_ended(output: Output, id: &str, topic: &str, commit: bool) -> Result<(), Failure> {
    match output {
        Output::Json => output::json_line(&serde_json::json!({
            "transactionId": id, "topic": topic, "committed": commit,
        })),
        Output::Table => {
            output::line(&format!("transaction {id} of topic {topic} is {}", resolution(commit)))
        }
    }
}

fn tell_failed(output: Output, id: &str, reason: &str, is_one_of_several: bool) -> Result<(), Failure> {
    match output {
        Output::Json => output::json_line(&serde_json::json!({ "transactionId": id, "error": reason })),
        Output::Table if is_one_of_several => {
            eprintln!("rq: transaction {id}: {reason}");
            Ok(())
        }
        Output::Table => Ok(()),
    }
}

fn not_ended(ids: &[String], failed: usize, commit: bool, first: Failure) -> Failure {
    let told = match ids {
        [id] => format!("transaction {id}: {first}"),
        _ => format!("{failed} of {} transactions could not be {}", ids.len(), resolution(commit)),
    };
    Failure::NotEnded { told, first: Box::new(first) }
}

const fn resolution(commit: bool) -> &'static str {
    if commit { "committed" } else { "rolled back" }
}

fn age(transaction: &pb::Transaction, now_ms: i64) -> String {
    if transaction.store_time_ms == 0 { "-".to_owned() } else { span(now_ms - transaction.store_time_ms) }
}

/// Of a check that is overdue nobody is there who could be asked.
fn until(at_ms: i64, now_ms: i64) -> String {
    if at_ms <= now_ms { "due".to_owned() } else { format!("in {}", span(at_ms - now_ms)) }
}

/// Whole seconds are enough for people.
fn span(ms: i64) -> String {
    let seconds = u64::try_from(ms / 1_000).unwrap_or(0);
    output::span(Duration::from_secs(seconds))
}

impl From<pb::Transaction> for Shown {
    fn from(transaction: pb::Transaction) -> Self {
        Self {
            transaction_id: transaction.transaction_id,
            topic: transaction.topic,
            queue: transaction.queue,
            message_id: transaction.message_id,
            tag: transaction.tag,
            keys: transaction.keys,
            properties: transaction.properties,
            born_time_ms: transaction.born_time_ms,
            store_time_ms: transaction.store_time_ms,
            checks: transaction.checks,
            next_check_ms: transaction.next_check_ms,
            damage: transaction.damage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_the_examples_is_one() {
        let ids: Vec<&str> = AFTER_HELP.split_whitespace().filter(|word| word.starts_with("0200")).collect();
        assert_eq!(ids.len(), 2);
        for id in ids {
            assert!(rq_core::handle::decode_transaction(rq_core::ids::ShardId(0), id).is_ok(), "{id}");
        }
    }

    #[test]
    fn times_are_told_from_the_brokers_own() {
        let transaction = pb::Transaction { store_time_ms: 10_000, ..pb::Transaction::default() };
        assert_eq!(age(&transaction, 75_900), "1m 5s");
        assert_eq!(age(&transaction, 9_000), "0s", "clocks may differ");
        assert_eq!(age(&pb::Transaction::default(), 75_900), "-");
        assert_eq!((until(20_000, 20_000), until(50_000, 20_000)), ("due".to_owned(), "in 30s".to_owned()));
    }
}
