//! The command line: global options and the list of commands. What a command takes stands in its own module.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::output::Output;
use crate::{
    bench, consume, dlq, flush_mode, group, kubectl, local, log, produce, promote, recall, topic, tx, verify,
};

const AFTER_HELP: &str = "\
Examples:
  rq topic create orders --type fifo
  rq group create billing --fifo --max-attempts 5 --retry-delay 3s
  rq produce orders --body 'hello' --message-group customer-7
  rq produce reminders --body 'pay' --delay 3days
  rq consume orders --group billing --follow
  rq dlq count billing
  rq tx list --topic orders
  rq status -o json
  rq verify
  rq local up --replicas 2
  rq kube status

Exit codes:
  0  done
  1  failed: the broker refused, a file could not be read or written, or copies differ
  2  wrong use of the command line
  3  not found: no such topic or consumer group
  4  the broker cannot be reached or did not answer in time
  5  fewer messages came than were asked for (consume --count)";

/// The tool of ReliableQueue: a message broker that never loses an acknowledged message.
#[derive(Parser)]
#[command(name = "rq", version, after_help = AFTER_HELP, max_term_width = 100, subcommand_required = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(clap::Args, Clone)]
pub(crate) struct Global {
    /// Address of the broker
    #[arg(
        long,
        global = true,
        env = "RQ_ENDPOINT",
        default_value = "127.0.0.1:8081",
        value_name = "HOST:PORT"
    )]
    pub(crate) endpoint: Endpoint,
    /// Tables for people, or JSON for programs
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Longest wait for the broker's answer to one call; of `produce` for each message, all attempts together
    #[arg(long, global = true, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub(crate) timeout: Duration,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Create, list, describe and delete consumer groups, and set where they go on
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Send messages: from the command line, a file, or the lines of standard input
    Produce(produce::Produce),
    /// Take back a delayed message before its time
    Recall(recall::Recall),
    /// Receive messages, print them and acknowledge them
    Consume(consume::Consume),
    /// List, show, replay and purge the dead letters of a consumer group
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// Look at transactions that have not ended, and end them by hand
    #[command(subcommand)]
    Tx(tx::TxCommand),
    /// Show the state of the broker
    Status,
    /// Choose when a message counts as stored: flushed on every copy, or written
    FlushMode(flush_mode::FlushMode),
    /// Make another replica the master
    Promote(promote::Promote),
    /// Compare the copies of a cluster: their segments, read again from the disks, and their states
    Verify(verify::Verify),
    /// Run a cluster of processes on this machine: master, slaves and who watches over them
    #[command(subcommand)]
    Local(local::LocalCommand),
    /// Look after queues on Kubernetes; as a plugin of kubectl, `kubectl rq`
    Kube(kubectl::Kube),
    /// Look into the log of a data directory, without a broker
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Measure a broker: throughput and latency under a closed or an open loop
    Bench(Box<bench::Bench>),
    /// Answer sends without storing anything: the yardstick of `rq bench`
    #[command(hide = true)]
    BenchNull(bench::null::BenchNull),
}

/// A duration as people write it: `3s`, `500ms`, `1h 30m`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text),
    }
}

/// A value that an option cannot do without. An empty one is most often a variable of a script that is not set, and would
/// mean "all" where it was to narrow down.
pub(crate) fn filled(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        Err("it is empty: give a value (is a variable not set?), or leave the option out")
    } else {
        Ok(text.to_owned())
    }
}

/// A user property as it is written on the command line.
pub(crate) fn property(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give KEY=VALUE"),
    }
}

/// Properties by their keys. A key given twice is refused: which of its values was meant is not for the command to say.
pub(crate) fn by_key(properties: &[(String, String)]) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    for (key, value) in properties {
        if found.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::Usage(format!(
                "--property {key}=… is given twice: a message has one value of it, give that one"
            )));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("3s").unwrap(), Duration::from_secs(3));
        assert_eq!(duration("1h 30m").unwrap(), Duration::from_mins(90));
        assert_eq!(duration("7").unwrap(), Duration::from_secs(7));
        assert!(duration("soon").is_err());
    }

    #[test]
    fn a_property_needs_a_key() {
        assert_eq!(property("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(property("a=").unwrap(), ("a".to_owned(), String::new()));
        assert!(property("a").is_err());
        assert!(property("=b").is_err());
    }

    #[test]
    fn what_is_empty_is_no_value_and_a_property_has_one() {
        assert_eq!(filled("a").unwrap(), "a");
        assert!(filled("").unwrap_err().contains("leave the option out"));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(by_key(&[pair("a", "1"), pair("b", "1")]).unwrap().len(), 2);
        let twice = by_key(&[pair("a", "1"), pair("a", "2")]).unwrap_err();
        assert!(twice.to_string().contains("--property a=… is given twice"), "{twice}");
    }

    #[test]
    fn global_options_may_follow_the_command() {
        let args =
            Args::try_parse_from(["rq", "dlq", "count", "billing", "--endpoint", "rq.example:9000"]).unwrap();
        assert_eq!(args.global.endpoint.to_string(), "rq.example:9000");
    }

    #[test]
    fn wrong_use_ends_with_code_2() {
        let Err(error) = Args::try_parse_from(["rq", "topic", "create"]) else {
            panic!("a topic needs a name")
        };
        assert_eq!(error.exit_code(), 2);
    }
}
