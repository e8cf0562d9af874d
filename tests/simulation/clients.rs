//! Producers that repeat what they do not know the fate of, one of messages in order, one of half messages and one of delayed
//! ones; somebody who ends transactions and recalls; and consumers that ack most of what they get. Everything they see goes
//! into a history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rq_core::ids::{LogTime, Ticket};
use rq_core::queue::request::{Ack, Answer, Delivery, Request};
use rq_core::queue::settings::TopicKind;
use rq_core::record;
use rq_log::LogReader;
use rq_log::disk::simulated::SimulatedDisk;
use rq_tests::checker;
use rq_tests::history::{self, History, Hold, Outcome, Span};

use crate::calls::{self, FILLING, GROUP, INVISIBLE_MS, TOPICS};
use crate::deeds::{Deed, Deeds};
use crate::process::reading;

/// The topic of each producer, and of each consumer, by its number in [`TOPICS`].
const PRODUCERS: [usize; 4] = [0, 0, 1, 2];
const CONSUMERS: [usize; 3] = [0, 1, 2];
/// Messages of one producer.
const MESSAGES: u32 = 50;
/// Longest time that a delayed message waits, in ms.
const DELAY_MS: u64 = 4_000;
/// Longest pause of a producer, in ms: they go on for as long as there are faults.
const PAUSE_MS: u64 = 300;
/// Unacked on purpose, of a hundred.
const FORGOTTEN: u32 = 15;

/// `INVALID_RECEIPT_HANDLE`.
const STALE: i32 = 40_013;

type Reader = LogReader<SimulatedDisk>;

/// A call under way.
enum Call {
    Setup,
    Send { client: usize, topic: usize, id: String, hold: Hold },
    Receive { client: usize, topic: usize },
    Ack { client: usize, id: String, delivery: Delivery },
    Deed { client: usize, deed: Deed },
}

/// What a client does next.
#[derive(Clone)]
enum Plan {
    Setup(usize),
    /// A delayed message keeps its time when it is sent again.
    Send {
        topic: usize,
        number: u32,
        due: Option<u64>,
    },
    Receive {
        topic: usize,
    },
    Ack {
        topic: usize,
        deliveries: Vec<(String, Delivery)>,
    },
    /// Ends transactions and recalls, whoever sent the messages.
    Deeds,
}

pub(crate) struct Clients {
    plans: Vec<Plan>,
    calls: BTreeMap<Ticket, (Call, u64)>,
    tickets: u64,
    deeds: Deeds,
    /// How many machines there are.
    machines: usize,
    /// The machine that they ask: the next one, once this one refuses or is silent.
    pub(crate) server: usize,
    pub(crate) history: History,
    /// Nothing more is sent; everything that comes is acked.
    pub(crate) draining: bool,
}

impl Clients {
    pub(crate) fn new(machines: usize) -> Self {
        let mut plans = vec![Plan::Setup(0), Plan::Deeds];
        plans.extend(PRODUCERS.map(|topic| Plan::Send { topic, number: 0, due: None }));
        plans.extend(CONSUMERS.map(|topic| Plan::Receive { topic }));
        let history = History { ordered_groups: [GROUP.to_owned()].into(), ..History::default() };
        let (calls, deeds) = (BTreeMap::new(), Deeds::default());
        Self { plans, calls, tickets: 0, deeds, machines, server: 0, history, draining: false }
    }

    pub(crate) fn count(&self) -> usize {
        self.plans.len()
    }

    /// How many sends were answered OK.
    pub(crate) fn stored(&self) -> usize {
        self.history.sends.iter().filter(|send| send.outcome.is_ok()).count()
    }

    /// How many transactions were ended for certain.
    pub(crate) fn ended(&self) -> usize {
        self.history.ends.iter().filter(|end| end.outcome.is_ok()).count()
    }

    /// How many messages were recalled for certain.
    pub(crate) fn recalled(&self) -> usize {
        self.history.recalls.iter().filter(|recall| recall.outcome.is_ok()).count()
    }

