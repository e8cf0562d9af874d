//! The options of `rq bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rq_filter::Expression;
use rq_proto::reliablequeue::TopicType;

use crate::args::{duration, property};
use crate::bench::consumers::Consumer;
use crate::bench::prebuilt::{Content, Hold};
use crate::client::Filter;
use crate::failure::Failure;

const AFTER_HELP: &str = "\
The topic and the consumer group are created unless they exist. A send that fails for the moment is repeated with
the same message id until the end of the run.

At the end it says what came of the messages, those of the warm-up included. With consumers it goes on until every
message that was acknowledged is received, or the consumer group has nothing left; what is missing then is lost, and
the exit code 1. Nobody else may receive for that group meanwhile. Ctrl-C ends the load, and once more the wait.

With --transactions a message is acknowledged when its commit is, and both calls are one. A commit that fails for
the moment is repeated too. Nobody answers the broker's checks: what the end of the run leaves open, `rq tx list` shows.

With --delay the report says how long after its time each message came that was due within the measurement, and how
many came before it: by the clock of this machine, which is to go with the broker's.

--history writes one JSON object a line for every attempt of an operation:
  op           send | commit | receive | ack
  client       number of the sender or the consumer
  id           message id; \"\" for a receive that failed or found nothing
  invoke_ns    when the call began, nanoseconds since 1970, monotonic within the run
  complete_ns  when its outcome was known
  result       ok | fail (surely not done) | unknown (done or not)
  code         what the broker answered, where the result is not ok
  half         true for sends of half messages, which wait for their commit
  due_ns       of sends of delayed messages: their time
  queue, offset, attempt, handle, invisible_ms, message_group   of messages received, and handle of acks

Examples:
  rq bench --senders 64 --duration 30s
  rq bench --rate 5000 --size 4096 -o json
  rq bench --senders 64 --consumers 8 --inflight 64
  rq bench --topic payments --transactions --senders 16
  rq bench --topic reminders --delay 5s --rate 1000 --consumers 4
  rq bench --consumers 8 --sql 'amount > 100' --property amount=250
  rq bench --rate 500 --consumers 2 --duration 30s     while you run `rq local kill master`
  rq bench --call empty --senders 1
  rq bench --senders 16 --consumers 4 --count 100000 --drain --history ops.jsonl";

/// `rq bench`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Bench {
    /// Topic to send to and receive from
    #[arg(long, default_value = "bench", value_name = "NAME")]
    pub(crate) topic: String,
    /// Consumer group to receive for
    #[arg(long, default_value = "bench", value_name = "NAME")]
    pub(crate) group: String,
    /// What the senders call
    #[arg(long, value_enum, default_value_t)]
    pub(crate) call: Call,
    /// Senders, each with one send under way; with --rate the most sends under way at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=65536), value_name = "N")]
    pub(crate) senders: u32,
    /// Open loop: begin so many sends a second
    #[arg(long, value_parser = rate, value_name = "R")]
    pub(crate) rate: Option<f64>,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=4_194_304), value_name = "BYTES")]
    pub(crate) size: u32,
    /// Measure for so long
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub(crate) duration: Duration,
    /// Send so many messages instead, measured from the first on
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["duration", "warmup"], value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Load before the measurement
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "DURATION")]
    pub(crate) warmup: Duration,
    /// Consumers, besides the senders
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=4096), value_name = "N")]
    pub(crate) consumers: u32,
    /// Messages of a consumer received and not yet acknowledged, at most; each ack is a call of its own
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536), value_name = "M")]
    pub(crate) inflight: u32,
    /// How long a received message is hidden from others
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "DURATION")]
    pub(crate) invisible: Duration,
    /// Consumers go on after the last send until the consumer group has nothing left, whoever sent it
    #[arg(long)]
    pub(crate) drain: bool,
    /// Spread the messages over so many message groups (topic and consumer group of type fifo)
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=65536), value_name = "N")]
    pub(crate) message_groups: u32,
    /// Send half messages, and commit each (topic of type transaction)
    #[arg(long, conflicts_with_all = ["delay", "message_groups"])]
    pub(crate) transactions: bool,
    /// Deliver each message so long after its send begins (topic of type delay)
    #[arg(long, value_parser = delay, conflicts_with = "message_groups", value_name = "DURATION")]
    pub(crate) delay: Option<Duration>,
    /// Send messages of this tag, and receive only those
    #[arg(long, conflicts_with = "sql", value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// Receive only messages of which this is true; with --senders it must be of what they send
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) sql: Option<String>,
    /// User property of what is sent; may be given several times
    #[arg(long = "property", value_parser = property, value_name = "KEY=VALUE")]
    pub(crate) properties: Vec<(String, String)>,
    /// HTTP/2 connections that the senders share, and as many that the consumers share
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024), value_name = "N")]
    pub(crate) connections: u32,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_parser = threads, value_name = "N")]
    pub(crate) threads: usize,
    /// Write every operation into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// Process id of the broker on this machine, to report its processor time for each message; of several, all together
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Vec<u32>,
}

/// What the senders call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Call {
    /// A send of one message
    #[default]
    Send,
    /// A heartbeat: the cost of a gRPC call that does nothing
    Empty,
}

