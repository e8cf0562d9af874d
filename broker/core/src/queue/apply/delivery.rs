//! What the records of deliveries mean: pop, ack, change of the invisible duration, repeat, undo, dead letter, and
//! what an epoch's start does to leases. Each checks that what it names is pending before it touches anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Applied;
use crate::ids::{AttemptHash, GroupId, Lane, LogTime, Offset, QueueId, TopicId};
use crate::queue::index::Entry;
use crate::queue::progress::{Lease, Progress};
use crate::queue::state::{Group, State};
use crate::record::{ChangeInvisible, Fate, Pop, Record, Repeat};

/// Longest extension of a lease when a master starts: who held one while there was no master gets this much to
/// finish.
const EXTENSION_MAX_MS: u64 = 30_000;

const NOT_PENDING: &str = "pending message";

impl State {
    pub(super) fn apply_delivery(&mut self, now: LogTime, record: &Record<'_>) -> Applied {
        match record {
            Record::Pop(pop) => {
                self.pop(pop, now)?;
                self.used(pop.group, pop.topic, now)
            }
            Record::Ack { group, topic, messages } => {
                messages
                    .iter()
                    .try_for_each(|(queue, offset)| self.finish(*group, *topic, *queue, *offset))?;
                self.used(*group, *topic, now)
            }
            Record::ChangeInvisible(change) => {
                self.change_invisible(change)?;
                self.used(change.group, change.topic, now)
            }
            Record::Repeat(repeat) => {
                self.repeat(repeat, now)?;
                self.used(repeat.group, repeat.topic, now)
            }
            Record::UndoPop { group, topic, messages } => self.undo_pop(*group, *topic, messages),
            Record::DeadLetter { group, topic, queue, offset, into } => {
                let entry = self.message_queue(*topic, *queue).and_then(|queue| queue.get(*offset));
                let entry = entry.ok_or("message")?;
                self.finish(*group, *topic, *queue, *offset)?;
                let everyone = Entry { only: GroupId(0), ..entry };
                self.push(*into, QueueId(0), everyone, now).map(drop)
            }
            _ => Err("record"),
        }
    }

    /// Whoever holds a lease gets time to finish: there was no master to ack to.
    pub(super) fn extend_leases(&mut self, now: LogTime) {
        let before = self.log_time;
        for group in self.groups.values_mut() {
            let in_flight = |progress: &Arc<Progress>| progress.in_flight > 0;
            if !group.subscriptions.values().any(|subscription| subscription.queues.iter().any(in_flight)) {
                continue;
            }
            for subscription in Arc::make_mut(group).subscriptions.values_mut() {
                for progress in subscription.queues.iter_mut().filter(|progress| progress.in_flight > 0) {
                    let progress = Arc::make_mut(progress);
                    let pending = progress.pending.iter();
                    let live: Vec<(Offset, Lease)> = pending
                        .filter(|(_, pending)| pending.visible_at > before)
                        .filter_map(|(offset, pending)| Some((*offset, pending.lease?)))
                        .filter(|(_, lease)| lease.held)
                        .collect();
                    for (offset, lease) in live {
                        let until = now.plus(lease.length_ms.min(EXTENSION_MAX_MS));
                        progress.change(offset, |pending| pending.visible_at = pending.visible_at.max(until));
                    }
                }
            }
        }
    }

    fn pop(&mut self, pop: &Pop, now: LogTime) -> Applied {
        let visible_at = now.plus(pop.invisible_ms);
        let lease = Lease {
            nonce: pop.nonce,
            client: pop.client,
            connection: pop.connection,
            attempt: pop.attempt,
            popped_at: now,
            length_ms: pop.invisible_ms,
            auto_renew: pop.auto_renew,
            confirmed: false,
            repeated: false,
            held: true,
        };
        let ordered = self.groups.get(&pop.group).ok_or("group")?.settings.ordered;
        let mut delivered = Vec::new();
        for part in &pop.queues {
            for offset in &part.again {
                self.end_attempt(pop.group, pop.topic, part.queue, *offset);
            }
            let topic = self.topics.get(&pop.topic).ok_or("popped topic")?;
            let queue = topic.queues.get(usize::from(part.queue.0)).ok_or("popped queue")?;
            let progress = progress_in(&mut self.groups, pop.group, pop.topic, part.queue)?;
            for offset in &part.again {
                let again = progress.change(*offset, |pending| {
                    pending.visible_at = visible_at;
                    pending.attempts = pending.attempts.saturating_add(1);
                    pending.lease = Some(lease);
                });
                again.ok_or(NOT_PENDING)?;
                delivered.push((part.queue, *offset));
            }
            for (fate, count) in &part.runs {
                // What was never sent cannot have been popped; this also bounds the work a damaged run can ask for.
                if u64::from(*count) > queue.next.0.saturating_sub(progress.next.0) {
                    return Err("popped messages");
                }
                if *fate == Fate::Skipped {
                    progress.next.0 += u64::from(*count);
                    continue;
                }
                for _ in 0..*count {
                    let lane = if ordered { queue.lane(progress.next) } else { Lane(0) };
                    if *fate == Fate::Parked {
                        if !progress.park(lane) {
                            return Err("message group of a message that waits");
                        }
                        continue;
                    }
                    if progress.lanes.contains_key(&lane) {
                        return Err("second message of a message group");
                    }
                    delivered.push((part.queue, progress.next));
                    progress.deliver(lane, visible_at, lease);
                }
            }
        }
        if pop.attempt != AttemptHash(0) && !delivered.is_empty() {
            let subscription = self.group_mut(pop.group)?.subscriptions.get_mut(&pop.topic);
            // Two receives of one attempt may have been served, each with messages of its own.
            let handed = &mut subscription.ok_or("subscription")?.attempts;
            handed.entry(pop.attempt).or_default().append(&mut delivered);
        }
        Ok(())
    }

