//! Storing messages.

use std::collections::BTreeMap;

use super::{Shard, Step};
use crate::hash::SendKey;
use crate::ids::{Lane, LogTime, Offset, QueueId, TopicId};
use crate::queue::duplicates::key_in;
use crate::queue::request::{DiskFull, KindMismatch, NewMessage, Send, SendError, Sent};
use crate::queue::settings::TopicKind;
use crate::record::{Hold, MessageRecord, Record};

impl Shard {
    /// All messages are stored, as one record, or none.
    pub(super) fn send(&mut self, step: &mut Step<'_>, send: &Send) -> Result<Vec<Sent>, SendError> {
        self.check_kinds_agree(send)?;
        let (id, settings) = self.topic_for_send(step, send)?;
        for message in &send.messages {
            if message.kind != settings.kind {
                return Err(KindMismatch { topic: settings.kind, message: message.kind }.into());
            }
        }
        let mut results = Vec::with_capacity(send.messages.len());
        let mut stored: Vec<MessageRecord<'_>> = Vec::with_capacity(send.messages.len());
        let mut earlier: BTreeMap<SendKey, Sent> = BTreeMap::new();
        let mut next: BTreeMap<QueueId, Offset> = BTreeMap::new();
        for message in &send.messages {
            if let Some(known) = earlier.get(&message.key) {
                results.push(Sent { duplicate: true, ..*known });
                continue;
            }
            if let Some((queue, offset)) = self.find_sent(id, message, step.now) {
                results.push(Sent { queue, offset, duplicate: true });
                continue;
            }
            let queue = self.pick_queue(message, settings.queues);
            let end = self.state.message_queue(id, queue).map_or(Offset(0), |queue| queue.next);
            let offset = next.get(&queue).copied().unwrap_or(end);
            let record = message_record(id, queue, offset, step.now, message);
            let sent = Sent { queue, offset: record.offset, duplicate: false };
            // A message alone has no other to tell its key and its offset to.
            if send.messages.len() > 1 {
                earlier.insert(message.key, sent);
                next.insert(queue, if record.hold == Hold::None { offset.next() } else { offset });
            }
            results.push(sent);
            stored.push(record);
        }
        // A repeat of what is stored already needs no room.
        if !stored.is_empty() {
            self.room_for_messages()?;
        }
        match <[_; 1]>::try_from(stored) {
            Ok([message]) => drop(self.append(step, &Record::Message(message))),
            Err(stored) if stored.is_empty() => {}
            Err(stored) => drop(self.append(step, &Record::Batch(stored))),
        }
        self.sent.follow(&self.state.duplicates);
        self.polls.arrived(id);
        Ok(results)
    }

    /// A topic that does not exist or takes any kind yet is made or decided by a send, so not by one that would then be
    /// refused for its kinds.
    fn check_kinds_agree(&self, send: &Send) -> Result<(), KindMismatch> {
        let known = self.state.topic(&send.topic).map(|(_, topic)| topic.settings.kind);
        let undecided = match known {
            Some(kind) => kind == TopicKind::Undecided,
            None => self.limits.auto_create_topics,
        };
        let mut kinds = send.messages.iter().map(|message| message.kind);
        let Some(topic) = kinds.next().filter(|_| undecided) else { return Ok(()) };
        match kinds.find(|kind| *kind != topic) {
            Some(message) => Err(KindMismatch { topic, message }),
            None => Ok(()),
        }
    }

    fn find_sent(&self, topic: TopicId, message: &NewMessage, now: LogTime) -> Option<(QueueId, Offset)> {
        self.sent.find(&self.state.duplicates, key_in(topic, message.key), now)
    }

    /// Nothing new is taken in while the disk is nearly full: what is left is for acks.
    pub(super) fn room_for_messages(&self) -> Result<(), DiskFull> {
        if self.free_bytes < self.limits.free_bytes_min {
            return Err(DiskFull { free_bytes: self.free_bytes, pinned_by: self.pinned_by.clone() });
        }
        Ok(())
    }

    /// A message group keeps to one queue, whatever queue its client chose: the clients' hashes differ.
    fn pick_queue(&mut self, message: &NewMessage, queues: u16) -> QueueId {
        let number = if message.lane == Lane(0) {
            self.sends = self.sends.wrapping_add(1);
            self.sends
        } else {
            message.lane.0
        };
        QueueId((number % u64::from(queues.max(1))) as u16)
    }
}

fn message_record(
    topic: TopicId,
    queue: QueueId,
    offset: Offset,
    now: LogTime,
    message: &NewMessage,
) -> MessageRecord<'_> {
    let hold = if message.deliver_at > now { Hold::Until(message.deliver_at) } else { Hold::None };
    MessageRecord {
        topic,
        queue,
        offset: if hold == Hold::None { offset } else { Offset(0) },
        kind: message.kind,
        hold,
        key: message.key,
        tag: message.tag,
        lane: message.lane,
        stored_at: now,
        content: &message.content,
    }
}
