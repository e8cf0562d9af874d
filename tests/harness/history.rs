//! Everything that the clients of a test did, with when it was begun and ended and how. Written while the load runs
//! and judged afterwards by [`crate::checker`]; it decides nothing itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// How a call ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was surely not done.
    Fail {
        /// The RocketMQ code of the answer.
        code: i32,
        /// Its message.
        reason: String,
    },
    /// It may have been done or not: no answer, or one that says so.
    Unknown {
        /// What was seen.
        reason: String,
    },
}

impl Outcome {
    /// It was done.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        *self == Outcome::Ok
    }

    /// It was surely not done.
    #[must_use]
    pub fn is_fail(&self) -> bool {
        matches!(self, Outcome::Fail { .. })
    }

    /// It may have been done or not.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Outcome::Unknown { .. })
    }
}

/// When a call was made, since the history began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Span {
    /// Just before it was handed to the transport.
    pub begin: Duration,
    /// Just after its answer was read.
    pub end: Duration,
}

/// What a message waits for before anybody may see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub enum Hold {
    /// Nothing.
    #[default]
    None,
    /// The commit of its transaction: it is a half message.
    Transaction,
    /// This time, on the clock of the history.
    Until(Duration),
}

/// One attempt to send one message. A retry is a further `Send` with the same id.
#[derive(Clone, Debug, Serialize)]
pub struct Send {
    /// When.
    pub span: Span,
    /// Unique over the history.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// The message group, if it has one. Its sender sends one after the other.
    pub message_group: Option<String>,
    /// What it waits for. Messages of a message group wait for nothing.
    pub hold: Hold,
    /// How it ended.
    pub outcome: Outcome,
}

/// One attempt to end the transaction of a half message.
#[derive(Clone, Debug, Serialize)]
pub struct End {
    /// When.
    pub span: Span,
    /// The message.
    pub id: String,
    /// Commit, or roll back.
    pub commit: bool,
    /// How it ended.
    pub outcome: Outcome,
}

/// One attempt to take a delayed message back.
#[derive(Clone, Debug, Serialize)]
pub struct Recall {
    /// When.
    pub span: Span,
    /// The message.
    pub id: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// A message handed to a consumer.
#[derive(Clone, Debug, Serialize)]
pub struct Delivery {
    /// Its id.
    pub id: String,
    /// Its receipt handle.
    pub handle: String,
    /// Its attempt; 1 on the first.
    pub attempt: u32,
    /// Queue and offset.
    pub place: (i32, i64),
    /// Its body is byte for byte the one that was sent under its id.
    pub intact: bool,
}

/// One receive call.
#[derive(Clone, Debug, Serialize)]
pub struct Receive {
    /// When.
    pub span: Span,
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// How long a lease lasts at least: what was asked for, or what the broker gives before it renews.
    pub invisible: Duration,
    /// Its attempt id, if it had one. A receive with the id of another repeats that one.
    pub attempt_id: Option<String>,
    /// How it ended. A broken stream is unknown, whatever came before it broke.
    pub outcome: Outcome,
    /// What came.
    pub deliveries: Vec<Delivery>,
}

/// One ack of one delivery.
#[derive(Clone, Debug, Serialize)]
pub struct Ack {
    /// When.
    pub span: Span,
    /// The consumer group.
    pub group: String,
    /// The message.
    pub id: String,
    /// The delivery.
    pub handle: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// One change of a delivery's invisible duration.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// When.
    pub span: Span,
    /// The delivery.
    pub handle: String,
    /// The duration asked for, from then.
    pub invisible: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// All calls of a test.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    /// Consumer groups that promise order within a message group.
    pub ordered_groups: BTreeSet<String>,
    /// Sends, in the order of their ends.
    pub sends: Vec<Send>,
    /// Ends of transactions, in the order of their ends.
    pub ends: Vec<End>,
    /// Recalls, in the order of their ends.
    pub recalls: Vec<Recall>,
    /// Receives, in the order of their ends.
    pub receives: Vec<Receive>,
    /// Acks, in the order of their ends.
    pub acks: Vec<Ack>,
    /// Changes of the invisible duration, in the order of their ends.
    pub changes: Vec<Change>,
}

impl History {
    /// Writes the history as JSON, for the person who has to understand a failure.
    pub fn keep(&self, path: &Path) -> Result<()> {
        let file = std::fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
        serde_json::to_writer(std::io::BufWriter::new(file), self).context("write the history")
    }
}

/// Records a history from many tasks, on one clock.
#[derive(Debug)]
pub struct Recorder {
    origin: Instant,
    history: Mutex<History>,
}

impl Recorder {
    /// An empty history that begins now.
    #[must_use]
    pub fn new(ordered_groups: impl IntoIterator<Item = String>) -> Self {
        let history = History { ordered_groups: ordered_groups.into_iter().collect(), ..History::default() };
        Self { origin: Instant::now(), history: Mutex::new(history) }
    }

    /// Now, on the clock of the history.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The span from `begin` to now.
    #[must_use]
    pub fn since(&self, begin: Duration) -> Span {
        Span { begin, end: self.now() }
    }

    /// The history so far, to read or to add to.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the recording.
    #[must_use]
    pub fn finish(&self) -> History {
        std::mem::take(&mut *self.history())
    }
}
