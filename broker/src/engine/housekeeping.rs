//! What need not hold up the log thread: writing checkpoints, and finding out which segments can go and which groups
//! keep them from going. Never changes the log itself: it proposes, and the log thread decides.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use rq_core::codec::Write;
use rq_core::ids::{LogTime, Lsn};
use rq_core::message::MessageContent;
use rq_core::queue::checkpoint;
use rq_core::queue::idle::{IdleGroup, idle_subscriptions};
use rq_core::queue::request::{Relocation, Request, Retain};
use rq_core::queue::retention::{Policy, Run, SealedSegment};
use rq_core::record::decode_message;
use rq_log::{LogReader, ReadError, StdDisk};

use super::cluster::News;
use super::compare;
use super::figures::Published;
use super::frames::fail;
use super::inbox::{Inbox, Work};
use super::log_thread::{Chore, Task};

/// The housekeeping thread.
pub(super) struct Housekeeping {
    pub(super) segment_bytes: u64,
    pub(super) retention: Policy,
    pub(super) inbox: Arc<Inbox>,
    pub(super) published: Arc<Published>,
    pub(super) chores: Receiver<Task>,
}

impl Housekeeping {
    /// Works until the log thread is gone.
    pub(super) fn run(self) {
        while let Ok(mut task) = self.chores.recv() {
            let mut newest: Option<Chore> = None;
            loop {
                match task {
                    Task::Hash(state) if self.inbox.is_closed() => drop(state),
                    Task::Hash(state) => drop(self.inbox.tell(News::Hashed(compare::hash(&state)))),
                    // Of several that wait only the newest state is of use.
                    Task::House(chore) => {
                        let checkpoint = newest.is_some_and(|older| older.checkpoint) || chore.checkpoint;
                        newest = Some(Chore { checkpoint, ..*chore });
                    }
                }
                let Ok(next) = self.chores.try_recv() else { break };
                task = next;
            }
            let Some(chore) = newest else { continue };
            if chore.checkpoint {
                self.checkpoint(&chore);
            }
            // The stop waits for the checkpoint and for nothing else.
            if self.inbox.is_closed() {
                continue;
            }
            if chore.retain {
                self.retain(&chore);
            }
            self.report_idle(&chore);
        }
    }

    fn checkpoint(&self, chore: &Chore) {
        let state = &chore.state;
        let started = Instant::now();
        let written = chore.checkpoints.write(state.applied(), |file| {
            let mut out = Encoding { file, buffer: Vec::with_capacity(1 << 20), failed: None };
            checkpoint::encode(state, &mut out);
            out.finish()
        });
        match written {
            Ok(bytes) => {
                self.published.checkpointed(state.applied());
                tracing::debug!(lsn = state.applied().0, bytes, took = ?started.elapsed(), "checkpoint written");
            }
            Err(error) if error.is_fatal() => fail(&error),
            // The log goes on; the next start replays more of it.
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(error, "no checkpoint was written: recovery will take longer");
            }
        }
    }
}

impl Housekeeping {
    /// Proposes to drop the oldest segments that retention lets go of. The log thread checks again.
    fn retain(&self, chore: &Chore) {
        let Chore { state, now, .. } = chore;
        let now = *now;
        let figures = self.published.figures();
        let disk_full = !figures.accepts_messages;
        let (newest, older) = (chore.checkpoints.newest(), chore.checkpoints.oldest_kept());
        let mut policy = self.retention;
        let mut found: Option<Retain> = None;
        for segment in chore.reader.sealed() {
            if self.inbox.is_closed() {
                return;
            }
            let log_bytes = figures.durable.0.saturating_sub(segment.base.0);
            let last = SealedSegment { end: segment.end, newest: segment.newest };
            let old = policy.lets_go(last, now, log_bytes);
            if !(old || disk_full) || segment.end > newest {
                break;
            }
            policy.keep_unclaimed |= !old;
            let Some(relocate) = self.owed(&chore.reader, &Run { state, last, now, policy: &policy }) else {
                break;
            };
            if segment.end > older {
                // Only the older of the two checkpoints still needs it. Where nothing is written there will be no
                // further one, unless the log is given something to stand for.
                let idle = state.applied() <= newest;
                let nothing =
                    Retain { below: state.log_start(), newest: last.newest, relocate: Vec::new(), policy };
                found = found.or_else(|| idle.then_some(nothing));
                break;
            }
            found = Some(Retain { below: segment.end, newest: last.newest, relocate, policy });
        }
        if let Some(retain) = found {
            if retain.below > state.log_start() {
                let (below, relocated) = (retain.below.0, retain.relocate.len());
                tracing::info!(below, relocated, "retention lets segments go");
            }
            self.inbox.push(Work::Internal(Request::Retain(retain)));
        }
    }

