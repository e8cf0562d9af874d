//! `rq consume`: receives messages, prints them and only then acknowledges them. What was not acknowledged comes
//! back after its invisible time.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::{Args, ValueEnum};
use futures::future;
use rq_proto::rocketmq as pb;
use serde::Serialize;

use crate::args::{Global, duration, filled};
use crate::client::{CallError, Client, Filter, Receive, wire_millis};
use crate::failure::Failure;
use crate::output::{self, Output};

/// Without `--follow` the command ends when nothing came for so long.
const LINGER: Duration = Duration::from_secs(2);
/// With `--follow` the broker may hold each receive for so long.
const LONG_POLL: Duration = Duration::from_secs(20);
/// Pause after a receive or an ack that failed for the moment.
const PAUSE: Duration = Duration::from_secs(1);
/// Attempts of an ack, the first included.
const ACK_ATTEMPTS: u32 = 5;
/// Characters of a body printed on a line.
const BODY_SHOWN: usize = 4096;

const AFTER_HELP: &str = "\
Without --follow the command ends when no message came for 2 s; with code 5, if that is before --count.

What --tag or --sql leaves out is passed over for the whole group, and no receive of that group gets it later, with whatever
filter. To look at some messages without taking the others away from a group, give a group of your own.

Examples:
  rq consume orders --group billing
  rq consume orders --group billing --follow --tag 'new || paid'
  rq consume orders --group billing --sql 'amount > 100 AND region IS NOT NULL'
  rq consume orders --group billing --count 10 --ack never --invisible 30s
  rq consume orders --group billing -o json | jq -r .body";

/// `rq consume`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Consume {
    /// Topic to receive from
    topic: String,
    /// Consumer group to receive for
    #[arg(long, value_name = "NAME")]
    group: String,
    /// Whether to acknowledge messages
    #[arg(long, value_enum, default_value_t)]
    ack: Ack,
    /// Go on when there are no messages, until interrupted
    #[arg(long)]
    follow: bool,
    /// End after so many messages; with code 5 if fewer came
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    count: Option<u64>,
    /// Most messages of one receive
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=32), value_name = "N")]
    batch: u32,
    /// How long a received message is hidden from others; without an ack it comes back then
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "DURATION")]
    invisible: Duration,
    /// Only messages of these tags: `a` or `a || b`. What a filter leaves out is passed over for good for this group
    #[arg(long, default_value = "*", value_parser = filled, value_name = "TAGS", conflicts_with = "sql")]
    tag: String,
    /// Only messages of which this is true: SQL92 over user properties, TAGS and KEYS. What a filter leaves out
    /// is passed over for good for this group
    #[arg(long, value_parser = filled, value_name = "EXPRESSION")]
    sql: Option<String>,
}

/// When to acknowledge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Ack {
    /// After the message is printed
    #[default]
    After,
    /// Never: the message comes back
    Never,
}

/// A message as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    message_id: String,
    queue: i32,
    offset: i64,
    attempt: i32,
    tag: Option<String>,
    keys: Vec<String>,
    message_group: Option<String>,
    properties: BTreeMap<String, String>,
    born_time_ms: i64,
    store_time_ms: i64,
    #[serde(flatten)]
    body: Body,
}

/// A body as JSON can hold it.
#[derive(PartialEq, Eq, Debug, Serialize)]
pub(crate) enum Body {
    /// UTF-8.
    #[serde(rename = "body")]
    Text(String),
    /// Anything else.
    #[serde(rename = "bodyBase64")]
    Binary(String),
}

