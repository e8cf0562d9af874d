//! Random requests, times and failovers against a naive model: nothing lost, nothing delivered that may not be,
//! nothing held back that may be, and every replica in the same state, from the first record or from a checkpoint.

mod naive;

use proptest::prelude::*;

use self::naive::{Asked, Copy, Fate, Group, PENDING_MAX};
use super::*;
use crate::ids::{Offset, QueueId, TopicId};
use crate::queue::duplicates::WINDOW_MS;
use crate::queue::retention::{InactiveGroup, Policy};

/// What is wanted back at once comes back after so long.
const RETRY_FLOOR_MS: u64 = 40;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// Messages by the number of their key and their message group; a number met before is a retry.
    Send(Vec<(u8, u8)>),
    Receive {
        group: usize,
        batch: usize,
        attempt: Option<u64>,
        client: u64,
        invisible_ms: u64,
        renew: bool,
        wait_ms: u64,
    },
    Ack(prop::sample::Index),
    Change {
        which: prop::sample::Index,
        invisible_ms: u64,
        suspend: bool,
    },
    Undo(prop::sample::Index),
    Forward(prop::sample::Index),
    Vouch {
        client: u64,
        idle_ms: u64,
    },
    Release {
        client: u64,
    },
    Pass {
        millis: u64,
    },
    FailOver,
    /// The log is dropped below a record; groups idle for so long give up what they owe there.
    Retain {
        below: prop::sample::Index,
        expire_ms: Option<u64>,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let which = any::<prop::sample::Index>;
    let times = prop_oneof![Just(1_u64), 1..3_000_u64, 1..60_000_u64];
    let waits = prop_oneof![3 => Just(0_u64), 2 => 1..30_000_u64];
    let receive =
        (0..2_usize, 1..5_usize, prop::option::of(1..4_u64), 1..3_u64, times.clone(), any::<bool>(), waits);
    prop_oneof![
        4 => prop::collection::vec((any::<u8>(), 0..4_u8), 1..4).prop_map(Event::Send),
        6 => receive.prop_map(|(group, batch, attempt, client, invisible_ms, renew, wait_ms)| Event::Receive {
            group, batch, attempt, client, invisible_ms, renew, wait_ms
        }),
        5 => which().prop_map(Event::Ack),
        3 => (which(), prop_oneof![Just(0), times.clone()], any::<bool>())
            .prop_map(|(which, invisible_ms, suspend)| Event::Change { which, invisible_ms, suspend }),
        2 => which().prop_map(Event::Undo),
        1 => which().prop_map(Event::Forward),
        1 => (1..3_u64, 0..5_000_u64).prop_map(|(client, idle_ms)| Event::Vouch { client, idle_ms }),
        1 => (1..3_u64).prop_map(|client| Event::Release { client }),
        3 => prop_oneof![4 => times, 1 => Just(WINDOW_MS + 1)].prop_map(|millis| Event::Pass { millis }),
        1 => Just(Event::FailOver),
        1 => (which(), prop::option::of(prop_oneof![Just(0_u64), 0..60_000_u64]))
            .prop_map(|(below, expire_ms)| Event::Retain { below, expire_ms }),
    ]
}

/// The broker, the model, and what clients remember.
struct World {
    broker: Broker,
    groups: [Group; 2],
    /// From when to when no broker served.
    outages: Vec<(LogTime, LogTime)>,
    /// Everything ever delivered, with the group it was delivered to.
    deliveries: Vec<(usize, Delivery)>,
    /// Where and when each key was stored last.
    stored: BTreeMap<u8, (Sent, LogTime)>,
}

