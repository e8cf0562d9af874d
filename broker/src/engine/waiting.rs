//! Tells of messages that nobody can see yet: how many there are, and which waited in vain.

use std::collections::BTreeMap;

use rq_core::handle::{self, TransactionId};
use rq_core::queue::view::OpenTransaction;
use rq_core::queue::{Shard, UNRESOLVED_TOPIC};

use super::log_thread::LogThread;

/// Of those that one step gives up so many are named in the log, which the log thread writes while all others wait. The admin
/// API lists the dead letters of all.
const NAMED_MAX: usize = 8;

impl LogThread {
    /// What waits, and what waited in vain.
    pub(super) fn tell_of_the_held(&mut self) {
        let state = self.queues.state();
        self.published.held(state.held(), state.given_up_transactions());
        let shard = self.frames.log.identity().shard;
        let given_up = self.queues.shard().map(Shard::take_given_up).unwrap_or_default();
        for given_up in given_up.iter().take(NAMED_MAX) {
            let OpenTransaction { half, topic, topic_name, checks, .. } = given_up;
            let transaction = handle::encode_transaction(shard, TransactionId { topic: *topic, half: *half });
            tracing::warn!(
                topic = %topic_name, transaction, checks,
                "nobody said how a transaction ended: its message went to {UNRESOLVED_TOPIC}"
            );
        }
        for (topic, count) in unnamed(&given_up) {
            tracing::warn!(
                topic = %topic, count,
                "nobody said how so many more transactions ended: their messages went to {UNRESOLVED_TOPIC}"
            );
        }
    }
}

/// How many transactions of each topic are not named.
fn unnamed(given_up: &[OpenTransaction]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for given_up in given_up.iter().skip(NAMED_MAX) {
        *counts.entry(&*given_up.topic_name).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use rq_core::ids::{HeldId, LogTime, Lsn, QueueId, TopicId};

    use super::*;

    #[test]
    fn of_very_many_that_waited_in_vain_the_first_are_named_and_the_others_counted_by_topic() {
        let of = |topic: &str| OpenTransaction {
            half: HeldId(1),
            topic: TopicId(1),
            topic_name: topic.into(),
            queue: QueueId(0),
            lsn: Lsn(1),
            next_check: LogTime(0),
            checks: 15,
        };
        let few: Vec<_> = (0..NAMED_MAX).map(|_| of("a")).collect();
        assert!(unnamed(&few).is_empty());
        let many: Vec<_> = few.into_iter().chain([of("b"), of("a"), of("b")]).collect();
        assert_eq!(unnamed(&many), BTreeMap::from([("a", 1), ("b", 2)]));
    }
}
