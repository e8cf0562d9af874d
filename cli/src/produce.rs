//! `rq produce`: sends messages and says of each whether it is safe. A retry carries the same message id, which
//! the broker recognises, so that it is stored once.

mod bodies;
mod hold;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use futures::StreamExt as _;
use rq_proto::rocketmq as pb;
use serde::Serialize;
use tokio::sync::oneshot;

use self::bodies::Bodies;
use self::hold::{Hold, timestamp};
use crate::args::{Global, by_key, filled, property};
use crate::client::{CallError, Client, Fate, named};
use crate::failure::Failure;
use crate::message_id::MessageIds;
use crate::output::{self, Output};

/// Attempts of one send, the first included; fewer if the time is up.
const ATTEMPTS: u32 = 4;
/// Pause before the second attempt; doubles for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

const AFTER_HELP: &str = "\
Without --body and --file each line of standard input is a message. Empty lines are skipped
and counted: RocketMQ knows no message without a body.

--timeout is for each message: all attempts to send it, together.

A delayed message has a recall handle: `rq recall` takes it back before its time. A half message,
one of a transaction, is seen by nobody before its transaction is committed; `rq tx` shows those
that are open. With -o json every message is printed with its recall handle or its transaction.

Examples:
  rq produce orders --body 'hello' --tag new --key order-17
  rq produce orders --file invoice.pdf --property content-type=application/pdf
  rq produce orders --body x --repeat 10000 --concurrency 64
  seq 1 100 | rq produce orders --message-group customer-7 -o json
  rq produce reminders --body 'pay' --delay 30s
  rq produce reminders --body 'pay' --deliver-at 2026-05-04T12:00:00Z
  rq produce payments --body 'x' --transaction open";

/// `rq produce`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Produce {
    /// Topic to send to
    topic: String,
    #[command(flatten)]
    bodies: Bodies,
    /// Tag, for filters of consumers
    #[arg(long, value_parser = filled, value_name = "TAG")]
    tag: Option<String>,
    /// Key, to find the message by; may be given several times
    #[arg(long = "key", value_parser = filled, value_name = "KEY")]
    keys: Vec<String>,
    /// Message group: its messages are delivered in their order (topics of type fifo)
    #[arg(long, value_parser = filled, value_name = "NAME")]
    message_group: Option<String>,
    #[command(flatten)]
    hold: Hold,
    /// User property; may be given for several properties
    #[arg(long = "property", value_parser = property, value_name = "KEY=VALUE")]
    properties: Vec<(String, String)>,
    /// Sends under way at once; more than one gives up the order of the messages
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "N")]
    concurrency: u16,
}

/// A message that is safe.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    message_id: String,
    /// None of one that nobody can see yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    /// Of a delayed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_handle: Option<String>,
    /// Of a half message.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, produce: Produce) -> Result<(), Failure> {
    let skipped = Arc::new(AtomicU64::new(0));
    let template = produce.template()?;
    let bodies = produce.bodies.read(&skipped)?;
    let length = produce.bodies.count();
    let client = Client::connect(&global.endpoint, global.timeout).await?;
    let ids = MessageIds::new();
    let hold = &produce.hold;
    let sending = Sending { client: &client, topic: &produce.topic, hold, patience: global.timeout };
    let started = Instant::now();
    let bar = output::progress(length.filter(|length| *length > 1), "messages sent");
    let mut tally = Tally::default();

    // After a failure nothing more is begun, and what is under way is waited for.
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stop = Some(stop);
    let sends = bodies.take_until(stopped).map(|body| {
        let message = body.map(|body| message(&template, hold, &ids, body));
        async { Ok::<_, Failure>(sending.deliver(message?).await) }
    });
    let mut outcomes = pin!(sends.buffered(produce.concurrency.into()));
    while let Some(outcome) = outcomes.next().await {
        let outcome: Outcome = outcome?;
        bar.inc(1);
        if let (Ok(sent), Output::Json) = (&outcome, global.output) {
            output::json_line(sent)?;
        }
        if !tally.take(outcome) {
            stop.take();
        }
    }
    bar.finish_and_clear();
    match skipped.load(Ordering::Relaxed) {
        0 => {}
        1 => eprintln!("rq: 1 empty line was skipped: a message needs a body"),
        lines => eprintln!("rq: {lines} empty lines were skipped: a message needs a body"),
    }
    tally.report(global.output, hold, started.elapsed())
}

type Outcome = Result<Sent, (CallError, Fate)>;

/// How messages are sent.
#[derive(Clone, Copy)]
struct Sending<'a> {
    client: &'a Client,
    topic: &'a str,
    hold: &'a Hold,
    /// For each message, all attempts together.
    patience: Duration,
}

