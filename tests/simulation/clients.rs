//! Producers that repeat what they do not know the fate of, and consumers that ack most of what they get. Everything they
//! see goes into a history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rq_core::hash;
use rq_core::ids::{ClientHash, ConnectionId, LogTime, Nonce, TagHash, Ticket};
use rq_core::queue::request::{
    Ack, Answer, CreateGroup, CreateTopic, Delivery, Filter, NewMessage, Receive, Request, Send,
};
use rq_core::queue::settings::{GroupSettings, TopicKind, TopicSettings};
use rq_core::record;
use rq_log::LogReader;
use rq_log::disk::simulated::SimulatedDisk;
use rq_tests::history::{self, History, Outcome, Span};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const PRODUCERS: usize = 3;
const CONSUMERS: usize = 2;
/// The lease of a delivery, in ms.
const INVISIBLE_MS: u64 = 1_500;
/// Messages of one producer.
const MESSAGES: u32 = 80;
/// Their length, in bytes: so long that the log goes through segments.
const SHORTEST: u32 = 500;
const LONGEST: u32 = 6_000;
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
    Send { client: usize, id: String },
    Receive { client: usize },
    Ack { client: usize, id: String, delivery: Delivery },
}

/// What a client does next.
#[derive(Clone)]
enum Plan {
    Setup(u32),
    Send { number: u32 },
    Receive,
    Ack(Vec<(String, Delivery)>),
}

