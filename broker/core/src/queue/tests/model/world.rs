//! The broker, the model, and what clients remember; what time brings, and what must be so after everything.

use std::collections::BTreeMap;

use super::Event;
use super::held::{self, CHECKS_MAX, Held, IMMUNITY_MS, INTERVAL_MS, Stage};
use super::receive::Asked;
use super::view::{self, Copy, PENDING_MAX, View};
use crate::hash::SendKey;
use crate::ids::{ClientHash, Lane, LogTime, Offset, QueueId, TopicId};
use crate::queue::request::{Delivery, Request, Sent};
use crate::queue::settings::{GroupSettings, TopicKind};
use crate::queue::tests::Broker;
use crate::queue::{HeldCounts, Limits, State, TransactionLimits, UNRESOLVED_TOPIC, checkpoint};

/// What is wanted back at once comes back after so long.
pub(super) const RETRY_FLOOR_MS: u64 = 40;

/// Name and kind of each topic. Each has two queues.
pub(super) const TOPICS: [(&str, TopicKind); 3] =
    [("fifo", TopicKind::Fifo), ("transactions", TopicKind::Transaction), ("delayed", TopicKind::Delay)];
/// Name of each group, whether it is ordered, and its most attempts.
const GROUPS: [(&str, bool, u32); 2] = [("plain", false, 3), ("ordered", true, 2)];
/// Each group in each topic.
pub(super) const VIEWS: usize = GROUPS.len() * TOPICS.len();
/// Where messages of each group go that cannot be consumed, and half messages whose transaction nobody ends.
pub(super) const DEAD_LETTERS: [&str; 3] = ["%DLQ%plain", "%DLQ%ordered", UNRESOLVED_TOPIC];
/// The last of them.
const UNRESOLVED: usize = 2;

/// A message on its way into a queue: half, delayed, or a dead letter.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) topic: usize,
    pub(super) queue: QueueId,
    pub(super) lane: Lane,
    pub(super) text: String,
}

pub(super) struct World {
    pub(super) broker: Broker,
    /// In the order of their topics, then groups.
    pub(super) views: Vec<View>,
    pub(super) held: Held,
    /// What lies in each of [`DEAD_LETTERS`], in no order.
    pub(super) letters: [Vec<Message>; DEAD_LETTERS.len()],
    /// From when to when no broker served.
    pub(super) outages: Vec<(LogTime, LogTime)>,
    /// Everything ever delivered, with the view that it was delivered to.
    pub(super) deliveries: Vec<(usize, Delivery)>,
    /// Where and when each key of each topic was stored last.
    pub(super) stored: BTreeMap<(usize, SendKey), (Sent, LogTime)>,
    /// The next offset of each queue of each topic.
    pub(super) next: BTreeMap<(usize, QueueId), Offset>,
}

/// Number of a topic in the broker, which gives them from 1.
pub(super) fn id_of(topic: usize) -> TopicId {
    TopicId(topic as u32 + 1)
}

