//! What became of messages that waited: so that whoever ends a transaction or recalls a message once more, because the
//! first answer got lost, hears the same again, and whoever comes with the opposite is refused.

use crate::ids::{HeldId, LogTime};
use crate::queue::chunked::{ChunkedMap, Column, Value};

/// For how long that is known: 1 hour of log time. RocketMQ's proxy forgets a transaction after 30 s.
pub(crate) const ENDED_WINDOW_MS: u64 = 3_600_000;
/// Of how many at most.
pub(crate) const ENDED_MAX: usize = 500_000;

/// What became of a message that waited.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub(crate) enum Ending {
    /// Its transaction was committed: it is visible.
    Committed = 1,
    /// Its transaction was rolled back: it is gone.
    RolledBack = 2,
    /// Nobody said how its transaction ended, however often they were asked: it is a dead letter.
    GivenUp = 3,
    /// It was recalled before its time: it is gone.
    Recalled = 4,
}

/// When something ended, and how.
pub(crate) type EndedAt = (LogTime, Ending);

impl Value for EndedAt {
    type Columns = Column<Self>;
}

impl Value for () {
    type Columns = Column<Self>;
}

/// The newest endings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ended {
    pub(crate) by_id: ChunkedMap<HeldId, EndedAt>,
    /// Follows from that.
    by_time: ChunkedMap<(LogTime, HeldId), ()>,
}

impl Ended {
    /// Remembers an ending, and forgets what is too old or too much.
    pub(crate) fn insert(&mut self, id: HeldId, at: LogTime, ending: Ending) {
        self.restore(id, at, ending);
        while let Some(((oldest, id), ())) = self.by_time.first() {
            if at.since(oldest) <= ENDED_WINDOW_MS && self.by_time.len() <= ENDED_MAX {
                return;
            }
            self.by_time.pop_first();
            self.by_id.remove(id);
        }
    }

    /// Takes back what a checkpoint held.
    pub(crate) fn restore(&mut self, id: HeldId, at: LogTime, ending: Ending) {
        self.by_id.insert(id, (at, ending));
        self.by_time.insert((at, id), ());
    }

    /// What became of a message, if that is known still.
    pub(crate) fn get(&self, id: HeldId) -> Option<Ending> {
        self.by_id.get(id).map(|(_, ending)| ending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_known_for_its_time_and_the_newest_of_many_are() {
        let mut ended = Ended::default();
        ended.insert(HeldId(1), LogTime(0), Ending::Committed);
        ended.insert(HeldId(2), LogTime(ENDED_WINDOW_MS), Ending::RolledBack);
        assert_eq!(ended.get(HeldId(1)), Some(Ending::Committed));
        ended.insert(HeldId(3), LogTime(ENDED_WINDOW_MS + 1), Ending::Recalled);
        assert_eq!(ended.get(HeldId(1)), None);
        assert_eq!(ended.get(HeldId(2)), Some(Ending::RolledBack));
        for id in 0..ENDED_MAX as u64 {
            ended.insert(HeldId(1_000 + id), LogTime(ENDED_WINDOW_MS + 1), Ending::GivenUp);
        }
        assert_eq!((ended.by_id.len(), ended.by_time.len()), (ENDED_MAX, ENDED_MAX));
        assert_eq!(ended.get(HeldId(2)), None);
        assert_eq!(ended.get(HeldId(1_000)), Some(Ending::GivenUp));
    }
}