pub(crate) struct Clients {
    plans: Vec<Plan>,
    calls: BTreeMap<Ticket, (Call, u64)>,
    tickets: u64,
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
        let mut plans = vec![Plan::Setup(0)];
        plans.extend(vec![Plan::Send { number: 0 }; PRODUCERS]);
        plans.extend(vec![Plan::Receive; CONSUMERS]);
        let history = History { ordered_groups: [GROUP.to_owned()].into(), ..History::default() };
        Self { plans, calls: BTreeMap::new(), tickets: 0, machines, server: 0, history, draining: false }
    }

    pub(crate) fn count(&self) -> usize {
        self.plans.len()
    }

    /// How many sends were answered OK.
    pub(crate) fn stored(&self) -> usize {
        self.history.sends.iter().filter(|send| send.outcome.is_ok()).count()
    }

    /// The next call of a client, or how long it pauses, in ms.
    pub(crate) fn acts(
        &mut self,
        client: usize,
        now: u64,
        random: &mut StdRng,
    ) -> Result<(Ticket, Request), u64> {
        let (call, request) = match &mut self.plans[client] {
            Plan::Setup(step) => match step {
                0 => (Call::Setup, create_topic()),
                1 => (Call::Setup, create_group()),
                _ => return Err(60_000),
            },
            Plan::Send { .. } if self.draining => return Err(60_000),
            Plan::Send { number } => {
                if *number == MESSAGES {
                    return Err(60_000);
                }
                let id = format!("{client}-{number}");
                (Call::Send { client, id: id.clone() }, send(client, &id))
            }
            Plan::Receive => (Call::Receive { client }, receive(client, random.random())),
            Plan::Ack(deliveries) => {
                let Some((id, delivery)) = deliveries.pop() else {
                    self.plans[client] = Plan::Receive;
                    return Err(1);
                };
                if !self.draining && random.random_ratio(FORGOTTEN, 100) {
                    return Err(1);
                }
                let ack = Request::Ack(Ack { group: GROUP.into(), handles: vec![delivery.handle()] });
                (Call::Ack { client, id, delivery }, ack)
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

    /// Whether everything that was stored for certain, or came, was acked, as far as anybody knows.
    pub(crate) fn are_done(&self) -> bool {
        let acks = self.history.acks.iter();
        let acked: BTreeSet<_> =
            acks.filter(|ack| !matches!(ack.outcome, Outcome::Fail { .. })).map(|ack| &ack.id).collect();
        let stored = self.history.sends.iter().filter(|send| send.outcome.is_ok()).map(|send| &send.id);
        let delivered = self.history.receives.iter().flat_map(|receive| &receive.deliveries);
        stored.chain(delivered.map(|delivery| &delivery.id)).all(|id| acked.contains(id))
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
            Answer::Receive(Err(error)) => fail(error.to_string()),
            Answer::Receive(Ok(deliveries)) => {
                for delivery in deliveries {
                    let record = log.and_then(|log| log.read_record(delivery.lsn).ok());
                    let Some(record) = record else {
                        return self.ends(
                            ticket,
                            now,
                            Outcome::Unknown { reason: "gone".to_owned() },
                            Vec::new(),
                        );
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
            _ => Outcome::Ok,
        };
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
            Call::Send { client, id } => {
                if done && let Plan::Send { number } = &mut self.plans[client] {
                    *number += 1;
                }
                let message_group = Some(format!("group-{client}"));
                self.history.sends.push(history::Send {
                    span,
                    id,
                    topic: TOPIC.to_owned(),
                    message_group,
                    outcome,
                });
                (client, if done { pause } else { 50 })
            }
            Call::Receive { client } => {
                let deliveries = got.iter().map(|(id, delivery)| handed(id, delivery)).collect();
                self.history.receives.push(history::Receive {
                    span,
                    topic: TOPIC.to_owned(),
                    group: GROUP.to_owned(),
                    invisible: Duration::from_millis(INVISIBLE_MS),
                    attempt_id: None,
                    outcome,
                    deliveries,
                });
                let none = got.is_empty();
                self.plans[client] = Plan::Ack(got);
                (client, if none { 60 } else { 10 })
            }
            Call::Ack { client, id, delivery } => {
                // A stale handle stays stale; everything else is tried again.
                if !done
                    && !matches!(outcome, Outcome::Fail { code: STALE, .. })
                    && let Plan::Ack(rest) = &mut self.plans[client]
                {
                    rest.push((id.clone(), delivery));
                }
                let handle = format!("{:?}", delivery.handle());
                self.history.acks.push(history::Ack { span, group: GROUP.to_owned(), id, handle, outcome });
                (client, 5)
            }
        })
    }
}

fn create_topic() -> Request {
    let settings = TopicSettings { kind: TopicKind::Fifo, queues: 4 };
    Request::CreateTopic(CreateTopic { name: TOPIC.into(), settings })
}

fn create_group() -> Request {
    let settings = GroupSettings { ordered: true, max_attempts: 1_000, ..GroupSettings::default() };
    Request::CreateGroup(CreateGroup { name: GROUP.into(), settings })
}

fn send(client: usize, id: &str) -> Request {
    let message = NewMessage {
        kind: TopicKind::Fifo,
        key: hash::send_key(&format!("client-{client}"), id, hash::crc32c(id.as_bytes())),
        tag: TagHash(0),
        lane: hash::lane(&format!("group-{client}")),
        deliver_at: LogTime(0),
        recover_after_ms: None,
        content: content(id),
    };
    Request::Send(Send { topic: Arc::from(TOPIC), messages: vec![message] })
}

/// What follows the id in a message.
const FILLING: u8 = b' ';

fn content(id: &str) -> Bytes {
    let len = SHORTEST + hash::crc32c(id.as_bytes()) % (LONGEST - SHORTEST);
    let mut content = id.as_bytes().to_vec();
    content.resize(len as usize, FILLING);
    content.into()
}

fn receive(client: usize, nonce: u64) -> Request {
    Request::Receive(Receive {
        group: Arc::from(GROUP),
        topic: Arc::from(TOPIC),
        filter: Filter::All,
        batch: 2,
        invisible_ms: INVISIBLE_MS,
        auto_renew: false,
        attempt: None,
        client: ClientHash(client as u64),
        connection: ConnectionId(client as u64),
        nonce: Nonce(nonce),
        wait_ms: 200,
    })
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