    /// What is still owed in the segments to drop, with its bytes; None where that is too much to copy.
    fn owed(&self, reader: &LogReader<StdDisk>, run: &Run<'_>) -> Option<Vec<Relocation>> {
        let worth_it = self.segment_bytes / 1000 * u64::from(self.retention.relocate_below_permille);
        // On a full disk the copies must not take what acks need.
        let mut room = worth_it.min(self.published.figures().available_bytes / 4);
        let mut relocate = Vec::new();
        for owed in run.owed(RELOCATED_MAX)? {
            let record = match reader.read_record(owed.lsn) {
                Ok(record) => record,
                // Who was the master then may follow one by now, and drop what that one has dropped.
                Err(ReadError::Dropped { .. }) => return None,
                Err(error) => {
                    tracing::error!(lsn = owed.lsn.0, %error, "a message that is still owed cannot be read");
                    return None;
                }
            };
            // Copied, damage would get a checksum that matches.
            if !decode_message(&record).is_ok_and(|message| MessageContent::is_whole(&message.content)) {
                tracing::error!(
                    lsn = owed.lsn.0,
                    "a message that is still owed is damaged: its segment is kept"
                );
                return None;
            }
            room = room.checked_sub(record.len() as u64)?;
            relocate.push(Relocation { owed, record });
        }
        Some(relocate)
    }

    /// Finds out who keeps the log from being dropped by not consuming.
    fn report_idle(&self, chore: &Chore) {
        let Chore { state, now, reader, .. } = chore;
        let after = self.retention.report_inactive_ms;
        let durable = self.published.figures().durable;
        let mut idle = Vec::new();
        for found in idle_subscriptions(state, *now, after).into_iter().take(IDLE_GROUPS_MAX) {
            // Nobody has failed to consume what came a moment ago.
            let stored_at = stored_at(reader, found.oldest).unwrap_or(found.last_used);
            let idle_ms = state.served(found.last_used.max(stored_at), *now);
            if idle_ms > after {
                let pinned_bytes = durable.0.saturating_sub(found.oldest.0);
                idle.push(Arc::new(IdleGroup {
                    group: found.group,
                    topic: found.topic,
                    idle_ms,
                    pinned_bytes,
                }));
            }
        }
        let known = self.published.idle_groups();
        for idle in &idle {
            if !known.iter().any(|known| known.group == idle.group) {
                tracing::warn!("{idle}: let it consume or delete it");
            }
        }
        self.published.idle(idle.into());
    }
}

fn stored_at(reader: &LogReader<StdDisk>, lsn: Lsn) -> Option<LogTime> {
    let record = reader.read_record(lsn).ok()?;
    Some(decode_message(&record).ok()?.stored_at)
}

/// Most idle groups that are reported: those that keep most of the log.
pub const IDLE_GROUPS_MAX: usize = 100;

/// Most messages to copy at a time: they are one batch of the log thread.
const RELOCATED_MAX: usize = 10_000;

/// Encodes into a file through a buffer, keeping the first error for the end.
struct Encoding<'a> {
    file: &'a mut dyn io::Write,
    buffer: Vec<u8>,
    failed: Option<io::Error>,
}

impl Write for Encoding<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 1 << 20 {
            self.flush();
        }
    }
}

impl Encoding<'_> {
    fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.file.write_all(&self.buffer).err();
        }
        self.buffer.clear();
    }

    fn finish(mut self) -> io::Result<()> {
        self.flush();
        self.failed.map_or(Ok(()), Err)
    }
}
