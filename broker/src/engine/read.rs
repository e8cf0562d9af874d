//! Reading the log for callers: messages that were delivered, frames for slaves. What turns out to be damaged is shown to
//! whoever repairs the log, and read once more; damage is never handed out.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use rq_core::ids::Lsn;
use rq_core::message::MessageContent;
use rq_core::record::{self, StoredMessage};
use rq_log::{Frame, LogReader, ReadError, SnapshotFile, StdDisk};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::Engine;

/// Bytes read from the disk for one caller before they are wanted; the last message may go beyond.
const READ_AHEAD_BYTES: usize = 1 << 20;
/// How long a reader waits for the repair of what it found damaged.
const REPAIR_PATIENCE: Duration = Duration::from_secs(10);
/// Places that may wait for whoever repairs the log; more are not shown.
pub(crate) const SUSPECTS_MAX: usize = 64;

/// Why a message could not be read from the log.
#[derive(Debug, Error)]
pub enum ReadMessageError {
    /// Its segment was dropped by retention meanwhile.
    #[error("the message at {0} was dropped by retention")]
    Dropped(Lsn),
    /// This replica opens its log anew: it is not the master any more.
    #[error("the log is being opened anew: ask the master")]
    Reopening,
    /// Its bytes are damaged: they are not delivered.
    #[error("the message at {lsn} is damaged: {reason}")]
    Damaged {
        /// Where it lies.
        lsn: Lsn,
        /// What is wrong with it.
        reason: String,
    },
}

/// A place where the log could not be read.
#[derive(Debug)]
pub(crate) struct Suspect {
    /// The place.
    pub(crate) lsn: Lsn,
    /// Hears whether it can be read by now.
    pub(crate) repaired: oneshot::Sender<bool>,
}

type Read = Result<StoredMessage, ReadMessageError>;

impl Engine {
    /// Reads the message delivered at `lsn`: from memory, or else from the disk on a thread that may block.
    pub async fn read(&self, lsn: Lsn) -> Read {
        let mut read = self.read_ahead(std::iter::once(lsn)).await;
        read.pop_front().unwrap_or(Err(ReadMessageError::Dropped(lsn)))
    }

    /// Reads messages in the order of `lsns`, at least the first one. What is in memory comes alone, for the next
    /// one costs no more; from the disk come up to [`READ_AHEAD_BYTES`] at once, for the way to a thread that may
    /// block costs more than the reading. Only the first one may be damaged: it could not be repaired.
    pub async fn read_ahead(&self, mut lsns: impl Iterator<Item = Lsn>) -> VecDeque<Read> {
        let Some(first) = lsns.next() else { return VecDeque::new() };
        let Some(reader) = self.reader() else { return VecDeque::from([Err(ReadMessageError::Reopening)]) };
        if let Some(record) = reader.cached(first) {
            return VecDeque::from([decode(first, Ok(record))]);
        }
        let lsns: Vec<Lsn> = std::iter::once(first).chain(lsns).collect();
        let read = read_from_disk(reader, lsns.clone()).await;
        if !matches!(read.front(), Some(Err(ReadMessageError::Damaged { .. }))) || !self.repaired(first).await
        {
            return read;
        }
        match self.reader() {
            Some(reader) => read_from_disk(reader, lsns).await,
            None => VecDeque::from([Err(ReadMessageError::Reopening)]),
        }
    }

    /// Whole frames from the one that starts at `from` on: at least one, and more while they have together no more than
    /// `bytes_max`; none at the end of the log. They may not be flushed yet.
    pub async fn frames(&self, from: Lsn, bytes_max: usize) -> Result<Vec<Frame>, ReadError> {
        let read = self.read_frames(from, bytes_max).await;
        match read {
            Err(ReadError::Damaged { .. } | ReadError::Disk(_)) if self.repaired(from).await => {
                self.read_frames(from, bytes_max).await
            }
            read => read,
        }
    }

