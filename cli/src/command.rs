//! The command line: the list of commands. What a command takes stands in its own module.

use clap::{Parser, Subcommand};

use crate::args::Global;
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
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Create, list, describe, change and delete consumer groups, and set where they go on
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn global_options_may_follow_the_command() {
        let args =
            CommandLine::try_parse_from(["rq", "dlq", "count", "billing", "--endpoint", "rq.example:9000"])
                .unwrap();
        assert_eq!(args.global.endpoint.to_string(), "rq.example:9000");
    }

    #[test]
    fn wrong_use_ends_with_code_2() {
        let Err(error) = CommandLine::try_parse_from(["rq", "topic", "create"]) else {
            panic!("a topic needs a name")
        };
        assert_eq!(error.exit_code(), 2);
    }
}
