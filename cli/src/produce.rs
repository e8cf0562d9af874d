//! `rq produce`: sends messages and says of each whether it is safe. A retry carries the same message id, which
//! the broker recognises, so that it is stored once.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use futures::{Stream, StreamExt as _, stream};
use rq_proto::rocketmq as pb;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::args::{Global, property};
use crate::client::{CallError, Client, Fate, named};
use crate::failure::Failure;
use crate::message_id::MessageIds;
use crate::output::{self, Output};

/// Attempts of one send, the first included; fewer if the time is up.
const ATTEMPTS: u32 = 4;
/// Pause before the second attempt; doubles for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Lines of standard input read ahead.
const LINES_AHEAD: usize = 1024;

const AFTER_HELP: &str = "\
Without --body and --file each line of standard input is a message. Empty lines are skipped
and counted: RocketMQ knows no message without a body.

--timeout is for each message: all attempts to send it, together.

Examples:
  rq produce orders --body 'hello' --tag new --key order-17
  rq produce orders --file invoice.pdf --property content-type=application/pdf
  rq produce orders --body x --repeat 10000 --concurrency 64
  seq 1 100 | rq produce orders --message-group customer-7 -o json";

/// `rq produce`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Produce {
    /// Topic to send to
    topic: String,
    /// Body of the message
    #[arg(long, conflicts_with = "file", value_name = "TEXT")]
    body: Option<String>,
    /// File whose whole content is the body; `-` is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Send so many messages of that body
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    repeat: u64,
    /// Tag, for filters of consumers
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Key, to find the message by; may be given several times
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// Message group: its messages are delivered in their order (topics of type fifo)
    #[arg(long, value_name = "NAME")]
    message_group: Option<String>,
    /// User property; may be given several times
    #[arg(long = "property", value_parser = property, value_name = "KEY=VALUE")]
    properties: Vec<(String, String)>,
    /// Sends under way at once; more than one gives up the order of the messages
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "N")]
    concurrency: u16,
}