impl From<&[u8]> for Body {
    fn from(body: &[u8]) -> Self {
        match std::str::from_utf8(body) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Binary(BASE64_STANDARD.encode(body)),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(global: &Global, consume: Consume) -> Result<(), Failure> {
    let client = Client::connect(&global.endpoint, global.timeout).await?;
    let bar = output::progress(consume.count, "messages received");
    let mut left = consume.count.unwrap_or(u64::MAX);
    let mut not_acked = 0;
    while left > 0 {
        let receive = consume.receive(left);
        let received = tokio::select! {
            received = client.receive(&receive) => received,
            _ = tokio::signal::ctrl_c() => break,
        };
        let messages = match received {
            Ok(messages) => messages,
            Err(error) if consume.follow && error.is_temporary() => {
                bar.suspend(|| eprintln!("rq: {error}; trying again"));
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if messages.is_empty() && !consume.follow {
            break;
        }
        for message in &messages {
            bar.suspend(|| print(global.output, message))?;
            bar.inc(1);
        }
        left -= left.min(messages.len() as u64);
        if consume.ack == Ack::After {
            let acks = messages.iter().map(|message| acknowledge(&client, &consume, message));
            not_acked += future::join_all(acks).await.into_iter().filter(Result::is_err).count() as u64;
        }
    }
    bar.finish_and_clear();
    match consume.count {
        _ if not_acked > 0 => Err(Failure::NotAcked(not_acked)),
        Some(wanted) if left > 0 => Err(Failure::TooFew { received: wanted - left, wanted }),
        _ => Ok(()),
    }
}

/// Acknowledges one message, again where that may help.
async fn acknowledge(client: &Client, consume: &Consume, message: &pb::Message) -> Result<(), CallError> {
    let mut attempt = 1;
    loop {
        match client.ack(&consume.group, &consume.topic, message).await {
            Err(error) if error.is_temporary() && attempt < ACK_ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                eprintln!("rq: a message was not acknowledged: {error}");
                return Err(error);
            }
            Ok(()) => return Ok(()),
        }
    }
}

impl Consume {
    /// Asks for no more than is wanted: what is received in excess would be hidden from others.
    fn receive(&self, left: u64) -> Receive {
        Receive {
            topic: self.topic.clone(),
            group: self.group.clone(),
            filter: self.sql.clone().map_or_else(|| Filter::Tags(self.tag.clone()), Filter::Sql),
            batch: u32::try_from(left).map_or(self.batch, |left| left.min(self.batch)),
            invisible: self.invisible,
            wait: if self.follow { LONG_POLL } else { LINGER },
        }
    }
}

fn print(output: Output, message: &pb::Message) -> Result<(), Failure> {
    let shown = Shown::from(message);
    match output {
        Output::Json => output::json_line(&shown),
        Output::Table => output::line(&sentence(&shown, &message.body)),
    }
}

/// A message on a line: where it comes from, what it carries, its body.
fn sentence(shown: &Shown, body: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut line = format!("{} {}:{}", shown.message_id, shown.queue, shown.offset);
    let mut put = |name: &str, value: &str| {
        let _ = write!(line, " {name}={value}");
    };
    if shown.attempt > 1 {
        put("attempt", &shown.attempt.to_string());
    }
    if let Some(tag) = &shown.tag {
        put("tag", tag);
    }
    if !shown.keys.is_empty() {
        put("keys", &shown.keys.join(","));
    }
    if let Some(message_group) = &shown.message_group {
        put("group", message_group);
    }
    for (key, value) in &shown.properties {
        put(key, value);
    }
    let _ = write!(line, "  {}", output::body(body, BODY_SHOWN));
    line
}

impl From<&pb::Message> for Shown {
    fn from(message: &pb::Message) -> Self {
        let system = message.system_properties.clone().unwrap_or_default();
        Self {
            born_time_ms: wire_millis(system.born_timestamp.as_ref()),
            store_time_ms: wire_millis(system.store_timestamp.as_ref()),
            message_id: system.message_id,
            queue: system.queue_id,
            offset: system.queue_offset.unwrap_or(-1),
            attempt: system.delivery_attempt.unwrap_or(1),
            tag: system.tag,
            keys: system.keys,
            message_group: system.message_group,
            properties: message.user_properties.clone(),
            body: Body::from(&message.body[..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Shown {
        let system = pb::SystemProperties {
            message_id: "01AB".to_owned(),
            queue_id: 3,
            queue_offset: Some(17),
            delivery_attempt: Some(2),
            tag: Some("new".to_owned()),
            ..Default::default()
        };
        Shown::from(&pb::Message {
            system_properties: Some(system),
            body: bytes::Bytes::from_static(b"hello"),
            ..Default::default()
        })
    }

    #[test]
    fn a_line_tells_where_a_message_comes_from_and_what_it_carries() {
        assert_eq!(sentence(&shown(), b"hello\n"), "01AB 3:17 attempt=2 tag=new  hello\\n");
    }

    #[test]
    fn a_body_is_text_in_json_if_it_can_be() {
        let json = serde_json::to_value(shown()).unwrap();
        assert_eq!(
            (&json["body"], &json["offset"], &json["attempt"]),
            (&"hello".into(), &17.into(), &2.into())
        );
        assert_eq!(Body::from(&[0xff, 0][..]), Body::Binary("/wA=".to_owned()));
    }
}
