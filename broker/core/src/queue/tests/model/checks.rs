//! Asking producers how their transactions ended: who is asked about, when, by whom, and what counts.

use std::sync::Arc;

use proptest::sample::Index;

use super::held::{CHECKS_MAX, INTERVAL_MS, Stage, TAKEN_MS, Taker, UNASKED_MS};
use super::world::{TOPICS, World, id_of};
use crate::ids::HeldId;
use crate::queue::request::{Answer, Check, Checked, Request, TakeChecks};

impl World {
    pub(super) fn take_checks(&mut self, most: usize, wait_ms: u64) {
        let now = self.broker.now;
        let topics = TOPICS.iter().map(|(name, _)| Arc::from(*name)).collect();
        let most = most.min(1_000);
        let take = TakeChecks { topics, most: most as u32, wait_ms };
        let ticket = self.broker.begin(Request::TakeChecks(take));
        let expected = self.first_to_ask(most);
        match self.broker.answers.remove(&ticket) {
            Some(Answer::TakeChecks(checks)) => {
                assert!(wait_ms == 0 || !expected.is_empty(), "it was to wait");
                self.taken(&checks, &expected);
            }
            None if wait_ms > 0 && expected.is_empty() => {
                self.held.takers.insert(ticket, Taker { most, until: now.plus(wait_ms) });
            }
            other => panic!("{other:?} instead of {expected:?}"),
        }
    }

    fn first_to_ask(&self, most: usize) -> Vec<HeldId> {
        self.held.to_ask(self.broker.now).into_iter().take(most).collect()
    }

    fn taken(&mut self, checks: &[Check], expected: &[HeldId]) {
        let ids: Vec<HeldId> = checks.iter().map(|check| check.half).collect();
        assert_eq!(ids, expected, "the longest due are asked first, each by one");
        for check in checks {
            let text = self.broker.text(check.lsn);
            let half = self.held.half(check.half);
            let message = &half.message;
            assert_eq!(
                (check.topic, check.queue, &text),
                (id_of(message.topic), message.queue, &message.text)
            );
            half.stage = Stage::Taken(self.broker.now.plus(TAKEN_MS));
        }
    }

    /// Those who wait are served in the order of their coming, or told after their time that there is nothing.
    pub(super) fn hand_out_checks(&mut self) {
        let now = self.broker.now;
        for (ticket, taker) in self.held.takers.clone() {
            let expected = self.first_to_ask(taker.most);
            match self.broker.answers.remove(&ticket) {
                Some(Answer::TakeChecks(checks)) => {
                    self.held.takers.remove(&ticket);
                    assert!(!expected.is_empty() || taker.until <= now, "it was to wait");
                    self.taken(&checks, &expected);
                }
                None => {
                    assert!(expected.is_empty() && taker.until > now, "it waits in spite of {expected:?}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Tells what came of some that were asked about, or says so of others.
    pub(super) fn checked(&mut self, asked: &[Index], unasked: &[Index]) {
        let halves = &self.held.halves;
        // Those that are being asked about come first: the others matter less.
        let taken = halves.iter().filter(|half| matches!(half.stage, Stage::Taken(_)));
        let others = halves.iter().filter(|half| !matches!(half.stage, Stage::Taken(_)));
        let all: Vec<HeldId> = taken.chain(others.take(2)).map(|half| half.id).collect();
        if !all.is_empty() {
            let pick = |which: &[Index]| which.iter().map(|which| all[which.index(all.len())]).collect();
            self.tell_checked(pick(asked), pick(unasked));
        }
    }

    pub(super) fn tell_checked(&mut self, asked: Vec<HeldId>, unasked: Vec<HeldId>) {
        let now = self.broker.now;
        let told = Checked { asked: asked.clone(), unasked: unasked.clone() };
        assert_eq!(self.broker.ask(Request::Checked(told)), Some(Answer::Checked));
        for id in asked {
            let half = self.held.half(id);
            // What is told again does not count again.
            if matches!(half.stage, Stage::Taken(_)) || matches!(half.stage, Stage::Due(at) if at <= now) {
                half.checks += 1;
                half.next_check = now.plus(INTERVAL_MS);
                let more = half.checks < CHECKS_MAX;
                let next = half.next_check;
                half.stage = if more { Stage::Due(next) } else { Stage::Exhausted(next) };
            }
        }
        for id in unasked {
            let half = self.held.half(id);
            if matches!(half.stage, Stage::Taken(_)) {
                half.stage = Stage::Due(now.plus(UNASKED_MS));
            }
        }
    }
}