impl Sending<'_> {
    /// Sends one message, again where that may help and there is time. The fate of the whole is unknown if that of any
    /// attempt was.
    async fn deliver(self, message: pb::Message) -> Outcome {
        let began = Instant::now();
        let mut fate = Fate::NotDone;
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let left = self.patience.saturating_sub(began.elapsed());
            // Sent again, a half message is the same transaction, and what has ended ends once more.
            match self.once(message.clone(), left).await {
                Ok(sent) => return Ok(sent),
                Err((error, of_attempt)) => {
                    if of_attempt == Fate::Unknown {
                        fate = Fate::Unknown;
                    }
                    let late = began.elapsed() + pause >= self.patience;
                    if late || attempt == ATTEMPTS || !error.is_temporary() {
                        // All attempts had that time together.
                        let silent = matches!(error, CallError::NoAnswer(_));
                        return Err((if silent { CallError::NoAnswer(self.patience) } else { error }, fate));
                    }
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        Err((CallError::Incomplete("attempt"), fate))
    }

    async fn once(self, message: pb::Message, left: Duration) -> Outcome {
        let message_id = message.system_properties.as_ref().map(|system| system.message_id.clone());
        let message_id = message_id.unwrap_or_default();
        let entry = self.client.send(message, left).await.map_err(|error| {
            let fate = error.fate();
            (error, fate)
        })?;
        if let Some(resolution) = self.hold.resolution() {
            let end = self.client.end(self.topic, &message_id, &entry.transaction_id, resolution).await;
            // The half message is stored, whatever came of its transaction.
            end.map_err(|error| (error, Fate::Unknown))?;
        }
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let (recall_handle, transaction_id) = (given(entry.recall_handle), given(entry.transaction_id));
        let waits = recall_handle.is_some() || transaction_id.is_some();
        Ok(Sent { message_id, offset: (!waits).then_some(entry.offset), recall_handle, transaction_id })
    }
}

/// What came of the messages so far.
#[derive(Default)]
struct Tally {
    sent: u64,
    last: Option<Sent>,
    failed: u64,
    may_be_stored: u64,
    first_error: Option<CallError>,
}

impl Tally {
    /// Counts an outcome; false if it is a failure.
    fn take(&mut self, outcome: Outcome) -> bool {
        match outcome {
            Ok(sent) => {
                self.sent += 1;
                self.last = Some(sent);
                true
            }
            Err((error, fate)) => {
                self.failed += 1;
                self.may_be_stored += u64::from(fate == Fate::Unknown);
                self.first_error.get_or_insert(error);
                false
            }
        }
    }

    fn report(self, output: Output, hold: &Hold, took: Duration) -> Result<(), Failure> {
        if let Some(error) = self.first_error {
            let Self { sent, failed, may_be_stored, .. } = self;
            return Err(Failure::NotSent { sent, failed, may_be_stored, error });
        }
        match (output, self.last) {
            (Output::Json, _) => Ok(()),
            (Output::Table, Some(sent)) if self.sent == 1 => output::line(&hold.told(&sent)),
            (Output::Table, last) => {
                let (what, more) = last.map_or(("messages", ""), |last| hold.told_of_several(&last));
                let rate = self.sent as f64 / took.as_secs_f64().max(1e-9);
                output::line(&format!(
                    "sent {} {what} in {:.1} s ({rate:.0} a second){more}",
                    self.sent,
                    took.as_secs_f64()
                ))
            }
        }
    }
}

impl Produce {
    fn template(&self) -> Result<pb::Message, Failure> {
        let kind = if self.message_group.is_some() { pb::MessageType::Fifo } else { self.hold.kind() };
        let system = pb::SystemProperties {
            tag: self.tag.clone(),
            keys: self.keys.clone(),
            body_encoding: pb::Encoding::Identity.into(),
            message_type: kind.into(),
            message_group: self.message_group.clone(),
            ..Default::default()
        };
        Ok(pb::Message {
            topic: Some(named(&self.topic)),
            user_properties: by_key(&self.properties)?,
            system_properties: Some(system),
            body: Bytes::new(),
        })
    }
}

fn message(template: &pb::Message, hold: &Hold, ids: &MessageIds, body: Bytes) -> pb::Message {
    let mut message = pb::Message { body, ..template.clone() };
    if let Some(system) = &mut message.system_properties {
        system.message_id = ids.next();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        system.born_timestamp = Some(timestamp(now));
        system.delivery_timestamp = hold.deliver_at(now);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_command_and_is_told() {
        let mut tally = Tally::default();
        assert!(tally.take(Ok(Sent { message_id: "1".to_owned(), offset: Some(0), ..Sent::default() })));
        assert!(!tally.take(Err((CallError::NoAnswer(Duration::from_secs(3)), Fate::Unknown))));
        let failure = tally.report(Output::Table, &Hold::default(), Duration::from_secs(1)).unwrap_err();
        let text = failure.to_string();
        assert!(text.starts_with("1 messages sent, 1 not acknowledged, 1 of which may be stored"), "{text}");
    }
}
