//! Delayed messages: shown when their time has come, or recalled before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Shard, Step};
use crate::ids::TopicId;
use crate::queue::held::Ending;
use crate::queue::request::{KindMismatch, NoSuchDelayed, Recall, RecallError, TopicNotFound};
use crate::queue::settings::TopicKind;
use crate::record::Record;

/// Most messages that one record shows, and one step: after an outage millions may be due, and others want to be served too.
const SHOWN_MAX: usize = 1_000;

impl Shard {
    /// Shows messages whose time has come. What is left is shown in the next step.
    pub(super) fn show_due(&mut self, step: &mut Step<'_>) {
        let up_to = step.now;
        let count = self.state.held.count_due(up_to, SHOWN_MAX);
        if count == 0 {
            return;
        }
        let shown = self.state.held.delayed.iter().take(count);
        let topics: BTreeSet<TopicId> = shown.map(|(_, message)| message.topic).collect();
        self.append(step, &Record::TimerFire { up_to, count: count as u32 });
        for topic in topics {
            self.polls.arrived(topic);
        }
    }

    /// Takes a message back. Whoever recalls it once more hears the same again.
    pub(super) fn recall(&mut self, step: &mut Step<'_>, recall: &Recall) -> Result<(), RecallError> {
        let Some((topic, of_topic)) = self.state.topic(&recall.topic) else {
            return Err(TopicNotFound { topic: Arc::clone(&recall.topic) }.into());
        };
        if of_topic.settings.kind != TopicKind::Delay {
            return Err(KindMismatch { topic: of_topic.settings.kind, message: TopicKind::Delay }.into());
        }
        let Recall { deliver_at, id, .. } = *recall;
        if topic != recall.incarnation {
            return Err(NoSuchDelayed.into());
        }
        match self.state.held.delayed.get(deliver_at, id) {
            Some(message) if message.topic == topic => {
                self.append(step, &Record::Recall { deliver_at, id });
                Ok(())
            }
            None if self.state.held.ended.get(id) == Some(Ending::Recalled) => Ok(()),
            Some(_) | None => Err(NoSuchDelayed.into()),
        }
    }
}