/// A message that is safe.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    message_id: String,
    offset: i64,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, produce: Produce) -> Result<(), Failure> {
    let skipped = Arc::new(AtomicU64::new(0));
    let bodies = produce.bodies(&skipped)?;
    let length = produce.has_body().then_some(produce.repeat);
    let client = Client::connect(&global.endpoint, global.timeout).await?;
    let ids = MessageIds::new();
    let template = produce.template();
    let started = Instant::now();
    let bar = output::progress(length.filter(|length| *length > 1), "messages sent");
    let mut tally = Tally::default();

    // After a failure nothing more is begun, and what is under way is waited for.
    let (stop, stopped) = oneshot::channel::<()>();
    let mut stop = Some(stop);
    let sends = bodies.take_until(stopped).map(|body| {
        let message = body.map(|body| message(&template, &ids, body));
        async { Ok::<_, Failure>(deliver(message?, &client, global.timeout).await) }
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
    tally.report(global.output, started.elapsed())
}

type Outcome = Result<Sent, (CallError, Fate)>;

/// Sends one message, again where that may help and `patience` allows. The fate of the whole is unknown if that of any
/// attempt was.
async fn deliver(message: pb::Message, client: &Client, patience: Duration) -> Outcome {
    let began = Instant::now();
    let mut fate = Fate::NotDone;
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let left = patience.saturating_sub(began.elapsed());
        match client.send(message.clone(), left).await {
            Ok(offset) => {
                let message_id = message.system_properties.unwrap_or_default().message_id;
                return Ok(Sent { message_id, offset });
            }
            Err(error) => {
                if error.fate() == Fate::Unknown {
                    fate = Fate::Unknown;
                }
                let late = began.elapsed() + pause >= patience;
                if late || attempt == ATTEMPTS || !error.is_temporary() {
                    // All attempts had that time together.
                    let silent = matches!(error, CallError::NoAnswer(_));
                    return Err((if silent { CallError::NoAnswer(patience) } else { error }, fate));
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
    Err((CallError::Incomplete("attempt"), fate))
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

    fn report(self, output: Output, took: Duration) -> Result<(), Failure> {
        if let Some(error) = self.first_error {
            let Self { sent, failed, may_be_stored, .. } = self;
            return Err(Failure::NotSent { sent, failed, may_be_stored, error });
        }
        match (output, self.last) {
            (Output::Json, _) => Ok(()),
            (Output::Table, Some(sent)) if self.sent == 1 => {
                output::line(&format!("sent message {} to offset {}", sent.message_id, sent.offset))
            }
            (Output::Table, _) => {
                let rate = self.sent as f64 / took.as_secs_f64().max(1e-9);
                output::line(&format!(
                    "sent {} messages in {:.1} s ({rate:.0} a second)",
                    self.sent,
                    took.as_secs_f64()
                ))
            }
        }
    }
}

impl Produce {
    fn has_body(&self) -> bool {
        self.body.is_some() || self.file.is_some()
    }

    /// The bodies to send; counts the lines of standard input that are none.
    fn bodies(
        &self,
        skipped: &Arc<AtomicU64>,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + use<>, Failure> {
        let body = match (&self.body, &self.file) {
            (Some(body), _) => Bytes::from(body.clone()),
            (None, Some(path)) => read(path)?,
            (None, None) if self.repeat > 1 => {
                return Err(Failure::Usage("--repeat needs --body or --file".to_owned()));
            }
            (None, None) => return Ok(lines(Arc::clone(skipped)).left_stream()),
        };
        let repeat = usize::try_from(self.repeat).unwrap_or(usize::MAX);
        Ok(stream::iter(std::iter::repeat_n(body, repeat)).map(Ok).right_stream())
    }

    fn template(&self) -> pb::Message {
        let kind = if self.message_group.is_some() { pb::MessageType::Fifo } else { pb::MessageType::Normal };
        let system = pb::SystemProperties {
            tag: self.tag.clone(),
            keys: self.keys.clone(),
            body_encoding: pb::Encoding::Identity.into(),
            message_type: kind.into(),
            message_group: self.message_group.clone(),
            ..Default::default()
        };
        pb::Message {
            topic: Some(named(&self.topic)),
            user_properties: self.properties.iter().cloned().collect::<BTreeMap<_, _>>(),
            system_properties: Some(system),
            body: Bytes::new(),
        }
    }
}

fn message(template: &pb::Message, ids: &MessageIds, body: Bytes) -> pb::Message {
    let mut message = pb::Message { body, ..template.clone() };
    if let Some(system) = &mut message.system_properties {
        system.message_id = ids.next();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        system.born_timestamp = Some(prost_types::Timestamp {
            seconds: now.as_secs().cast_signed(),
            nanos: now.subsec_nanos().cast_signed(),
        });
    }
    message
}

fn read(path: &Path) -> Result<Bytes, Failure> {
    if path == Path::new("-") {
        let mut body = Vec::new();
        let outcome = io::stdin().lock().read_to_end(&mut body);
        return outcome.map(|_| Bytes::from(body)).map_err(input);
    }
    std::fs::read(path).map(Bytes::from).map_err(|source| Failure::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })
}

/// The lines of standard input, read by a thread of their own, since such a read can not be called off.
fn lines(skipped: Arc<AtomicU64>) -> impl Stream<Item = Result<Bytes, Failure>> {
    if io::stdin().is_terminal() {
        eprintln!("rq: type one message a line, end with Ctrl-D");
    }
    let (sender, receiver) = tokio::sync::mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let line = line.map(|mut line| {
                line.pop_if(|last| *last == b'\r');
                Bytes::from(line)
            });
            if matches!(&line, Ok(line) if line.is_empty()) {
                skipped.fetch_add(1, Ordering::Relaxed);
            } else if sender.blocking_send(line.map_err(input)).is_err() {
                return;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|line| (line, receiver)) })
}

fn input(source: io::Error) -> Failure {
    Failure::Stream { doing: "read standard input", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_command_and_is_told() {
        let mut tally = Tally::default();
        assert!(tally.take(Ok(Sent { message_id: "1".to_owned(), offset: 0 })));
        assert!(!tally.take(Err((CallError::NoAnswer(Duration::from_secs(3)), Fate::Unknown))));
        let failure = tally.report(Output::Table, Duration::from_secs(1)).unwrap_err();
        let text = failure.to_string();
        assert!(text.starts_with("1 messages sent, 1 not acknowledged, 1 of which may be stored"), "{text}");
    }
}