    fn finish(&mut self, group: GroupId, topic: TopicId, queue: QueueId, offset: Offset) -> Applied {
        self.end_attempt(group, topic, queue, offset);
        let progress = progress_in(&mut self.groups, group, topic, queue)?;
        progress.finish(offset).map(drop).ok_or(NOT_PENDING)
    }

    fn change_invisible(&mut self, change: &ChangeInvisible) -> Applied {
        for (queue, offset) in &change.messages {
            let progress = progress_in(&mut self.groups, change.group, change.topic, *queue)?;
            let changed = progress.change(*offset, |pending| {
                pending.visible_at = change.visible_at;
                let Some(lease) = &mut pending.lease else { return };
                // Once a delivery: its holder may repeat the call, whose answer can get lost.
                if change.uncounted && lease.held {
                    pending.attempts = pending.attempts.saturating_sub(1);
                }
                lease.held &= change.held;
                lease.confirmed |= change.confirmed;
            });
            changed.ok_or(NOT_PENDING)?;
        }
        Ok(())
    }

    fn repeat(&mut self, repeat: &Repeat, now: LogTime) -> Applied {
        for (queue, offset) in &repeat.messages {
            let progress = progress_in(&mut self.groups, repeat.group, repeat.topic, *queue)?;
            let changed = progress.change(*offset, |pending| {
                pending.visible_at = now.plus(repeat.invisible_ms);
                let Some(lease) = &mut pending.lease else { return };
                lease.connection = repeat.connection;
                lease.popped_at = now;
                lease.length_ms = repeat.invisible_ms;
                lease.confirmed = false;
                lease.repeated = true;
            });
            changed.ok_or(NOT_PENDING)?;
        }
        Ok(())
    }

    fn undo_pop(&mut self, group: GroupId, topic: TopicId, messages: &[(QueueId, Offset)]) -> Applied {
        for (queue, offset) in messages {
            self.end_attempt(group, topic, *queue, *offset);
            let progress = progress_in(&mut self.groups, group, topic, *queue)?;
            let changed = progress.change(*offset, |pending| {
                pending.visible_at = LogTime(0);
                pending.attempts = pending.attempts.saturating_sub(1);
                pending.lease = None;
            });
            changed.ok_or(NOT_PENDING)?;
        }
        Ok(())
    }

    /// A consumer of the group is alive. A receive that finds nothing leaves no record, and needs none: a group is
    /// idle only while it owes something, and then a receive finds it.
    fn used(&mut self, group: GroupId, topic: TopicId, now: LogTime) -> Applied {
        let subscription = self.group_mut(group)?.subscriptions.get_mut(&topic).ok_or("subscription")?;
        subscription.last_used = subscription.last_used.max(now);
        Ok(())
    }

    /// A delivery ends: a repeat of its receive attempt no longer gets it.
    fn end_attempt(&mut self, group: GroupId, topic: TopicId, queue: QueueId, offset: Offset) {
        let pending = self.progress(group, topic, queue).and_then(|progress| progress.pending.get(&offset));
        let Some(lease) = pending.and_then(|pending| pending.lease) else { return };
        if lease.attempt == AttemptHash(0) {
            return;
        }
        let Ok(group) = self.group_mut(group) else { return };
        let Some(subscription) = group.subscriptions.get_mut(&topic) else { return };
        if let Some(handed) = subscription.attempts.get_mut(&lease.attempt) {
            handed.retain(|message| *message != (queue, offset));
            if handed.is_empty() {
                subscription.attempts.remove(&lease.attempt);
            }
        }
    }
}

fn progress_in(
    groups: &mut BTreeMap<GroupId, Arc<Group>>,
    group: GroupId,
    topic: TopicId,
    queue: QueueId,
) -> Result<&mut Progress, &'static str> {
    let group = groups.get_mut(&group).map(Arc::make_mut).ok_or("group")?;
    let subscription = group.subscriptions.get_mut(&topic).ok_or("subscription")?;
    subscription.queues.get_mut(usize::from(queue.0)).map(Arc::make_mut).ok_or("queue")
}
