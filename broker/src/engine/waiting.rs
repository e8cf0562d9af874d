//! Tells of messages that nobody can see yet: how many there are, and which waited in vain.

use rq_core::handle::{self, TransactionId};
use rq_core::queue::view::OpenTransaction;
use rq_core::queue::{Shard, UNRESOLVED_TOPIC};

use super::log_thread::LogThread;

impl LogThread {
    /// What waits, and what waited in vain.
    pub(super) fn tell_of_the_held(&mut self) {
        let state = self.queues.state();
        self.published.held(state.held(), state.given_up_transactions());
        let shard = self.frames.log.identity().shard;
        for given_up in self.queues.shard().map(Shard::take_given_up).unwrap_or_default() {
            let OpenTransaction { half, topic, topic_name, checks, .. } = given_up;
            let transaction = handle::encode_transaction(shard, TransactionId { topic, half });
            tracing::warn!(
                topic = %topic_name, transaction, checks,
                "nobody said how a transaction ended: its message went to {UNRESOLVED_TOPIC}"
            );
        }
    }
}