/// Moments within it can be told in nanoseconds since 1970; brokers allow far less.
fn delay(text: &str) -> Result<Duration, String> {
    const DELAY_MAX: Duration = Duration::from_hours(10 * 365 * 24);
    let delay = duration(text).map_err(|error| error.to_string())?;
    if delay <= DELAY_MAX { Ok(delay) } else { Err("give ten years at most".to_owned()) }
}

fn rate(text: &str) -> Result<f64, &'static str> {
    const RATE_MAX: f64 = 1e7;
    text.parse()
        .ok()
        .filter(|rate| (0.001..=RATE_MAX).contains(rate))
        .ok_or("give a number from 0.001 to 10000000")
}

/// Number of threads of a runtime.
pub(crate) fn threads(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|threads| (1..=256).contains(threads)).ok_or("give a number from 1 to 256")
}

impl Bench {
    /// Options that do not go together.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let wrong = if self.senders == 0 && self.consumers == 0 {
            "give --senders or --consumers, or both"
        } else if self.senders == 0 && (self.count.is_some() || self.rate.is_some()) {
            "--count and --rate need --senders"
        } else if self.drain && self.consumers == 0 {
            "--drain needs --consumers"
        } else if self.call == Call::Empty && self.consumers > 0 {
            "--call empty goes without --consumers"
        } else if self.call == Call::Empty && self.hold() != Hold::Nothing {
            "--call empty goes without --transactions and --delay"
        } else {
            return self.check_sql();
        };
        Err(Failure::Usage(wrong.to_owned()))
    }

    /// What is sent and wanted by nobody would be told as lost.
    fn check_sql(&self) -> Result<(), Failure> {
        let Some(sql) = &self.sql else { return Ok(()) };
        let filter = Expression::parse(sql).map_err(|error| Failure::Usage(format!("--sql: {error}")))?;
        if self.senders > 0 && self.consumers > 0 && !filter.matches(&self.content(None)) {
            let wrong = "--sql is not true of what is sent: give that properties with --property KEY=VALUE";
            return Err(Failure::Usage(wrong.to_owned()));
        }
        Ok(())
    }

    /// What the messages of a message group, or of none, have in common.
    pub(super) fn content(&self, message_group: Option<String>) -> Content {
        Content {
            topic: self.topic.clone(),
            message_group,
            size: self.size as usize,
            tag: self.tag.clone(),
            properties: self.properties.iter().cloned().collect(),
            hold: self.hold(),
        }
    }

    pub(super) fn hold(&self) -> Hold {
        match self.delay {
            Some(delay) => Hold::Delay(delay),
            None if self.transactions => Hold::Transaction,
            None => Hold::Nothing,
        }
    }

    /// The type that the topic must have.
    pub(super) fn topic_type(&self) -> TopicType {
        match self.hold() {
            Hold::Nothing if self.message_groups > 0 => TopicType::Fifo,
            Hold::Nothing => TopicType::Normal,
            Hold::Transaction => TopicType::Transaction,
            Hold::Delay(_) => TopicType::Delay,
        }
    }

    fn filter(&self) -> Filter {
        match (&self.tag, &self.sql) {
            (_, Some(sql)) => Filter::Sql(sql.clone()),
            (Some(tag), None) => Filter::Tags(tag.clone()),
            (None, None) => Filter::Tags("*".to_owned()),
        }
    }

    /// What each consumer does.
    pub(super) fn consumer(&self) -> Consumer {
        Consumer {
            topic: self.topic.clone(),
            group: self.group.clone(),
            filter: self.filter(),
            inflight: self.inflight,
            invisible: self.invisible,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::command::{Command, CommandLine};

    fn bench(options: &[&str]) -> Result<Bench, clap::Error> {
        match CommandLine::try_parse_from([&["rq", "bench"], options].concat())?.command {
            Command::Bench(bench) => Ok(*bench),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn the_type_of_the_topic_follows_from_what_is_sent() {
        let kind = |options: &[&str]| bench(options).unwrap().topic_type();
        assert_eq!(kind(&[]), TopicType::Normal);
        assert_eq!(kind(&["--message-groups", "3"]), TopicType::Fifo);
        assert_eq!(kind(&["--transactions"]), TopicType::Transaction);
        assert_eq!(kind(&["--delay", "5s"]), TopicType::Delay);
    }

    #[test]
    fn a_message_waits_for_one_thing_at_most() {
        assert!(bench(&["--transactions", "--delay", "5s"]).is_err());
        assert!(bench(&["--transactions", "--message-groups", "3"]).is_err());
        assert!(bench(&["--delay", "5s", "--message-groups", "3"]).is_err());
        assert!(bench(&["--call", "empty", "--transactions"]).unwrap().check().is_err());
    }

    #[test]
    fn what_is_sent_passes_the_filter_that_it_is_received_by() {
        let check = |options: &[&str]| bench(&[&["--consumers", "1"], options].concat()).unwrap().check();
        assert!(check(&["--sql", "amount > 100", "--property", "amount=250"]).is_ok());
        let unwanted = check(&["--sql", "amount > 100", "--property", "amount=25"]).unwrap_err().to_string();
        assert!(unwanted.contains("--property"), "{unwanted}");
        assert!(check(&["--sql", "amount > 100", "--senders", "0"]).is_ok(), "others may send");
        let wrong = check(&["--sql", "amount == 100"]).unwrap_err().to_string();
        assert!(wrong.contains("character 8"), "{wrong}");
    }
}