    /// As [`Engine::frames`], without waiting for the repair of what is damaged.
    pub(crate) async fn read_frames(&self, from: Lsn, bytes_max: usize) -> Result<Vec<Frame>, ReadError> {
        let Some(reader) = self.reader() else { return Ok(Vec::new()) };
        let cached = reader.cached_frames(from, bytes_max);
        if !cached.is_empty() {
            return Ok(cached);
        }
        let read = tokio::task::spawn_blocking(move || reader.frames(from, bytes_max)).await;
        // Only a runtime that ends runs nothing.
        read.unwrap_or(Ok(Vec::new()))
    }

    /// What another replica can begin a copy of this log with; none if the log has no checkpoint yet.
    pub async fn snapshot(&self) -> Result<Option<SnapshotFile<StdDisk>>, ReadError> {
        let Some(reader) = self.reader() else { return Ok(None) };
        let opened = tokio::task::spawn_blocking(move || reader.snapshot()).await;
        // Only a runtime that ends runs nothing.
        opened.unwrap_or(Ok(None))
    }

    /// The present log; none while it is opened anew. Whoever keeps this holds that up: see [`Engine::reads`].
    pub(crate) fn reader(&self) -> Option<LogReader<StdDisk>> {
        self.shared.reader.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether who reads the log may go on: not while it is opened anew. To be asked a few times a second.
    pub(crate) fn reads(&self) -> bool {
        self.shared.reader.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// From now on places where the log cannot be read are shown to who listens here.
    pub(crate) fn show_suspects(&self) -> Option<mpsc::Receiver<Suspect>> {
        let (suspects, shown) = mpsc::channel(SUSPECTS_MAX);
        self.shared.suspects.set(suspects).ok().map(|()| shown)
    }

    /// Shows a place where the log could not be read to whoever repairs it, and waits until it can be: not forever.
    pub(crate) async fn repaired(&self, lsn: Lsn) -> bool {
        let Some(suspects) = self.shared.suspects.get() else { return false };
        let (repaired, answer) = oneshot::channel();
        if suspects.try_send(Suspect { lsn, repaired }).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(REPAIR_PATIENCE, answer).await, Ok(Ok(true)))
    }
}

/// Reads up to the first damaged message; that one only if it is the first of all.
async fn read_from_disk(reader: LogReader<StdDisk>, lsns: Vec<Lsn>) -> VecDeque<Read> {
    let first = lsns.first().copied().unwrap_or_default();
    let read = move || {
        let mut bytes = 0;
        let mut messages = VecDeque::with_capacity(lsns.len());
        for lsn in lsns {
            let record = reader.read_record(lsn);
            bytes += record.as_ref().map_or(0, Bytes::len);
            let message = decode(lsn, record).and_then(|message| undamaged(lsn, message));
            let is_damaged = matches!(message, Err(ReadMessageError::Damaged { .. }));
            if is_damaged && !messages.is_empty() {
                break;
            }
            messages.push_back(message);
            if is_damaged || bytes >= READ_AHEAD_BYTES {
                break;
            }
        }
        messages
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| VecDeque::from([Err(damaged(first, &error))]))
}

fn decode(lsn: Lsn, record: Result<Bytes, ReadError>) -> Read {
    let record = record.map_err(|error| match error {
        ReadError::Dropped { .. } => ReadMessageError::Dropped(lsn),
        error => damaged(lsn, &error),
    })?;
    record::decode_message(&record).map_err(|error| damaged(lsn, &error))
}

/// What was on the disk may have changed there.
fn undamaged(lsn: Lsn, message: StoredMessage) -> Read {
    if MessageContent::is_whole(&message.content) {
        return Ok(message);
    }
    Err(ReadMessageError::Damaged { lsn, reason: "its checksum does not match".to_owned() })
}

fn damaged(lsn: Lsn, error: &dyn Error) -> ReadMessageError {
    ReadMessageError::Damaged { lsn, reason: error.to_string() }
}
