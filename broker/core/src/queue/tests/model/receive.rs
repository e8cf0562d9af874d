//! Receives: at once and after waiting, repeated, and by an expression that the broker has judged outside.

use std::collections::BTreeMap;

use super::view::Fate;
use super::world::{TOPICS, World, id_of};
use crate::ids::{AttemptHash, ClientHash, LogTime, Nonce, Offset, QueueId};
use crate::queue::request::{Answer, Candidate, Delivery, Filter, Judged, ReceiveError, Request};

/// Of those that wait for the same, one judges; another one does after so long.
const JUDGING_MS: u64 = 1_000;

/// A receive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) batch: usize,
    /// Given when it is asked.
    pub(super) nonce: u64,
    pub(super) client: u64,
    pub(super) attempt: Option<u64>,
    pub(super) invisible_ms: u64,
    pub(super) renew: bool,
    pub(super) by: Option<By>,
}

/// One of two expressions, of which each wants about half of the messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct By {
    pub(super) expression: u8,
    /// Who is told to judge does so.
    pub(super) comes_back: bool,
}

/// A receive that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) asked: Asked,
    pub(super) until: LogTime,
}

type Verdicts = BTreeMap<(QueueId, Offset), bool>;

impl By {
    fn wants(self, text: &str) -> bool {
        text.bytes().fold(0_u8, u8::wrapping_add) % 2 == self.expression
    }
}

impl Asked {
    pub(super) fn plainly(batch: usize) -> Self {
        Self { batch, nonce: 0, client: 1, attempt: None, invisible_ms: 1_000, renew: false, by: None }
    }

    pub(super) fn wants(&self, text: &str) -> bool {
        self.by.is_none_or(|by| by.wants(text))
    }
}

impl World {
    pub(super) fn receive(&mut self, number: usize, asked: Asked, wait_ms: u64) {
        let until = self.broker.now.plus(wait_ms);
        self.receive_with(number, asked, until, Verdicts::new());
    }