impl World {
    fn new() -> Self {
        let limits =
            Limits { pending_max: PENDING_MAX as u32, retry_floor_ms: RETRY_FLOOR_MS, ..Limits::default() };
        let mut broker = Broker::with(limits);
        broker.topic("t", TopicKind::Fifo, 2);
        let groups = [Group::new("plain", false, 3), Group::new("ordered", true, 2)];
        for group in &groups {
            let (ordered, max_attempts) = (group.ordered, group.max_attempts);
            broker.group(group.name, GroupSettings { ordered, max_attempts, ..GroupSettings::default() });
            // What is sent from here on it owes.
            assert!(broker.receive(group.name, "t").is_empty());
        }
        Self { broker, groups, outages: Vec::new(), deliveries: Vec::new(), stored: BTreeMap::new() }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Send(messages) => self.send(&messages),
            Event::Receive { group, batch, attempt, client, invisible_ms, renew, wait_ms } => {
                let nonce = self.broker.number();
                self.receive(group, Asked { batch, nonce, client, attempt, invisible_ms, renew }, wait_ms);
            }
            Event::Ack(which) => self.with_delivery(which, Self::ack),
            Event::Change { which, invisible_ms, suspend } => {
                self.with_delivery(which, |world, group, delivery| {
                    world.change(group, delivery, invisible_ms, suspend);
                });
            }
            Event::Undo(which) => self.with_delivery(which, Self::undo),
            Event::Forward(which) => self.with_delivery(which, |world, group, delivery| {
                world.broker.forward(world.groups[group].name, &delivery);
                if let Some(copy) = world.groups[group].current(&delivery) {
                    copy.fate = Fate::Dead;
                }
            }),
            Event::Vouch { client, idle_ms } => self.vouch(client, idle_ms),
            Event::Release { client } => {
                self.broker.ask(Request::Release(ClientHash(client)));
                let now = self.broker.now;
                for group in &mut self.groups {
                    let mut used = false;
                    group.for_each_hold(|hold, visible_at| {
                        if hold.renewed && hold.client == client {
                            (*visible_at, hold.worked_on) = (now, false);
                            used = true;
                        }
                    });
                    group.last_used = if used { now } else { group.last_used };
                }
            }
            Event::Pass { millis } => self.pass(millis),
            Event::FailOver => self.fail_over(),
            Event::Retain { below, expire_ms } => self.retain(below, expire_ms),
        }
        self.settle();
    }

    fn with_delivery(&mut self, which: prop::sample::Index, act: impl FnOnce(&mut Self, usize, Delivery)) {
        if !self.deliveries.is_empty() {
            let (group, delivery) = self.deliveries[which.index(self.deliveries.len())];
            act(self, group, delivery);
        }
    }

    fn send(&mut self, messages: &[(u8, u8)]) {
        let now = self.broker.now;
        let mut batch = Vec::new();
        for (key, lane) in messages {
            let mut message = self.broker.message("");
            message.kind = TopicKind::Fifo;
            message.key = SendKey(u128::from(*key) << 70);
            message.lane = if *lane == 0 { Lane(0) } else { Lane(u64::from(*lane)) };
            message.content = Bytes::from(format!("{key} at {now} as {}", batch.len()));
            batch.push(message);
        }
        let results = self.broker.try_send("t", batch.clone()).unwrap();
        for (((key, _), message), sent) in messages.iter().zip(batch).zip(results) {
            let known = self.stored.get(key).filter(|(_, at)| now.since(*at) <= WINDOW_MS);
            if let Some((first, _)) = known {
                assert_eq!(sent, Sent { duplicate: true, ..*first }, "a retry is stored once");
                continue;
            }
            assert!(!sent.duplicate, "key {key} is new");
            self.stored.insert(*key, (sent, now));
            let text = String::from_utf8(message.content.to_vec()).unwrap();
            for group in &mut self.groups {
                let copy = Copy {
                    text: text.clone(),
                    lane: message.lane,
                    attempts: 0,
                    visible_at: LogTime(0),
                    fate: Fate::Waiting,
                    seen: false,
                };
                assert!(
                    group.copies.insert((sent.queue, sent.offset), copy).is_none(),
                    "an offset given twice"
                );
            }
        }
    }

    fn receive(&mut self, number: usize, asked: Asked, wait_ms: u64) {
        let mut receive = self.broker.receiving(self.groups[number].name, "t");
        receive.batch = asked.batch as u32;
        receive.nonce = Nonce(asked.nonce);
        receive.attempt = asked.attempt.map(AttemptHash);
        receive.client = ClientHash(asked.client);
        receive.invisible_ms = asked.invisible_ms;
        receive.auto_renew = asked.renew;
        receive.wait_ms = wait_ms;
        let ticket = self.broker.begin(Request::Receive(receive));
        let repeats = !self.groups[number].held_by(asked.attempt).is_empty();
        match self.broker.answers.remove(&ticket) {
            Some(Answer::Receive(Ok(got))) if repeats => {
                self.groups[number].repeated(asked, &got, self.broker.now);
            }
            Some(Answer::Receive(Ok(got))) => self.delivered(number, asked, &got),
            None if wait_ms > 0 => drop(self.groups[number].waiting.insert(ticket, asked)),
            other => panic!("{other:?}"),
        }
    }

    fn delivered(&mut self, number: usize, asked: Asked, got: &[Delivery]) {
        self.groups[number].delivered(asked, got, self.broker.now);
        for delivery in got {
            let copy = &self.groups[number].copies[&(delivery.queue, delivery.offset)];
            assert_eq!(self.broker.text(delivery.lsn), copy.text);
            self.deliveries.push((number, *delivery));
        }
    }

    fn ack(&mut self, number: usize, delivery: Delivery) {
        let group = &mut self.groups[number];
        let result = self.broker.ack(group.name, &delivery);
        let fate = group.copies[&(delivery.queue, delivery.offset)].fate;
        let ok = match group.current(&delivery) {
            Some(copy) => {
                copy.fate = Fate::Acked;
                group.last_used = self.broker.now;
                true
            }
            None => fate.is_done(),
        };
        assert_eq!(result.is_ok(), ok, "{delivery:?} was {fate:?}");
    }

    fn change(&mut self, number: usize, delivery: Delivery, invisible_ms: u64, suspend: bool) {
        let ok = self.broker.change(self.groups[number].name, &delivery, invisible_ms, suspend);
        let current = self.groups[number].current(&delivery);
        assert_eq!(ok, current.is_some());
        let Some(copy) = current else { return };
        let floor_ms = if copy.attempts > 1 { RETRY_FLOOR_MS } else { 0 };
        copy.visible_at = self.broker.now.plus(invisible_ms.max(floor_ms));
        let Fate::Delivered(hold) = &mut copy.fate else { return };
        copy.attempts -= u32::from(suspend && hold.worked_on);
        (hold.worked_on, hold.confirmed) = (false, true);
        self.groups[number].last_used = self.broker.now;
    }

    fn undo(&mut self, number: usize, delivery: Delivery) {
        self.broker.undo(self.groups[number].name, &[delivery]);
        let Some(copy) = self.groups[number].current(&delivery) else { return };
        let Fate::Delivered(hold) = copy.fate else { return };
        if hold.worked_on && !hold.confirmed && !hold.repeated {
            copy.attempts -= 1;
            (copy.visible_at, copy.fate) = (LogTime(0), Fate::Waiting);
        }
    }

    fn vouch(&mut self, client: u64, idle_ms: u64) {
        self.broker.vouch(client, 1, idle_ms);
        let now = self.broker.now;
        for group in &mut self.groups {
            let mut used = false;
            group.for_each_hold(|hold, visible_at| {
                let arrived = hold.confirmed || now.since(hold.since) > idle_ms;
                let soon = visible_at.since(now) < 30_000 && now.since(hold.since) < 3 * 3_600_000;
                if hold.renewed && hold.client == client && arrived && soon {
                    (*visible_at, hold.confirmed) = (now.plus(45_000), true);
                    used = true;
                }
            });
            group.last_used = if used { now } else { group.last_used };
        }
    }

    fn fail_over(&mut self) {
        let (before, now) = (self.broker.shard.state().log_time(), self.broker.now);
        self.broker.fail_over();
        self.outages.push((before, now));
        for group in &mut self.groups {
            group.waiting.clear();
            group.for_each_hold(|hold, visible_at| {
                if *visible_at > before {
                    *visible_at = (*visible_at).max(now.plus(hold.length_ms.min(30_000)));
                }
            });
        }
    }

    /// What idle groups give up lies below, is owed by nobody else, and is counted to the message.
    fn retain(&mut self, below: prop::sample::Index, expire_ms: Option<u64>) {
        let (below, _) = self.broker.log.records[below.index(self.broker.log.records.len())];
        let state = self.broker.shard.state();
        if below <= state.log_start() {
            return;
        }
        let lies_below = |(queue, offset): &(QueueId, Offset)| {
            state.entry(TopicId(1), *queue, *offset).expect("owed messages are in the log").lsn < below
        };
        let owed = |group: &Group| group.owed().filter(lies_below).collect::<BTreeSet<_>>();
        let owed: Vec<BTreeSet<(QueueId, Offset)>> = self.groups.iter().map(owed).collect();
        let (now, newest) = (self.broker.now, self.broker.newest_below(below));
        let inactive_group = expire_ms.map_or(InactiveGroup::Keep, InactiveGroup::ExpireAfter);
        let retained = self.broker.retain_by(below, Policy { inactive_group, ..Policy::default() });
        assert_eq!(retained.log_start, below, "what is owed can be copied");

        let gave_up = |group: &Group| retained.expired.iter().any(|expired| *expired.group == *group.name);
        let lasting: Vec<usize> = (0..2).filter(|number| !gave_up(&self.groups[*number])).collect();
        for number in 0..2 {
            let group = &mut self.groups[number];
            let idle = expire_ms.is_some_and(|after| {
                let since = group.last_used.max(newest);
                let overlap = |(from, to): &(LogTime, LogTime)| to.since(since.max(*from));
                now.since(since) - self.outages.iter().map(overlap).sum::<u64>() > after
            });
            let kept = |place: &&(QueueId, Offset)| lasting.iter().any(|other| owed[*other].contains(place));
            let lost: Vec<_> = owed[number].iter().filter(|place| !kept(place)).copied().collect();
            let told = retained.expired.iter().find(|expired| *expired.group == *group.name);
            if let Some(expired) = told {
                assert!(idle, "{} was used at {}", group.name, group.last_used);
                assert_eq!(expired.messages, lost.len() as u64);
                for place in lost {
                    group.copies.get_mut(&place).unwrap().fate = Fate::Expired;
                }
            }
            // What a FIFO group leaves for later is a use that the model does not see, and so is passing over what
            // is gone.
            let surely_idle = idle && !group.ordered && group.expired() == 0;
            assert!(!surely_idle || owed[number].is_subset(&owed[1 - number]), "{} is idle", group.name);
            assert_eq!(self.broker.shard.group_status(group.name).unwrap().expired, group.expired());
        }
    }

    /// Lets time pass, stopping wherever the broker wants to.
    fn pass(&mut self, millis: u64) {
        let until = self.broker.now.plus(millis);
        loop {
            let wakeup = self.broker.shard.next_wakeup();
            for event in self.groups.iter().filter_map(Group::next_event) {
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

    /// What a tick brings: dead letters, then answers to those who wait.
    fn settle(&mut self) {
        let now = self.broker.now;
        for number in 0..self.groups.len() {
            self.groups[number].bury(now);
            for (ticket, asked) in self.groups[number].waiting.clone() {
                if let Some(answer) = self.broker.answers.remove(&ticket) {
                    self.groups[number].waiting.remove(&ticket);
                    let Answer::Receive(Ok(got)) = answer else { panic!("{answer:?}") };
                    if !got.is_empty() {
                        // Others may have been served after it in the same moment: not all that was left is.
                        let left = Asked { batch: got.len(), ..asked };
                        assert!(got.len() <= asked.batch);
                        self.delivered(number, left, &got);
                    }
                }
            }
            let group = &self.groups[number];
            let left = group.deliverable(now);
            assert!(group.waiting.is_empty() || left.is_empty(), "a receive waits in spite of {left:?}");
            let mut dead = self.broker.dead_letters(group.name);
            dead.sort_unstable();
            assert_eq!(dead, group.texts_of(Fate::Dead), "dead letters of {}", group.name);
        }
    }

    /// Consumes everything: in the end each message is acked or a dead letter.
    fn drain(&mut self) {
        for number in 0..self.groups.len() {
            for _ in 0..10_000 {
                self.pass(1_000_000);
                let asked = Asked {
                    batch: 10,
                    nonce: self.broker.number(),
                    client: 1,
                    attempt: None,
                    invisible_ms: 1_000,
                    renew: false,
                };
                let before = self.deliveries.len();
                self.receive(number, asked, 0);
                let got: Vec<_> = self.deliveries[before..].to_vec();
                for (group, delivery) in &got {
                    self.ack(*group, *delivery);
                }
                if got.is_empty() {
                    break;
                }
            }
            let open = |copy: &&Copy| !copy.fate.is_done();
            assert_eq!(self.groups[number].copies.values().find(open).map(|copy| &copy.text), None, "lost");
        }
    }

    /// A checkpoint at any record, and the records after it, lead where all records lead.
    fn compare_from_checkpoint(&self, at: usize) {
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_requests_does_what_the_naive_model_allows(
        events in prop::collection::vec(event(), 1..120),
        checkpoint: prop::sample::Index,
    ) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        world.compare_from_checkpoint(checkpoint.index(world.broker.log.records.len()));
        world.drain();
    }
}

#[test]
fn the_places_of_the_model_are_those_of_the_broker() {
    let mut world = World::new();
    world.happen(Event::Send(vec![(1, 1), (1, 1), (2, 0)]));
    let places: Vec<(QueueId, Offset)> = world.groups[0].copies.keys().copied().collect();
    assert_eq!(places.len(), 2, "the repeated key of the batch is stored once");
    world.drain();
}