impl World {
    pub(super) fn new() -> Self {
        let transactions =
            TransactionLimits { immunity_ms: IMMUNITY_MS, interval_ms: INTERVAL_MS, checks_max: CHECKS_MAX };
        let mut broker = Broker::with(Limits {
            pending_max: PENDING_MAX as u32,
            retry_floor_ms: RETRY_FLOOR_MS,
            transactions,
            ..Limits::default()
        });
        for (name, ordered, max_attempts) in GROUPS {
            broker.group(name, GroupSettings { ordered, max_attempts, ..GroupSettings::default() });
        }
        let mut views = Vec::new();
        for (topic, (topic_name, kind)) in TOPICS.into_iter().enumerate() {
            broker.topic(topic_name, kind, 2);
            for (number, (name, ordered, max_attempts)) in GROUPS.into_iter().enumerate() {
                views.push(View::new((number, name), topic, ordered, max_attempts));
                // What is sent from here on it owes.
                assert!(broker.receive(name, topic_name).is_empty());
            }
        }
        Self {
            broker,
            views,
            held: Held::default(),
            letters: Default::default(),
            outages: Vec::new(),
            deliveries: Vec::new(),
            stored: BTreeMap::new(),
            next: BTreeMap::new(),
        }
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Send { topic, messages } => self.send(topic, &messages),
            Event::Receive { view, batch, attempt, client, invisible_ms, renew, wait_ms, by } => {
                let asked = Asked { batch, nonce: 0, client, attempt, invisible_ms, renew, by };
                self.receive(view, asked, wait_ms);
            }
            Event::Ack(which) => self.with_delivery(which, Self::ack),
            Event::Change { which, invisible_ms, suspend } => {
                self.with_delivery(which, |world, view, delivery| {
                    world.change(view, &delivery, invisible_ms, suspend);
                });
            }
            Event::Undo(which) => self.with_delivery(which, Self::undo),
            Event::Forward(which) => self.with_delivery(which, Self::forward),
            Event::Vouch { client, idle_ms } => self.vouch(client, idle_ms),
            Event::Release { client } => {
                self.broker.ask(Request::Release(ClientHash(client)));
                self.release(client);
            }
            Event::Pass { millis } => self.pass(millis),
            Event::FailOver => self.fail_over(),
            Event::Retain { below, expire_ms } => self.retain(below, expire_ms),
            Event::End { which, commit, slip } => self.end(which, commit, slip),
            Event::Recall { which, slip } => self.recall(which, slip),
            Event::TakeChecks { most, wait_ms } => self.take_checks(most, wait_ms),
            Event::Checked { asked, unasked } => self.checked(&asked, &unasked),
            Event::Replay { from, which } => self.replay(from, which),
            Event::Purge { from, which } => self.purge(from, which),
            Event::Reset { view, positions } => self.reset(view, positions),
            Event::Update { view, max_attempts } => self.update(view, max_attempts),
        }
        self.settle();
    }

    fn with_delivery(
        &mut self,
        which: proptest::sample::Index,
        act: impl FnOnce(&mut Self, usize, Delivery),
    ) {
        if !self.deliveries.is_empty() {
            let (view, delivery) = self.deliveries[which.index(self.deliveries.len())];
            act(self, view, delivery);
        }
    }

    /// A message becomes visible under the next offset of its queue: to one group, or to all.
    pub(super) fn show(&mut self, message: &Message, only: Option<usize>) -> Offset {
        let next = self.next.entry((message.topic, message.queue)).or_default();
        let offset = std::mem::replace(next, next.next());
        for view in self.views.iter_mut().filter(|view| view.topic == message.topic) {
            if only.is_none_or(|only| view.group == only) {
                let copy = Copy {
                    text: message.text.clone(),
                    lane: message.lane,
                    attempts: 0,
                    visible_at: LogTime(0),
                    fate: view::Fate::Waiting,
                    seen: false,
                };
                assert!(view.copies.insert((message.queue, offset), copy).is_none(), "an offset given twice");
            }
        }
        offset
    }

    fn fail_over(&mut self) {
        let (before, now) = (self.broker.shard.state().log_time(), self.broker.now);
        self.broker.fail_over();
        self.outages.push((before, now));
        self.held.takers.clear();
        self.held.halves.iter_mut().for_each(held::Half::begin_anew);
        for view in &mut self.views {
            view.waiting.clear();
            view.judged_until = LogTime(0);
            view.for_each_hold(|hold, visible_at| {
                if *visible_at > before {
                    *visible_at = (*visible_at).max(now.plus(hold.length_ms.min(30_000)));
                }
            });
        }
    }

    /// Lets time pass, stopping wherever the broker wants to.
    fn pass(&mut self, millis: u64) {
        let until = self.broker.now.plus(millis);
        loop {
            let wakeup = self.broker.shard.next_wakeup();
            let events = self.views.iter().filter_map(View::next_event).chain(self.held.next_event());
            for event in events {
                assert!(wakeup.is_some_and(|wakeup| wakeup <= event), "{wakeup:?} is after {event}");
            }
            let stop = wakeup.map_or(until, |wakeup| wakeup.clamp(self.broker.now, until));
            self.broker.set_now(stop);
            self.broker.tick();
            self.settle();
            if stop == until {
                return;
            }
        }
    }

    /// What ticks bring: dead letters, then what becomes visible, then answers to those who wait.
    pub(super) fn settle(&mut self) {
        let now = self.broker.now;
        // There may be more to look through than one tick does.
        for rounds in 0.. {
            assert!(rounds < 100, "it does not come to an end");
            if self.broker.shard.next_wakeup().is_none_or(|wakeup| wakeup > now) {
                break;
            }
            self.broker.tick();
        }
        for number in 0..VIEWS {
            let buried = self.views[number].bury(now);
            for (queue, copy) in &buried {
                self.dies(number, *queue, copy);
            }
        }
        for (_, id) in self.held.due(now) {
            let delayed = self.held.delayed(id);
            delayed.fate = held::Fate::Shown;
            let message = delayed.message.clone();
            self.show(&message, None);
        }
        for half in &mut self.held.halves {
            match half.stage {
                Stage::Exhausted(at) if at <= now => {
                    half.stage = Stage::GivenUp;
                    self.held.endings.push((half.id, now));
                    self.letters[UNRESOLVED].push(half.message.clone());
                }
                Stage::Taken(until) if until <= now => half.stage = Stage::Due(now),
                _ => {}
            }
        }
        self.hand_out_checks();
        for number in 0..VIEWS {
            self.hear(number);
        }
        self.compare_with_broker();
    }

    /// A copy became a dead letter of its group.
    pub(super) fn dies(&mut self, view: usize, queue: QueueId, copy: &Copy) {
        let View { group, topic, .. } = self.views[view];
        let Copy { lane, ref text, .. } = *copy;
        self.letters[group].push(Message { topic, queue, lane, text: text.clone() });
    }

    /// What the broker says of itself is what the model says.
    fn compare_with_broker(&self) {
        let state = self.broker.shard.state();
        for view in &self.views {
            for (&(queue, offset), copy) in &view.copies {
                let group = state.group(view.name).expect("the group").0;
                let progress = state.progress(group, id_of(view.topic), queue).expect("a position");
                let messages = state.message_queue(id_of(view.topic), queue).expect("the queue");
                let owes = progress.owes(offset, messages.lane(offset));
                let dropped = state.entry(id_of(view.topic), queue, offset).is_none();
                let agrees = owes != copy.fate.is_done() || copy.fate.is_done() && dropped;
                assert!(agrees, "{} owes {offset} of {queue}: {owes}, {copy:?}", view.name);
            }
        }
        let halves = self.held.halves.iter().filter(|half| half.is_open()).count() as u64;
        let waits = self.held.delayed.iter().filter(|delayed| delayed.fate == held::Fate::Waits);
        assert_eq!(state.held(), HeldCounts { delayed: waits.count() as u64, halves });
        let given_up = self.held.halves.iter().filter(|half| half.stage == Stage::GivenUp).count();
        assert_eq!(state.given_up_transactions(), given_up as u64);
        for (name, letters) in DEAD_LETTERS.into_iter().zip(&self.letters) {
            let mut texts: Vec<&str> = letters.iter().map(|letter| letter.text.as_str()).collect();
            let mut there: Vec<String> = self.letters_in(name).into_iter().map(|(_, text)| text).collect();
            texts.sort_unstable();
            there.sort_unstable();
            assert_eq!(there, texts, "what lies in {name}");
        }
    }

    /// Consumes everything: in the end nothing waits, and each message is acked or a dead letter.
    pub(super) fn drain(&mut self) {
        for _ in 0..=CHECKS_MAX {
            self.pass(1_000_000);
            self.take_checks(usize::MAX, 0);
            let open = self.held.halves.iter().filter(|half| matches!(half.stage, Stage::Taken(_)));
            let asked = open.map(|half| half.id).collect();
            self.tell_checked(asked, Vec::new());
        }
        assert_eq!(self.broker.shard.state().held(), HeldCounts::default(), "it waits for ever");
        for number in 0..VIEWS {
            for _ in 0..10_000 {
                self.pass(1_000_000);
                let before = self.deliveries.len();
                self.receive(number, Asked::plainly(10), 0);
                self.settle();
                let got: Vec<_> = self.deliveries[before..].to_vec();
                for (view, delivery) in &got {
                    self.ack(*view, *delivery);
                }
                if got.is_empty() {
                    break;
                }
            }
            let open = |copy: &&Copy| !copy.fate.is_done();
            assert_eq!(self.views[number].copies.values().find(open).map(|copy| &copy.text), None, "lost");
        }
    }

    /// A checkpoint at any record, and the records after it, lead where all records lead.
    pub(super) fn compare_from_checkpoint(&self, at: usize) {
        let log = &self.broker.log;
        let mut state = State::default();
        for (lsn, time) in &log.records[..at] {
            state.apply_bytes(*lsn, *time, log.record(*lsn)).unwrap();
        }
        let (mut bytes, mut again) = (Vec::new(), Vec::new());
        checkpoint::encode(&state, &mut bytes);
        let mut restored = checkpoint::decode(&bytes).unwrap();
        checkpoint::encode(&restored, &mut again);
        assert!(bytes == again, "a checkpoint of a restored state is the same checkpoint");
        log.replay(&mut restored, at);
        assert_eq!(restored.hash(), self.broker.shard.state().hash());
    }
}
