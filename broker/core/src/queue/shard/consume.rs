//! What a consumer does with a delivery: ack, change when it comes back, give it up; and what becomes of a
//! delivery that was its message's last.

use std::sync::Arc;

use super::{Place, Shard, Step};
use crate::ids::{GroupId, LogTime, Offset, QueueId, TopicId};
use crate::queue::progress::Pending;
use crate::queue::request::{
    Ack, ChangeInvisible, ChangeInvisibleError, ConsumeError, ForwardToDeadLetters, GroupNotFound, Handle,
    Name, StaleHandle, UndoPop,
};
use crate::record::{self, Record};

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
                    let messages = vec![(handle.queue, handle.offset)];
                    self.append(step, &Record::Ack { group, topic: handle.topic, messages });
                    self.polls.changed(handle.topic, group);
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
        self.current(group, &change.handle)?;
        let visible_at = step.now.plus(change.invisible_ms);
        let handle = &change.handle;
        self.append(
            step,
            &Record::ChangeInvisible(record::ChangeInvisible {
                group,
                topic: handle.topic,
                visible_at,
                held: false,
                confirmed: true,
                uncounted: change.suspend,
                messages: vec![(handle.queue, handle.offset)],
            }),
        );
        self.polls.changed(handle.topic, group);
        self.watch_last_attempt((group, handle.topic, handle.queue, handle.offset));
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
            // A repeat of the receive attempt, or an ack, shows that the client has it after all.
            let current = self.current(group, handle).ok().and_then(|pending| pending.lease);
            if current.is_some_and(|lease| lease.held && !lease.confirmed) {
                let messages = vec![(handle.queue, handle.offset)];
                self.append(step, &Record::UndoPop { group, topic: handle.topic, messages });
                self.polls.changed(handle.topic, group);
            }
        }
    }

    /// Makes dead letters of messages whose last delivery ended by time.
    pub(super) fn bury_exhausted(&mut self, step: &mut Step<'_>) {
        while let Some((time, place)) = self.last_attempts.first().copied() {
            if time > step.now {
                return;
            }
            self.last_attempts.pop_first();
            let Some(pending) = self.pending(place) else { continue };
            if self.is_exhausted(place.0, pending) {
                if pending.visible_at <= step.now {
                    self.bury(step, place);
                } else {
                    self.last_attempts.insert((pending.visible_at, place));
                }
            }
        }
    }

    /// Makes a dead letter of a pending message.
    pub(super) fn bury(&mut self, step: &mut Step<'_>, place: Place) {
        let (group, topic, queue, offset) = place;
        let gone =
            self.state.message_queue(topic, queue).is_none_or(|messages| messages.get(offset).is_none());
        if gone {
            let messages = vec![(queue, offset)];
            self.append(step, &Record::Ack { group, topic, messages });
        } else if let Some(into) = self.dead_letter_topic(step, group) {
            self.append(step, &Record::DeadLetter { group, topic, queue, offset, into });
            self.polls.arrived(into);
        }
        self.polls.changed(topic, group);
    }

    /// Whether a message has had all its deliveries.
    pub(super) fn is_exhausted(&self, group: GroupId, pending: &Pending) -> bool {
        self.state.groups.get(&group).is_some_and(|group| pending.attempts >= group.settings.max_attempts)
    }

    /// Remembers to look at a delivery when its time is over, if it was the last one.
    pub(super) fn watch_last_attempt(&mut self, place: Place) {
        if let Some(pending) = self.pending(place)
            && self.is_exhausted(place.0, pending)
        {
            let at: LogTime = pending.visible_at;
            self.last_attempts.insert((at, place));
        }
    }

    pub(super) fn pending(&self, (group, topic, queue, offset): Place) -> Option<&Pending> {
        self.state.progress(group, topic, queue)?.pending.get(&offset)
    }

    /// The pending message whose current delivery a handle names.
    fn current(&self, group: GroupId, handle: &Handle) -> Result<&Pending, StaleHandle> {
        let pending = self.pending((group, handle.topic, handle.queue, handle.offset)).ok_or(StaleHandle)?;
        let same = pending.lease.is_some_and(|lease| lease.nonce == handle.nonce);
        if same { Ok(pending) } else { Err(StaleHandle) }
    }

    fn is_done(&self, group: GroupId, handle: &Handle) -> bool {
        let (topic, queue, offset): (TopicId, QueueId, Offset) = (handle.topic, handle.queue, handle.offset);
        self.state.progress(group, topic, queue).is_some_and(|progress| progress.is_done(offset))
    }

    fn known_group(&self, name: &Name) -> Result<GroupId, GroupNotFound> {
        let found = self.state.group(name).map(|(id, _)| id);
        found.ok_or_else(|| GroupNotFound { group: Arc::clone(name) })
    }
}
