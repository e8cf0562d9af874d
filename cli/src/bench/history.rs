//! The history of a run: every operation as one line of JSON (the fields stand in the help of `rq bench`), written
//! by a thread of its own. A slow disk slows the load down; no line is ever left out.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rq_proto::rocketmq as pb;
use serde::Serialize;

use crate::bench::run::Run;
use crate::client::{CallError, Fate};
use crate::failure::Failure;
use crate::message_id;

/// Lines that may wait for the disk.
const WAITING_MAX: usize = 1 << 16;

/// One attempt of an operation.
#[derive(Serialize)]
pub(super) struct Event {
    op: &'static str,
    client: u32,
    id: String,
    invoke_ns: u64,
    complete_ns: u64,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    half: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_ns: Option<u64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    message: Option<Received>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<String>,
}

/// What is known of a message that was received.
#[derive(Serialize)]
struct Received {
    queue: i32,
    offset: i64,
    attempt: i32,
    invisible_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_group: Option<String>,
}

impl Event {
    fn new(
        run: &Run,
        op: &'static str,
        client: u32,
        id: String,
        (invoked, completed): (Instant, Instant),
        error: Option<&CallError>,
    ) -> Self {
        let result = match error.map(CallError::fate) {
            None => "ok",
            Some(Fate::NotDone) => "fail",
            Some(Fate::Unknown) => "unknown",
        };
        Self {
            op,
            client,
            id,
            invoke_ns: run.nanos(invoked),
            complete_ns: run.nanos(completed),
            result,
            code: error.map(CallError::name),
            half: false,
            due_ns: None,
            message: None,
            handle: None,
        }
    }

    pub(super) fn send(
        run: &Run,
        client: u32,
        id: &[u8; message_id::LEN],
        times: (Instant, Instant),
        error: Option<&CallError>,
    ) -> Self {
        Self::new(run, "send", client, String::from_utf8_lossy(id).into_owned(), times, error)
    }

    /// That send was of a half message.
    pub(super) fn half(self) -> Self {
        Self { half: true, ..self }
    }

    /// That send was of a message to be delivered then, nanoseconds since 1970.
    pub(super) fn due(self, due_ns: u64) -> Self {
        Self { due_ns: Some(due_ns), ..self }
    }

    pub(super) fn commit(
        run: &Run,
        client: u32,
        id: &[u8; message_id::LEN],
        times: (Instant, Instant),
        error: Option<&CallError>,
    ) -> Self {
        Self { op: "commit", ..Self::send(run, client, id, times, error) }
    }

    pub(super) fn receive(
        run: &Run,
        client: u32,
        message: &pb::Message,
        times: (Instant, Instant),
        invisible: Duration,
    ) -> Self {
        let system = message.system_properties.clone().unwrap_or_default();
        let received = Received {
            queue: system.queue_id,
            offset: system.queue_offset.unwrap_or(-1),
            attempt: system.delivery_attempt.unwrap_or(1),
            invisible_ms: invisible.as_millis() as u64,
            message_group: system.message_group,
        };
        let event = Self::new(run, "receive", client, system.message_id, times, None);
        Self { message: Some(received), handle: system.receipt_handle, ..event }
    }

    pub(super) fn failed_receive(
        run: &Run,
        client: u32,
        times: (Instant, Instant),
        error: &CallError,
    ) -> Self {
        Self::new(run, "receive", client, String::new(), times, Some(error))
    }

    pub(super) fn ack(
        run: &Run,
        client: u32,
        message: &pb::Message,
        times: (Instant, Instant),
        error: Option<&CallError>,
    ) -> Self {
        let system = message.system_properties.clone().unwrap_or_default();
        Self {
            handle: system.receipt_handle,
            ..Self::new(run, "ack", client, system.message_id, times, error)
        }
    }
}

/// The file, if one is wanted.
pub(super) struct History {
    writer: Option<(PathBuf, JoinHandle<io::Result<()>>)>,
    recorder: Recorder,
}

/// Takes events; does nothing where no history is wanted.
#[derive(Clone)]
pub(super) struct Recorder(Option<SyncSender<Option<Event>>>);

impl History {
    /// Makes the file anew.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self { writer: None, recorder: Recorder(None) }) };
        let file = File::create(path).map_err(|source| failed(path, source))?;
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let writer = std::thread::spawn(move || write(file, &receiver));
        Ok(Self { writer: Some((path.to_owned(), writer)), recorder: Recorder(Some(sender)) })
    }

    pub(super) fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Waits until all is written.
    pub(super) fn close(self, run: &Run) -> Result<(), Failure> {
        let Some((path, writer)) = self.writer else { return Ok(()) };
        run.history.end();
        let outcome = writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer ended early")));
        outcome.map_err(|source| failed(&path, source))
    }
}

impl Recorder {
    /// Hands over an event, which is only made if it is wanted.
    pub(super) fn record(&self, event: impl FnOnce() -> Event) {
        if let Some(sender) = &self.0 {
            // The writer ends early only when its file fails, which `close` reports.
            let _ = sender.send(Some(event()));
        }
    }

    fn end(&self) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(None);
        }
    }
}

fn write(file: File, events: &Receiver<Option<Event>>) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    while let Ok(Some(event)) = events.recv() {
        serde_json::to_writer(&mut out, &event)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

fn failed(path: &Path, source: io::Error) -> Failure {
    Failure::File { doing: "write", path: path.to_owned(), source }
}