    /// The next call of a client, or how long it pauses, in ms.
    pub(crate) fn acts(
        &mut self,
        client: usize,
        now: u64,
        random: &mut StdRng,
    ) -> Result<(Ticket, Request), u64> {
        let (call, request) = match &mut self.plans[client] {
            Plan::Setup(step) => match calls::setup(*step) {
                Some(request) => (Call::Setup, request),
                None => return Err(60_000),
            },
            Plan::Send { .. } if self.draining => return Err(60_000),
            Plan::Send { number: MESSAGES, .. } => return Err(60_000),
            Plan::Send { topic, number, due } => {
                let due = *due.get_or_insert_with(|| now + random.random_range(0..DELAY_MS));
                let (topic, id) = (*topic, format!("{client}-{number}"));
                let hold = match TOPICS[topic].1 {
                    TopicKind::Transaction => Hold::Transaction,
                    TopicKind::Delay => Hold::Until(Duration::from_millis(due)),
                    _ => Hold::None,
                };
                let request = calls::send(client, topic, &id, log_time(due));
                (Call::Send { client, topic, id, hold }, request)
            }
            Plan::Receive { topic } => {
                (Call::Receive { client, topic: *topic }, calls::receive(client, *topic, random.random()))
            }
            Plan::Ack { topic, deliveries } => {
                let Some((id, delivery)) = deliveries.pop() else {
                    self.plans[client] = Plan::Receive { topic: *topic };
                    return Err(1);
                };
                if !self.draining && random.random_ratio(FORGOTTEN, 100) {
                    return Err(1);
                }
                let ack = Request::Ack(Ack { group: GROUP.into(), handles: vec![delivery.handle()] });
                (Call::Ack { client, id, delivery }, ack)
            }
            Plan::Deeds => {
                let deed = self.deeds.next(now).ok_or(50_u64)?;
                let request = deed.request();
                (Call::Deed { client, deed }, request)
            }
        };
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.calls.insert(ticket, (call, now));
        Ok((ticket, request))
    }

    fn ask_next(&mut self) {
        self.server = (self.server + 1) % self.machines;
    }

    /// Whether everything that is to come for certain, or came, was acked, as far as anybody knows.
    pub(crate) fn are_done(&self) -> bool {
        let acks = self.history.acks.iter();
        let acked: BTreeSet<&str> =
            acks.filter(|ack| !ack.outcome.is_fail()).map(|ack| ack.id.as_str()).collect();
        let delivered = self.history.receives.iter().flat_map(|receive| &receive.deliveries);
        let mut came = delivered.map(|delivery| delivery.id.as_str());
        self.deeds.are_done()
            && came.all(|id| acked.contains(id))
            && checker::owed(&self.history).is_subset(&acked)
    }

    /// Surely nothing was done. Who goes on, and when.
    pub(crate) fn refused(&mut self, ticket: Ticket, now: u64) -> Option<(usize, u64)> {
        self.ask_next();
        let outcome = Outcome::Fail { code: 0, reason: "not the master".to_owned() };
        self.ends(ticket, now, outcome, Vec::new())
    }

    /// No answer came.
    pub(crate) fn gives_up(&mut self, ticket: Ticket, now: u64) -> Option<(usize, u64)> {
        if self.calls.contains_key(&ticket) {
            self.ask_next();
        }
        self.ends(ticket, now, Outcome::Unknown { reason: "no answer".to_owned() }, Vec::new())
    }

    /// It is over: what has no answer yet will have none.
    pub(crate) fn give_up_all(&mut self, now: u64) {
        while let Some((ticket, _)) = self.calls.first_key_value() {
            self.gives_up(*ticket, now);
        }
    }

