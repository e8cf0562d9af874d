//! Sends, and what becomes of messages that wait: ends of transactions, and recalls.

use std::sync::Arc;

use bytes::Bytes;
use proptest::sample::Index;

use super::held::{Delayed, Fate, Half, IMMUNITY_MS, Stage};
use super::world::{Message, TOPICS, World, id_of};
use crate::hash::SendKey;
use crate::ids::{HeldId, Lane};
use crate::queue::duplicates::WINDOW_MS;
use crate::queue::request::{
    Answer, EndTransaction, EndTransactionError, KindMismatch, NewMessage, NoSuchDelayed, NoSuchTransaction,
    Recall, RecallError, Request, Sent, TransactionEnded,
};
use crate::queue::settings::TopicKind;

/// A message by the number of its key and its message group; a key met before is a retry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    pub(super) key: u8,
    pub(super) lane: u64,
    /// In a topic of delayed messages.
    pub(super) delay_ms: u64,
    /// In a topic of transactions.
    pub(super) recover_ms: Option<u64>,
}

const TRANSACTIONS: usize = 1;
const DELAYED: usize = 2;

impl World {
    pub(super) fn send(&mut self, topic: usize, messages: &[Sending]) {
        let now = self.broker.now;
        let (name, kind) = TOPICS[topic];
        let mut batch = Vec::new();
        for (nth, sending) in messages.iter().enumerate() {
            let delayed = kind == TopicKind::Delay;
            let mut message = self.broker.message("");
            message.kind = kind;
            message.key = SendKey(u128::from(sending.key) << 70);
            message.lane = Lane(sending.lane);
            message.deliver_at = if delayed { now.plus(sending.delay_ms) } else { message.deliver_at };
            message.recover_after_ms = sending.recover_ms.filter(|_| kind == TopicKind::Transaction);
            message.content = Bytes::from(format!("{name}: {} at {now} as {nth}", sending.key));
            batch.push(message);
        }
        let results = self.broker.try_send(name, batch.clone()).unwrap();
        assert_eq!(results.len(), batch.len());
        for (message, sent) in batch.into_iter().zip(results) {
            let known = self.stored.get(&(topic, message.key)).filter(|(_, at)| now.since(*at) <= WINDOW_MS);
            if let Some((first, _)) = known {
                assert_eq!(sent, Sent { duplicate: true, ..*first }, "a retry is stored once");
                continue;
            }
            assert!(!sent.duplicate && sent.topic == id_of(topic), "{sent:?} is new");
            self.stored.insert((topic, message.key), (sent, now));
            self.stored_as(topic, &message, sent);
        }
    }

    fn stored_as(&mut self, topic: usize, new: &NewMessage, sent: Sent) {
        let (now, text) = (self.broker.now, String::from_utf8(new.content.to_vec()).unwrap());
        let message = Message { topic, queue: sent.queue, lane: new.lane, text };
        let fresh = |id: HeldId, world: &Self| {
            let known = world.held.halves.iter().map(|half| half.id);
            let mut known = known.chain(world.held.delayed.iter().map(|delayed| delayed.id));
            assert!(known.all(|known| known != id), "a name given twice");
        };
        match new.kind {
            TopicKind::Transaction => {
                let id = sent.held.expect("a half message has a name");
                fresh(id, self);
                let next_check = now.plus(new.recover_after_ms.unwrap_or(IMMUNITY_MS));
                self.held.halves.push(Half::new(id, message, next_check));
            }
            TopicKind::Delay if new.deliver_at > now => {
                let id = sent.held.expect("a delayed message has a name");
                fresh(id, self);
                let deliver_at = new.deliver_at;
                self.held.delayed.push(Delayed { id, message, deliver_at, fate: Fate::Waits });
            }
            _ => {
                assert_eq!(sent.held, None);
                assert_eq!(self.show(&message, None), sent.offset);
            }
        }
    }

