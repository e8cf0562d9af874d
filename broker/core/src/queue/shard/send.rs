//! Storing messages.

use std::collections::BTreeMap;

use super::{Shard, Step};
use crate::hash::SendKey;
use crate::ids::{HeldId, Lane, LogTime, Lsn, Offset, QueueId, TopicId};
use crate::queue::duplicates::{StoredAs, key_in};
use crate::queue::request::{DiskFull, KindMismatch, NewMessage, Send, SendError, Sent, TooMany};
use crate::queue::settings::TopicKind;
use crate::record::{self, Hold, MessageRecord, Record};

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
        // Which of those each result is of that was not stored before.
        let mut numbers: Vec<(usize, usize)> = Vec::with_capacity(send.messages.len());
        let mut earlier: BTreeMap<SendKey, (Sent, usize)> = BTreeMap::new();
        let mut next: BTreeMap<QueueId, Offset> = BTreeMap::new();
        for message in &send.messages {
            if let Some((known, number)) = earlier.get(&message.key) {
                numbers.push((results.len(), *number));
                results.push(Sent { duplicate: true, ..*known });
                continue;
            }
            if let Some((queue, stored)) = self.find_sent(id, message, step.now) {
                let (offset, held) = match stored {
                    StoredAs::Visible(offset) => (offset, None),
                    StoredAs::Held(held) => (Offset(0), Some(held)),
                };
                results.push(Sent { topic: id, queue, offset, held, duplicate: true });
                continue;
            }
            let queue = self.pick_queue(message, settings.queues);
            let end = self.state.message_queue(id, queue).map_or(Offset(0), |queue| queue.next);
            let offset = next.get(&queue).copied().unwrap_or(end);
            let record = self.message_record((id, queue, offset), step.now, message);
            let sent = Sent { topic: id, queue, offset: record.offset, held: None, duplicate: false };
            // A message alone has no other to tell its key and its offset to.
            if send.messages.len() > 1 {
                earlier.insert(message.key, (sent, stored.len()));
                next.insert(queue, if record.hold == Hold::None { offset.next() } else { offset });
            }
            numbers.push((results.len(), stored.len()));
            results.push(sent);
            stored.push(record);
        }
        // A repeat of what is stored already needs no room.
        if !stored.is_empty() {
            self.room_for_messages()?;
            self.room_for_held(settings.kind, stored.len())?;
        }
        let held = self.store(step, stored);
        for (result, number) in numbers {
            if let (Some(result), Some(id)) = (results.get_mut(result), held.get(number)) {
                result.held = *id;
            }
        }
        self.sent.follow(&self.state.duplicates);
        self.polls.arrived(id);
        Ok(results)
    }

    /// Appends messages as one record, and names each that waits.
    fn store(&mut self, step: &mut Step<'_>, messages: Vec<MessageRecord<'_>>) -> Vec<Option<HeldId>> {
        let holds: Vec<Hold> = messages.iter().map(|message| message.hold).collect();
        let positions: Vec<Lsn> = match <[_; 1]>::try_from(messages) {
            Ok([message]) => vec![self.append(step, &Record::Message(message))],
            Err(messages) if messages.is_empty() => Vec::new(),
            Err(messages) => {
                let record = Record::Batch(messages);
                let lsn = self.append(step, &record);
                let Record::Batch(messages) = &record else { return Vec::new() };
                record::batch_positions(lsn, messages).collect()
            }
        };
        let ids = holds.iter().zip(positions).map(|(hold, lsn)| match hold {
            Hold::None => None,
            Hold::Until(_) | Hold::Transaction(_) => Some(HeldId(lsn.0)),
        });
        let ids: Vec<Option<HeldId>> = ids.collect();
        for id in ids.iter().flatten() {
            if let Some(half) = self.state.held.halves.get(*id) {
                self.checks.put(*id, &half, self.limits.transactions.checks_max);
            }
        }
        ids
    }

    /// What waits takes memory until its time or its end.
    fn room_for_held(&self, kind: TopicKind, count: usize) -> Result<(), TooMany> {
        let (what, waiting, limit) = match kind {
            TopicKind::Delay => ("delayed messages", self.state.held.delayed.len(), self.limits.delayed_max),
            TopicKind::Transaction => {
                ("open transactions", self.state.held.halves.len(), self.limits.halves_max)
            }
            TopicKind::Normal | TopicKind::Fifo | TopicKind::Undecided => return Ok(()),
        };
        if waiting + count > limit { Err(TooMany { what, limit }) } else { Ok(()) }
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

    fn find_sent(&self, topic: TopicId, message: &NewMessage, now: LogTime) -> Option<(QueueId, StoredAs)> {
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

    fn message_record<'m>(
        &self,
        (topic, queue, offset): (TopicId, QueueId, Offset),
        now: LogTime,
        message: &'m NewMessage,
    ) -> MessageRecord<'m> {
        let hold = if message.kind == TopicKind::Transaction {
            let immunity_ms = message.recover_after_ms.unwrap_or(self.limits.transactions.immunity_ms);
            Hold::Transaction(now.plus(immunity_ms))
        } else if message.deliver_at > now {
            Hold::Until(message.deliver_at)
        } else {
            Hold::None
        };
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
}
