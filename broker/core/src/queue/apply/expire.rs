//! What it means that a group gives up what it owes. Counts what it takes away: nothing is given up silently.

use std::sync::Arc;

use super::Applied;
use crate::ids::{GroupId, Lsn, Offset, QueueId, TopicId};
use crate::queue::index::MessageQueue;
use crate::queue::progress::Progress;
use crate::queue::state::State;

impl State {
    /// Whatever the group owes of the topic below `below` is done for it.
    pub(super) fn expire(&mut self, group: GroupId, topic: TopicId, below: Lsn) -> Applied {
        let topic_of = Arc::clone(self.topics.get(&topic).ok_or("topic")?);
        let start = self.log_start;
        let lies_below = |messages: &MessageQueue, offset: Offset| {
            messages.get(offset).is_some_and(|entry| entry.is_kept(start) && entry.lsn < below)
        };
        let id = group;
        let group = self.group_mut(group)?;
        let subscription = group.subscriptions.get_mut(&topic).ok_or("subscription")?;
        let mut expired = 0;
        for (number, (messages, progress)) in topic_of.queues.iter().zip(&mut subscription.queues).enumerate()
        {
            let mut seen: Vec<Offset> =
                progress.not_done().filter(|offset| lies_below(messages, *offset)).collect();
            // A message group gives up its messages from the first one on.
            seen.sort_unstable();
            let unread = unread_below(id, messages, progress, start, below);
            if seen.is_empty() && unread == 0 {
                continue;
            }
            let progress = Arc::make_mut(progress);
            for offset in &seen {
                progress.give_up(*offset, messages.lane(*offset));
            }
            progress.next = progress.next.max(messages.min);
            while messages.get(progress.next).is_some_and(|entry| entry.lsn < below) {
                progress.next = progress.next.next();
            }
            let queue = QueueId(number as u16);
            subscription.attempts.retain(|_, handed| {
                handed.retain(|(of, offset)| *of != queue || seen.binary_search(offset).is_err());
                !handed.is_empty()
            });
            expired += seen.len() as u64 + unread;
        }
        group.expired += expired;
        self.expired += expired;
        Ok(())
    }
}

/// How many messages for a group that it never looked at lie in that part of the log.
fn unread_below(group: GroupId, messages: &MessageQueue, progress: &Progress, start: Lsn, below: Lsn) -> u64 {
    let mut count = 0;
    let mut offset = progress.next.max(messages.min);
    while let Some(entry) = messages.get(offset) {
        if entry.lsn >= below && offset >= messages.ordered_from {
            break;
        }
        count += u64::from(entry.is_kept(start) && entry.is_for(group) && entry.lsn < below);
        offset = offset.next();
    }
    count
}