    pub(super) fn end(&mut self, which: Index, commit: bool, slip: bool) {
        if self.held.halves.is_empty() {
            return;
        }
        let number = which.index(self.held.halves.len());
        let Half { id, stage, ref message, .. } = self.held.halves[number];
        if slip {
            return self.end_what_is_none(id);
        }
        let message = message.clone();
        let ended = self.ask_to_end(TRANSACTIONS, id, commit);
        let open = self.held.halves[number].is_open();
        let expected = match (stage, commit) {
            _ if open => Ok(()),
            _ if !self.held.remembers(id) => Err(NoSuchTransaction.into()),
            (Stage::Committed, true) | (Stage::RolledBack, false) => Ok(()),
            (Stage::Committed, false) => Err(TransactionEnded::Committed.into()),
            (Stage::RolledBack, true) => Err(TransactionEnded::RolledBack.into()),
            _ => Err(TransactionEnded::GivenUp.into()),
        };
        assert_eq!(ended, expected, "{id} is {stage:?}, commit: {commit}");
        if open {
            self.held.endings.push((id, self.broker.now));
            self.held.halves[number].stage = if commit { Stage::Committed } else { Stage::RolledBack };
            if commit {
                self.show(&message, None);
            }
        }
    }

    /// What is no half message of the topic cannot be ended, whatever else it is.
    fn end_what_is_none(&mut self, id: HeldId) {
        let open = self.held.half(id).is_open();
        let delayed = self.held.delayed.first().map(|delayed| delayed.id);
        let others = [Some((TRANSACTIONS, HeldId(id.0 + 1))), open.then_some((DELAYED, id))];
        let of_another_kind = delayed.map(|id| (TRANSACTIONS, id));
        for (topic, id) in others.into_iter().chain([of_another_kind]).flatten() {
            assert_eq!(self.ask_to_end(topic, id, true), Err(NoSuchTransaction.into()));
        }
    }

    fn ask_to_end(&mut self, topic: usize, half: HeldId, commit: bool) -> Result<(), EndTransactionError> {
        let (name, incarnation) = (Arc::from(TOPICS[topic].0), id_of(topic));
        let end = EndTransaction { topic: name, incarnation, half, commit };
        match self.broker.ask(Request::EndTransaction(end)) {
            Some(Answer::EndTransaction(ended)) => ended,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn recall(&mut self, which: Index, slip: bool) {
        if self.held.delayed.is_empty() {
            return;
        }
        let number = which.index(self.held.delayed.len());
        let Delayed { id, deliver_at, fate, .. } = self.held.delayed[number];
        let recall = |topic: usize, deliver_at, id| Recall {
            topic: Arc::from(TOPICS[topic].0),
            incarnation: id_of(topic),
            deliver_at,
            id,
        };
        if slip {
            let (topic, message) = (TopicKind::Transaction, TopicKind::Delay);
            let wrong = self.ask_to_recall(recall(TRANSACTIONS, deliver_at, id));
            assert_eq!(wrong, Err(KindMismatch { topic, message }.into()));
            let wrong = self.ask_to_recall(recall(DELAYED, deliver_at, HeldId(id.0 + 1)));
            assert_eq!(wrong, Err(NoSuchDelayed.into()));
            if fate != Fate::Recalled {
                let wrong = self.ask_to_recall(recall(DELAYED, deliver_at.plus(1), id));
                assert_eq!(wrong, Err(NoSuchDelayed.into()));
            }
            return;
        }
        let recalled = self.ask_to_recall(recall(DELAYED, deliver_at, id));
        let ok = fate == Fate::Waits || fate == Fate::Recalled && self.held.remembers(id);
        assert_eq!(recalled, if ok { Ok(()) } else { Err(NoSuchDelayed.into()) }, "{id} is {fate:?}");
        if fate == Fate::Waits {
            self.held.delayed[number].fate = Fate::Recalled;
            self.held.endings.push((id, self.broker.now));
        }
    }

    fn ask_to_recall(&mut self, recall: Recall) -> Result<(), RecallError> {
        match self.broker.ask(Request::Recall(recall)) {
            Some(Answer::Recall(recalled)) => recalled,
            other => panic!("{other:?}"),
        }
    }
}
