//! Where in a queue the messages since a time begin.
//!
//! Offsets do not rise with times: a message comes into its queue late when its transaction is committed late, when it was
//! delayed, or when it was a dead letter and was given back. Positions in the log do rise with times, so that whoever knows from
//! which one on the log is not older than a time knows which messages were stored before; see [`Places::stored_from`]. Only
//! messages that retention copied on lie behind what is newer than they are: these must be read to be passed over, or make the
//! place an earlier one. Delayed messages of a queue fire in the order of their times; see [`Fired`].

use super::index::MessageQueue;
use super::settings::TopicKind;
use super::view::MessagePlace;
use crate::ids::{GroupId, LogTime, Lsn, Offset, QueueId, TopicId};
use crate::record::StoredMessage;

/// The index of one queue at one moment. Shares its memory with the queue: to be let go of soon.
#[derive(Clone, Debug)]
pub struct Places {
    queue: MessageQueue,
    log_start: Lsn,
    /// Whether messages of the topic may wait for their times.
    pub delayed: bool,
    /// Of dead letters: when each came, from the oldest kept on.
    dead_since: Option<std::collections::VecDeque<LogTime>>,
}

impl super::Shard {
    /// The index of a queue, to be searched elsewhere. Costs a pointer for a thousand messages, and 8 bytes a dead letter.
    pub fn places(&self, topic: TopicId, queue: QueueId) -> Option<Places> {
        let of = self.state.topics.get(&topic)?;
        Some(Places {
            queue: of.queues.get(usize::from(queue.0))?.clone(),
            log_start: self.state.log_start,
            delayed: of.settings.kind == TopicKind::Delay,
            dead_since: (of.dead_letters && queue == QueueId(0)).then(|| of.dead_since.clone()),
        })
    }
}

impl Places {
    /// Oldest kept.
    pub fn oldest(&self) -> Offset {
        self.queue.min
    }

    /// The next to come.
    pub fn next(&self) -> Offset {
        self.queue.next
    }

    /// Of dead letters: the first that became one at a time or after it.
    pub fn dead_from(&self, time: LogTime) -> Option<Offset> {
        let since = self.dead_since.as_ref()?;
        Some(Offset(self.queue.min.0 + since.partition_point(|came| *came < time) as u64))
    }

    /// The first message from an offset on whose record lies at a position of the log or behind it. Looks at one after the other.
    pub fn stored_from(&self, from: Offset, position: Lsn) -> Option<MessagePlace> {
        let mut kept = self.queue.kept_from(from, self.log_start);
        let (offset, entry) = kept.find(|(_, entry)| entry.lsn >= position)?;
        Some(MessagePlace { offset, lsn: entry.lsn })
    }

    /// Messages at some offsets that were not given back, at most `limit`.
    pub fn first_time(&self, from: Offset, end: Offset, limit: usize) -> Vec<MessagePlace> {
        let kept = self.queue.kept_from(from, self.log_start).take_while(|(offset, _)| *offset < end);
        let every = kept.filter(|(_, entry)| entry.only == GroupId(0)).take(limit);
        every.map(|(offset, entry)| MessagePlace { offset, lsn: entry.lsn }).collect()
    }
}

/// When a message came, as far as it says so: a delayed one when it was due.
#[must_use]
pub fn came(stored: &StoredMessage) -> LogTime {
    stored.stored_at.max(stored.deliver_at)
}

/// The search for the first message that was due at a time or after it, among messages all of which were stored before. They lie
/// in the order of their times but for those that were given back, which therefore say nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fired {
    low: Offset,
    high: Offset,
}

impl Fired {
    /// Begins with the messages of these offsets.
    #[must_use]
    pub const fn among(oldest: Offset, end: Offset) -> Self {
        Self { low: oldest, high: end }
    }

    /// From where on and up to where one message is to be read next; or where the group goes on.
    pub fn step(&self) -> Result<(Offset, Offset), Offset> {
        if self.low < self.high {
            Ok((Offset(self.low.0 + (self.high.0 - self.low.0) / 2), self.high))
        } else {
            Err(self.high)
        }
    }

    /// The first message from `middle` on that says anything, and whether it came before the time. None says anything: all may
    /// have come since, and so may those between the middle and one that did.
    pub fn learn(&mut self, middle: Offset, found: Option<(Offset, bool)>) {
        match found {
            Some((offset, true)) => self.low = offset.next(),
            Some((_, false)) | None => self.high = middle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times of messages as they fired; None is one that was given back.
    fn first(times: &[Option<u64>], since: u64) -> u64 {
        let mut search = Fired::among(Offset(0), Offset(times.len() as u64));
        loop {
            let (middle, end) = match search.step() {
                Ok(step) => step,
                Err(found) => return found.0,
            };
            let mut said = (middle.0..end.0).filter_map(|at| Some((at, times[at as usize]?)));
            search.learn(middle, said.next().map(|(at, time)| (Offset(at), time < since)));
        }
    }

    #[test]
    fn the_first_that_was_due_is_found_and_what_says_nothing_makes_it_an_earlier_one() {
        let times: Vec<_> = (0..100).map(|at| Some(at / 3)).collect();
        for since in 0..40 {
            assert_eq!(first(&times, since), (since * 3).min(100), "since {since}");
        }
        for hidden in 0..99 {
            let mut times = times.clone();
            times[hidden..(hidden + 40).min(100)].fill(None);
            for since in 0..40 {
                assert!(first(&times, since) <= (since * 3).min(100), "since {since}, {hidden} hidden");
            }
        }
        assert_eq!(first(&[], 5), 0);
    }
}
