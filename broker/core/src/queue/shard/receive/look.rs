//! A look at one queue for one group: what of it can be handed out, and what must be judged before.

use std::collections::BTreeSet;

use super::{Found, SCAN_MAX};
use crate::ids::{GroupId, Lane, LogTime, Lsn, Offset, QueueId, TopicId};
use crate::queue::index::{Entry, MessageQueue};
use crate::queue::progress::Progress;
use crate::queue::request::{Candidate, Filter};
use crate::record::{Fate, PopQueue};

/// A look at one queue for one group.
pub(super) struct Look<'a> {
    pub(super) now: LogTime,
    pub(super) topic: TopicId,
    pub(super) group: GroupId,
    pub(super) queue: QueueId,
    pub(super) messages: &'a MessageQueue,
    pub(super) progress: &'a Progress,
    pub(super) filter: &'a Filter,
    pub(super) ordered: bool,
    pub(super) max_attempts: u32,
    pub(super) in_flight_max: u32,
    pub(super) parked_max: u32,
    pub(super) pending_max: usize,
    pub(super) log_start: Lsn,
    /// Most messages that the receive is told to judge.
    pub(super) candidates_max: usize,
}

impl Look<'_> {
    /// Adds what it finds, until `batch` messages are there.
    pub(super) fn collect(&self, found: &mut Found, batch: usize) {
        let mut part = PopQueue { queue: self.queue, ..PopQueue::default() };
        self.again(found, &mut part, batch);
        self.first_time(found, &mut part, batch);
        if !part.again.is_empty() || !part.runs.is_empty() {
            found.queues.push(part);
        }
    }

    /// What can be delivered again. Of a message group at most one message is pending, so no two of one come.
    fn again(&self, found: &mut Found, part: &mut PopQueue, batch: usize) {
        for (_, offset) in self.progress.due.range(..=(self.now, Offset(u64::MAX))) {
            if found.deliveries.len() >= batch || found.scanned >= SCAN_MAX {
                return;
            }
            found.scanned += 1;
            let Some(pending) = self.progress.pending.get(offset) else { continue };
            // One that has had all its deliveries becomes a dead letter at the end of this step, or of one of the next.
            if pending.attempts >= self.max_attempts {
                continue;
            }
            let entry = self.entry(*offset);
            match entry.map(|entry| (entry, self.wants(*offset, &entry))) {
                Some((entry, Some(true))) => {
                    part.again.push(*offset);
                    found.deliveries.push((self.queue, *offset, entry.lsn, pending.attempts + 1));
                }
                Some((entry, None)) => self.have_judged(found, *offset, entry.lsn),
                Some((_, Some(false))) | None => found.gone.push((self.queue, *offset)),
            }
        }
    }

    fn first_time(&self, found: &mut Found, part: &mut PopQueue, batch: usize) {
        let mut lanes: BTreeSet<Lane> = BTreeSet::new();
        let (mut in_flight, mut parked) = (self.progress.in_flight, self.progress.parked);
        let mut pending = self.progress.pending.len();
        let mut offset = self.progress.next;
        while offset < self.messages.next && found.scanned < SCAN_MAX {
            let full = in_flight >= self.in_flight_max || pending >= self.pending_max;
            if found.deliveries.len() >= batch || full {
                return;
            }
            found.scanned += 1;
            let entry = self.entry(offset);
            let fate = match entry.map(|entry| (entry, self.wants(offset, &entry))) {
                Some((_, None)) => return found.unjudged.push((self.queue, offset)),
                Some((entry, Some(true))) => {
                    let lane = if self.ordered { entry.lane } else { Lane(0) };
                    let behind =
                        lane != Lane(0) && (self.progress.lanes.contains_key(&lane) || lanes.contains(&lane));
                    if behind && parked >= self.parked_max {
                        return;
                    }
                    if behind {
                        parked += 1;
                        Fate::Parked
                    } else {
                        if lane != Lane(0) {
                            lanes.insert(lane);
                        }
                        in_flight += 1;
                        pending += 1;
                        found.deliveries.push((self.queue, offset, entry.lsn, 1));
                        Fate::Taken
                    }
                }
                _ => Fate::Skipped,
            };
            match part.runs.last_mut() {
                Some((last, count)) if *last == fate => *count += 1,
                _ => part.runs.push((fate, 1)),
            }
            offset = offset.next();
        }
    }

    /// Whether the receive wants a message; None: its expression has not judged it.
    fn wants(&self, offset: Offset, entry: &Entry) -> Option<bool> {
        match self.filter {
            Filter::All => Some(true),
            Filter::Tags(tags) => Some(tags.binary_search(&entry.tag).is_ok()),
            Filter::Properties(judged) if judged.topic != self.topic => None,
            Filter::Properties(judged) => judged.verdicts.get(&(self.queue, offset)).copied(),
        }
    }

    fn have_judged(&self, found: &mut Found, offset: Offset, lsn: Lsn) {
        if found.candidates.len() < self.candidates_max {
            found.candidates.push(Candidate { topic: self.topic, queue: self.queue, offset, lsn });
        }
    }

    /// What comes after a message that is not judged yet is likely wanted next.
    pub(super) fn have_the_rest_judged(&self, found: &mut Found, from: Offset) {
        let mut offset = from;
        while offset < self.messages.next && found.candidates.len() < self.candidates_max {
            if let Some(entry) = self.entry(offset).filter(|entry| self.wants(offset, entry).is_none()) {
                self.have_judged(found, offset, entry.lsn);
            }
            offset = offset.next();
        }
    }

    /// A message that is still in the log, and for this group.
    fn entry(&self, offset: Offset) -> Option<Entry> {
        let entry = self.messages.get(offset)?;
        (entry.is_kept(self.log_start) && entry.is_for(self.group)).then_some(entry)
    }
}