    /// Asks until it is not told to judge any more.
    fn receive_with(&mut self, number: usize, mut asked: Asked, until: LogTime, mut verdicts: Verdicts) {
        let wait_ms = until.since(self.broker.now);
        loop {
            asked.nonce = self.broker.number();
            let repeats = !self.views[number].held_by(asked.attempt).is_empty();
            let (name, topic) = (self.views[number].name, TOPICS[self.views[number].topic].0);
            let mut receive = self.broker.receiving(name, topic);
            receive.batch = asked.batch as u32;
            receive.nonce = Nonce(asked.nonce);
            receive.attempt = asked.attempt.map(AttemptHash);
            receive.client = ClientHash(asked.client);
            receive.invisible_ms = asked.invisible_ms;
            receive.auto_renew = asked.renew;
            receive.wait_ms = wait_ms;
            if let Some(By { expression, .. }) = asked.by {
                let topic = id_of(self.views[number].topic);
                let judged = Judged {
                    expression: expression.into(),
                    topic,
                    most: u32::MAX,
                    verdicts: verdicts.clone(),
                };
                receive.filter = Filter::Properties(judged);
            }
            let ticket = self.broker.begin(Request::Receive(receive));
            self.views[number].looked = self.broker.now;
            match self.broker.answers.remove(&ticket) {
                Some(Answer::Receive(Ok(got))) if repeats => {
                    return self.views[number].repeated(asked, &got, self.broker.now);
                }
                Some(Answer::Receive(Ok(got))) => return self.delivered(number, asked, &got, true),
                Some(Answer::Judge(candidates)) if self.judge(number, asked, &candidates, &mut verdicts) => {}
                Some(Answer::Judge(_)) => return,
                None if wait_ms > 0 => {
                    self.views[number].waiting.insert(ticket, Waiting { asked, until });
                    self.note_passed(number, asked.by);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Judges what it is told to; false if its client does not come back.
    fn judge(&mut self, number: usize, asked: Asked, candidates: &[Candidate], to: &mut Verdicts) -> bool {
        let by = asked.by.expect("only an expression has messages judged");
        assert!(!candidates.is_empty());
        self.note_passed(number, asked.by);
        let view = &mut self.views[number];
        for Candidate { topic, queue, offset, lsn } in candidates.iter().copied() {
            assert_eq!(topic, id_of(view.topic));
            let text = &view.copies[&(queue, offset)].text;
            assert_eq!(*text, self.broker.text(lsn));
            assert_eq!(to.insert((queue, offset), by.wants(text)), None, "judged twice");
        }
        if !by.comes_back {
            view.judged_until = self.broker.now.plus(JUDGING_MS);
        }
        by.comes_back
    }

    fn delivered(&mut self, number: usize, asked: Asked, got: &[Delivery], alone: bool) {
        let passed = self.note_passed(number, asked.by);
        let view = &mut self.views[number];
        view.delivered(asked, got, self.broker.now);
        // What was passed over may have made room, or freed the next of its message group.
        if alone && got.len() < asked.batch && passed == 0 {
            let left = self.wanted(number, asked);
            assert!(left.is_empty(), "{}: not delivered: {left:?}", self.views[number].name);
        }
        for delivery in got {
            let copy = &self.views[number].copies[&(delivery.queue, delivery.offset)];
            assert_eq!(self.broker.text(delivery.lsn), copy.text);
            assert_eq!(delivery.topic, id_of(self.views[number].topic));
            self.deliveries.push((number, *delivery));
        }
    }

    /// What must be delivered to a receive.
    fn wanted(&self, number: usize, asked: Asked) -> Vec<(QueueId, Offset)> {
        let view = &self.views[number];
        let mut left = view.deliverable(self.broker.now);
        left.retain(|place| asked.wants(&view.copies[place].text));
        left
    }

    /// Takes note of what the broker has passed over, and says how much: nothing that all expressions want.
    fn note_passed(&mut self, number: usize, by: Option<By>) -> usize {
        let state = self.broker.shard.state();
        let view = &mut self.views[number];
        let expressions = view.waiting.values().filter_map(|waiting| waiting.asked.by).chain(by);
        let expressions: Vec<By> = expressions.collect();
        let group = state.group(view.name).expect("the group").0;
        let mut passed = 0;
        for ((queue, offset), copy) in &mut view.copies {
            let lane = state.message_queue(id_of(view.topic), *queue).expect("the queue").lane(*offset);
            let progress = state.progress(group, id_of(view.topic), *queue).expect("a position");
            if !copy.fate.is_done() && !progress.owes(*offset, lane) {
                let unwanted = expressions.iter().any(|by| !by.wants(&copy.text));
                assert!(unwanted, "{}: passed over: {copy:?}", view.name);
                copy.fate = Fate::Passed;
                passed += 1;
            }
        }
        passed
    }

    /// The receives of a view that waited and have an answer, and those that have none.
    pub(super) fn hear(&mut self, number: usize) {
        let now = self.broker.now;
        if !self.views[number].waiting.is_empty() {
            self.views[number].looked = now;
        }
        self.note_passed(number, None);
        loop {
            let mut waiting = self.views[number].waiting.iter();
            let answered = waiting.find(|(ticket, _)| self.broker.answers.contains_key(ticket));
            let Some((ticket, Waiting { asked, until })) =
                answered.map(|(ticket, waiting)| (*ticket, *waiting))
            else {
                break;
            };
            let answer = self.broker.answers.remove(&ticket);
            self.views[number].waiting.remove(&ticket);
            match answer {
                Some(Answer::Receive(Err(ReceiveError::Repeated))) => {}
                Some(Answer::Receive(Ok(got))) if got.is_empty() => {}
                // Others may have been served after it in the same moment: not all that was left is.
                Some(Answer::Receive(Ok(got))) => self.delivered(number, asked, &got, false),
                Some(Answer::Judge(candidates)) => {
                    let mut verdicts = Verdicts::new();
                    if self.judge(number, asked, &candidates, &mut verdicts) {
                        self.receive_with(number, asked, until, verdicts);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        let view = &self.views[number];
        for Waiting { asked, until } in view.waiting.values() {
            assert!(*until > now, "a receive waits longer than it wanted to");
            let left = self.wanted(number, *asked);
            let judging = now < view.judged_until;
            assert!(judging || left.is_empty(), "{}: a receive waits in spite of {left:?}", view.name);
        }
    }
}
