//! Where expressions are evaluated: not on the threads that serve calls, of which a few expensive filters could take all, but
//! on as many others as leave half the processors free. One slice after the other, in the order in which they are asked for, so
//! that an expensive filter holds up a cheap one for no longer than a slice of each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rq_core::record::StoredMessage;
use tokio::sync::Semaphore;

use crate::engine::{EngineError, ReadMessageError};
use crate::grpc::filters::SqlFilter;

/// A slice ends with the message that passes this time.
const SLICE: Duration = Duration::from_millis(2);

/// A message, or why it could not be read.
pub(super) type Read = Result<StoredMessage, ReadMessageError>;

/// What came of one message. None where only the shard can say what became of it.
pub(super) type Verdict = Result<Option<bool>, EngineError>;

/// The processors that filters may take.
pub(in crate::grpc) struct Slices(Arc<Semaphore>);

impl Default for Slices {
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((processors / 2).max(1))))
    }
}

impl Slices {
    /// Judges some of the messages, from the first on: at least one, and no more once `wanted` are. Gives back the rest.
    pub(super) async fn judge(
        &self,
        filter: &Arc<SqlFilter>,
        messages: VecDeque<Read>,
        wanted: usize,
    ) -> Result<(Vec<Verdict>, VecDeque<Read>), EngineError> {
        let room = Arc::clone(&self.0).acquire_owned().await.map_err(|_| EngineError::Stopping)?;
        let filter = Arc::clone(filter);
        let slice = move || {
            // Held by the thread: it goes on when nobody waits for it any more.
            let _room = room;
            let (mut messages, began) = (messages, Instant::now());
            let verdicts =
                slice(&mut messages, wanted, |message| verdict(&filter, message), || began.elapsed());
            (verdicts, messages)
        };
        // Only a runtime that ends runs nothing.
        tokio::task::spawn_blocking(slice).await.map_err(|_| EngineError::Stopping)
    }
}

/// Judges until the time of a slice is over, or enough are wanted.
fn slice<M>(
    messages: &mut VecDeque<M>,
    wanted: usize,
    verdict: impl Fn(M) -> Verdict,
    spent: impl Fn() -> Duration,
) -> Vec<Verdict> {
    let (mut verdicts, mut found) = (Vec::new(), 0);
    while let Some(message) = messages.pop_front() {
        let verdict = verdict(message);
        found += usize::from(matches!(verdict, Ok(Some(true))));
        verdicts.push(verdict);
        if found >= wanted || spent() >= SLICE {
            break;
        }
    }
    verdicts
}

fn verdict(filter: &SqlFilter, read: Read) -> Verdict {
    // A damaged message is wanted: its delivery says that it cannot be read, as it does without a filter.
    const DAMAGED: Verdict = Ok(Some(true));
    match read {
        Ok(stored) => filter.wants(&stored).map_or(DAMAGED, |verdict| Ok(Some(verdict))),
        Err(ReadMessageError::Damaged { .. }) => DAMAGED,
        // Retention let go of the segment, and may have copied the message before. The shard knows: it passes the message over,
        // or says where it lies now.
        Err(ReadMessageError::Dropped(_)) => Ok(None),
        Err(ReadMessageError::Reopening) => Err(EngineError::NotMaster),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Judges messages that cost so many milliseconds each; odd ones are wanted.
    fn judged(count: u64, cost_ms: u64, wanted: usize) -> (usize, usize) {
        let spent = Cell::new(Duration::ZERO);
        let mut messages: VecDeque<u64> = (0..count).collect();
        let verdict = |message: u64| {
            spent.set(spent.get() + Duration::from_millis(cost_ms));
            Ok(Some(message % 2 == 1))
        };
        let verdicts = slice(&mut messages, wanted, verdict, || spent.get());
        (verdicts.len(), messages.len())
    }

    #[test]
    fn a_slice_ends_by_its_time_and_not_by_a_number_of_messages() {
        assert_eq!(judged(1_000, 0, usize::MAX), (1_000, 0), "what costs nothing is judged at once");
        assert_eq!(judged(1_000, 1, usize::MAX), (2, 998));
        assert_eq!(judged(1_000, 50, usize::MAX), (1, 999), "one at least, or it would never end");
    }

    #[test]
    fn a_slice_ends_once_enough_are_wanted() {
        assert_eq!(judged(1_000, 0, 3), (6, 994));
    }

    #[tokio::test]
    async fn filters_take_half_the_processors_at_most() {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(Slices::default().0.available_permits(), (processors / 2).max(1));
    }
}