    /// An answer came; deliveries are read from the log of who answered, if it still runs.
    pub(crate) fn hears(
        &mut self,
        ticket: Ticket,
        answer: &Answer,
        log: Option<&Reader>,
        now: u64,
    ) -> Option<(usize, u64)> {
        let fail = |reason: String| Outcome::Fail { code: 0, reason };
        let mut got = Vec::new();
        let outcome = match answer {
            Answer::Send(Err(error)) => fail(error.to_string()),
            Answer::Send(Ok(sent)) => {
                if let Some((Call::Send { topic, id, hold, .. }, _)) = self.calls.get(&ticket) {
                    self.deeds.plan(*topic, id, *hold, sent[0], now);
                }
                Outcome::Ok
            }
            Answer::Receive(Err(error)) => fail(error.to_string()),
            Answer::Receive(Ok(deliveries)) => {
                for delivery in deliveries {
                    let record = log.and_then(|log| log.read_record(delivery.lsn).ok());
                    let Some(record) = record else {
                        let gone = Outcome::Unknown { reason: "gone".to_owned() };
                        return self.ends(ticket, now, gone, Vec::new());
                    };
                    let message = record::decode_message(&record).expect("a message lies there");
                    let id = message.content.split(|byte| *byte == FILLING).next().unwrap_or_default();
                    let id = String::from_utf8(id.to_vec()).expect("an id");
                    got.push((id, *delivery));
                }
                Outcome::Ok
            }
            Answer::Ack(Ok(each)) => match &each[0] {
                Ok(()) => Outcome::Ok,
                Err(_) => Outcome::Fail { code: STALE, reason: "stale".to_owned() },
            },
            Answer::Ack(Err(error)) => fail(error.to_string()),
            Answer::EndTransaction(Err(error)) => {
                panic!("a transaction that was stored and that nobody else ended: {error}")
            }
            Answer::Recall(Err(error)) => fail(error.to_string()),
            _ => Outcome::Ok,
        };
        if let Some((Call::Deed { deed, .. }, _)) = self.calls.get_mut(&ticket) {
            deed.answered = true;
        }
        self.ends(ticket, now, outcome, got)
    }

    fn ends(
        &mut self,
        ticket: Ticket,
        now: u64,
        outcome: Outcome,
        got: Vec<(String, Delivery)>,
    ) -> Option<(usize, u64)> {
        let (call, begun) = self.calls.remove(&ticket)?;
        // Some of it, another one for each message.
        let pause = 5 + begun % PAUSE_MS;
        let span = Span { begin: Duration::from_millis(begun), end: Duration::from_millis(now) };
        let done = outcome.is_ok();
        Some(match call {
            Call::Setup => {
                if done && let Plan::Setup(step) = &mut self.plans[0] {
                    *step += 1;
                }
                (0, 20)
            }
            Call::Send { client, topic, id, hold } => {
                if done && let Plan::Send { number, due, .. } = &mut self.plans[client] {
                    (*number, *due) = (*number + 1, None);
                }
                let message_group = (hold == Hold::None).then(|| format!("group-{client}"));
                let topic = TOPICS[topic].0.to_owned();
                self.history.sends.push(history::Send { span, id, topic, message_group, hold, outcome });
                (client, if done { pause } else { 50 })
            }
            Call::Receive { client, topic } => {
                let deliveries = got.iter().map(|(id, delivery)| handed(id, delivery)).collect();
                self.history.receives.push(history::Receive {
                    span,
                    topic: TOPICS[topic].0.to_owned(),
                    group: GROUP.to_owned(),
                    invisible: Duration::from_millis(INVISIBLE_MS),
                    attempt_id: None,
                    outcome,
                    deliveries,
                });
                let none = got.is_empty();
                self.plans[client] = Plan::Ack { topic, deliveries: got };
                (client, if none { 60 } else { 10 })
            }
            Call::Ack { client, id, delivery } => {
                // A stale handle stays stale; everything else is tried again.
                if !done
                    && !matches!(outcome, Outcome::Fail { code: STALE, .. })
                    && let Plan::Ack { deliveries, .. } = &mut self.plans[client]
                {
                    deliveries.push((id.clone(), delivery));
                }
                let handle = format!("{:?}", delivery.handle());
                self.history.acks.push(history::Ack { span, group: GROUP.to_owned(), id, handle, outcome });
                (client, 5)
            }
            Call::Deed { client, deed } => {
                self.deeds.ended(deed, span, outcome, &mut self.history);
                (client, 10)
            }
        })
    }
}

/// The log time of a moment of the simulation, as the machines' clocks have it.
fn log_time(now: u64) -> LogTime {
    LogTime(reading(now).wall_us / 1_000)
}

fn handed(id: &str, delivery: &Delivery) -> history::Delivery {
    history::Delivery {
        id: id.to_owned(),
        handle: format!("{:?}", delivery.handle()),
        attempt: delivery.attempt,
        place: (i32::from(delivery.queue.0), delivery.offset.0.cast_signed()),
        intact: true,
    }
}
