//! What a consumer does with a delivery: ack, change when it comes back, give it up; and what becomes of a
//! delivery that was its message's last.

use std::sync::Arc;

use super::{Place, Shard, Step};
use crate::ids::{GroupId, Offset, QueueId, TopicId};
use crate::queue::progress::Pending;
use crate::queue::request::{
    Ack, ChangeInvisible, ChangeInvisibleError, ConsumeError, ForwardToDeadLetters, GroupNotFound, Handle,
    Name, StaleHandle, UndoPop,
};
use crate::record::{self, Record};

/// Most messages that become dead letters in one step: a group that allows fewer attempts from now on may have very many.
const BURIED_MAX: usize = 1_000;

impl Shard {
    pub(super) fn ack(
        &mut self,
        step: &mut Step<'_>,
        ack: &Ack,
    ) -> Result<Vec<Result<(), StaleHandle>>, ConsumeError> {
        let group = self.known_group(&ack.group)?;
        let mut results = Vec::with_capacity(ack.handles.len());
        for handle in &ack.handles {
            let result = match self.current(group, handle) {
                Ok(_) => {
                    self.finish(step, group, handle.topic, vec![(handle.queue, handle.offset)]);
                    Ok(())
                }
                // Done already: the first ack's answer got lost, or another holder was faster. Either way the
                // message will not come back, which is what the caller asks for.
                Err(StaleHandle) if self.is_done(group, handle) => Ok(()),
                Err(stale) => Err(stale),
            };
            results.push(result);
        }
        Ok(results)
    }

    pub(super) fn change_invisible(
        &mut self,
        step: &mut Step<'_>,
        change: &ChangeInvisible,
    ) -> Result<(), ChangeInvisibleError> {
        let group = self.state.group(&change.group).map(|(id, _)| id);
        let group = group.ok_or_else(|| GroupNotFound { group: Arc::clone(&change.group) })?;
        let attempts = self.current(group, &change.handle)?.attempts;
        // A consumer that fails at once and wants the message back at once would do nothing else.
        let floor_ms = if attempts > 1 { self.limits.retry_floor_ms } else { 0 };
        let visible_at = step.now.plus(change.invisible_ms.max(floor_ms));
        let handle = &change.handle;
        let messages = vec![(handle.queue, handle.offset)];
        self.change_visible(
            step,
            record::ChangeInvisible {
                group,
                topic: handle.topic,
                visible_at,
                held: false,
                confirmed: true,
                uncounted: change.suspend,
                messages,
            },
        );
        Ok(())
    }

    /// A stale handle is a success: the message was forwarded, acked or delivered anew, and the clients repeat
    /// this call until it succeeds.
    pub(super) fn forward_to_dead_letters(
        &mut self,
        step: &mut Step<'_>,
        forward: &ForwardToDeadLetters,
    ) -> Result<(), ConsumeError> {
        let group = self.known_group(&forward.group)?;
        if self.current(group, &forward.handle).is_ok() {
            let handle = &forward.handle;
            self.bury(step, (group, handle.topic, handle.queue, handle.offset));
        }
        Ok(())
    }

    pub(super) fn undo_pop(&mut self, step: &mut Step<'_>, undo: &UndoPop) {
        let Some((group, _)) = self.state.group(&undo.group) else { return };
        for handle in &undo.handles {
            // A change by its consumer shows that it arrived, and a repeat of the receive attempt that the client
            // may have it from there: it was the first answer that got lost.
            let lease = self.current(group, handle).ok().and_then(|pending| pending.lease);
            if lease.is_some_and(|lease| lease.held && !lease.confirmed && !lease.repeated) {
                let (topic, messages) = (handle.topic, vec![(handle.queue, handle.offset)]);
                let record = Record::UndoPop { group, topic, messages };
                self.append_for(step, (group, topic), &[(handle.queue, handle.offset)], &record);
                self.polls.changed(topic, group);
            }
        }
    }

    /// Makes dead letters of messages whose last delivery ended by time. What is left becomes one in the next step.
    pub(super) fn bury_exhausted(&mut self, step: &mut Step<'_>) {
        for _ in 0..BURIED_MAX {
            let Some((time, place)) = self.watch.exhausted.first().copied() else { return };
            if time > step.now {
                return;
            }
            self.watch.exhausted.pop_first();
            let due =
                |pending: &Pending| pending.visible_at <= step.now && self.is_exhausted(place.0, pending);
            if self.pending(place).is_some_and(due) {
                self.bury(step, place);
            }
        }
    }

    /// Makes a dead letter of a pending message.
    fn bury(&mut self, step: &mut Step<'_>, (group, topic, queue, offset): Place) {
        if self.state.entry(topic, queue, offset).is_none() {
            self.finish(step, group, topic, vec![(queue, offset)]);
        } else if let Some(into) = self.dead_letter_topic(step, group) {
            let record = Record::DeadLetter { group, topic, queue, offset, into };
            self.append_for(step, (group, topic), &[(queue, offset)], &record);
            self.polls.arrived(into);
            self.polls.changed(topic, group);
        }
    }

    /// Ends pending messages for good.
    pub(super) fn finish(
        &mut self,
        step: &mut Step<'_>,
        group: GroupId,
        topic: TopicId,
        messages: Vec<(QueueId, Offset)>,
    ) {
        let record = Record::Ack { group, topic, messages };
        if let Record::Ack { messages, .. } = &record {
            self.append_for(step, (group, topic), messages, &record);
        }
        self.polls.changed(topic, group);
    }

    /// Changes when pending messages come back.
    pub(super) fn change_visible(&mut self, step: &mut Step<'_>, change: record::ChangeInvisible) {
        let key = (change.group, change.topic);
        let record = Record::ChangeInvisible(change);
        if let Record::ChangeInvisible(change) = &record {
            self.append_for(step, key, &change.messages, &record);
        }
        self.polls.changed(key.1, key.0);
    }

    /// The pending message whose current delivery a handle names.
    fn current(&self, group: GroupId, handle: &Handle) -> Result<&Pending, StaleHandle> {
        let pending = self.pending((group, handle.topic, handle.queue, handle.offset)).ok_or(StaleHandle)?;
        let same = pending.lease.is_some_and(|lease| lease.nonce == handle.nonce);
        if same { Ok(pending) } else { Err(StaleHandle) }
    }

    fn is_exhausted(&self, group: GroupId, pending: &Pending) -> bool {
        self.state.groups.get(&group).is_some_and(|group| pending.attempts >= group.settings.max_attempts)
    }

    fn is_done(&self, group: GroupId, handle: &Handle) -> bool {
        let lane =
            self.state.message_queue(handle.topic, handle.queue).map(|queue| queue.lane(handle.offset));
        let progress = self.state.progress(group, handle.topic, handle.queue);
        lane.zip(progress).is_some_and(|(lane, progress)| !progress.owes(handle.offset, lane))
    }

    fn known_group(&self, name: &Name) -> Result<GroupId, GroupNotFound> {
        let found = self.state.group(name).map(|(id, _)| id);
        found.ok_or_else(|| GroupNotFound { group: Arc::clone(name) })
    }
}
