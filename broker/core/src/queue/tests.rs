//! Tests of the state machine as a whole, through [`Shard::step`]: the fixture is one broker with its log in
//! memory. After every step the log's new bytes are applied to a twin, whose state must be the same.

mod dead_letters;
mod deduplication;
mod delayed;
mod epochs;
mod fair_checks;
mod fifo;
mod hostile;
mod inactive;
mod judging;
mod leases;
mod model;
mod polls;
mod renewal;
mod replay;
mod retained;
mod topics;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::request::{
    Ack, Answer, ChangeInvisible, CreateGroup, CreateTopic, Delivery, Filter, ForwardToDeadLetters, Handle,
    LiveClient, NewMessage, Receive, Request, Send, SendError, Sent, StaleHandle, UndoPop, UpdateGroup,
    Vouch,
};
use super::settings::{GroupSettings, TopicKind, TopicSettings};
use super::{Append, Limits, Shard, State, checkpoint};
use crate::codec::{Reader, Write as _};
use crate::hash::{self, SendKey};
use crate::ids::{AttemptHash, ClientHash, ConnectionId, Epoch, Lane, LogTime, Lsn, Nonce, TagHash, Ticket};
use crate::record::{self, Record};

/// Where logs and clocks of tests begin.
const LOG_START: Lsn = Lsn(4096);
const TIME_START: LogTime = LogTime(1_700_000_000_000);
/// Invisible duration of a receive, unless the test says otherwise.
const INVISIBLE_MS: u64 = 10_000;

/// A log in memory, as bytes.
#[derive(Clone, Debug, Default)]
struct MemoryLog {
    bytes: Vec<u8>,
    /// Where each record begins, and its log time.
    records: Vec<(Lsn, LogTime)>,
    now: LogTime,
    scratch: Vec<u8>,
}

impl Append for MemoryLog {
    fn append(&mut self, record: &Record<'_>) -> Lsn {
        let lsn = self.end();
        self.scratch.clear();
        record::encode(record, &mut self.scratch);
        self.bytes.put_bytes(&self.scratch);
        self.records.push((lsn, self.now));
        lsn
    }
}

impl MemoryLog {
    fn end(&self) -> Lsn {
        LOG_START.plus(self.bytes.len() as u64)
    }

    /// The bytes of the record at a position.
    fn record(&self, lsn: Lsn) -> &[u8] {
        Reader::new(&self.bytes[(lsn.0 - LOG_START.0) as usize..]).bytes("record").unwrap()
    }

    /// Applies the records from the given one on.
    fn replay(&self, state: &mut State, from: usize) {
        for (lsn, time) in &self.records[from..] {
            state.apply_bytes(*lsn, *time, self.record(*lsn)).unwrap();
        }
        state.applied_up_to(self.end());
    }
}

/// A broker with its clients' side.
struct Broker {
    shard: Shard,
    log: MemoryLog,
    now: LogTime,
    answers: BTreeMap<Ticket, Answer>,
    twin: State,
    replayed: usize,
    /// Tickets, nonces and message ids given so far.
    given: u64,
}

impl Broker {
    fn new() -> Self {
        Self::with(Limits {
            auto_create_topics: true,
            default_queues: 1,
            retry_floor_ms: 0,
            ..Limits::default()
        })
    }

    fn with(limits: Limits) -> Self {
        let mut broker = Self {
            shard: Shard::new(State::default(), limits),
            log: MemoryLog::default(),
            now: TIME_START,
            answers: BTreeMap::new(),
            twin: State::default(),
            replayed: 0,
            given: 0,
        };
        broker.log.now = TIME_START;
        broker.shard.start_epoch(Epoch(1), broker.now, &mut broker.log);
        broker.compare();
        broker
    }

    fn number(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    /// One request, and what comes of it at once.
    fn ask(&mut self, request: Request) -> Option<Answer> {
        let ticket = self.begin(request);
        self.answers.remove(&ticket)
    }

    /// One request, whose answer may come later.
    fn begin(&mut self, request: Request) -> Ticket {
        self.begin_together([request])[0]
    }

    /// Requests that come within one moment.
    fn begin_together<const N: usize>(&mut self, requests: [Request; N]) -> [Ticket; N] {
        let mut answers = Vec::new();
        let tickets = requests.map(|request| {
            let ticket = Ticket(self.number());
            self.shard.step(self.now, ticket, request, &mut self.log, &mut answers);
            ticket
        });
        self.answers.extend(answers);
        self.tick();
        tickets
    }

    fn tick(&mut self) {
        let mut answers = Vec::new();
        self.shard.tick(self.now, &mut self.log, &mut answers);
        self.answers.extend(answers);
        self.compare();
    }

    /// The bytes of the log say what the state says.
    fn compare(&mut self) {
        self.shard.applied_up_to(self.log.end());
        self.log.replay(&mut self.twin, self.replayed);
        self.replayed = self.log.records.len();
        assert_eq!(self.twin.hash(), self.shard.state().hash(), "a replica of this log has another state");
    }

    /// Lets time pass, doing what it brings when it brings it.
    fn pass(&mut self, millis: u64) {
        let until = self.now.plus(millis);
        while let Some(wakeup) = self.shard.next_wakeup().filter(|wakeup| *wakeup <= until) {
            self.set_now(self.now.max(wakeup));
            self.tick();
        }
        self.set_now(until);
        self.tick();
    }

    fn set_now(&mut self, now: LogTime) {
        self.now = now;
        self.log.now = now;
    }

    /// The broker dies and another one takes over from its checkpoint.
    fn fail_over(&mut self) {
        let mut bytes = Vec::new();
        checkpoint::encode(self.shard.state(), &mut bytes);
        let state = checkpoint::decode(&bytes).unwrap();
        let epoch = state.epoch().next();
        self.answers.clear();
        self.shard = Shard::new(state, self.shard.limits.clone());
        self.shard.start_epoch(epoch, self.now, &mut self.log);
        self.compare();
    }

    fn topic(&mut self, name: &str, kind: TopicKind, queues: u16) {
        let settings = TopicSettings { kind, queues };
        let answer = self.ask(Request::CreateTopic(CreateTopic { name: Arc::from(name), settings }));
        assert!(matches!(answer, Some(Answer::CreateTopic(Ok(_)))), "{answer:?}");
    }

    fn group(&mut self, name: &str, settings: GroupSettings) {
        let answer = self.ask(Request::CreateGroup(CreateGroup { name: Arc::from(name), settings }));
        assert!(matches!(answer, Some(Answer::CreateGroup(Ok(_)))), "{answer:?}");
    }

    fn fifo_group(&mut self, name: &str) {
        self.group(name, GroupSettings { ordered: true, ..GroupSettings::default() });
    }

    fn try_send(&mut self, topic: &str, messages: Vec<NewMessage>) -> Result<Vec<Sent>, SendError> {
        match self.ask(Request::Send(Send { topic: Arc::from(topic), messages })) {
            Some(Answer::Send(sent)) => sent,
            other => panic!("{other:?}"),
        }
    }

    /// Sends messages that are told apart by their text.
    fn send(&mut self, topic: &str, texts: &[&str]) {
        for text in texts {
            let message = self.message(text);
            self.try_send(topic, vec![message]).unwrap();
        }
    }

    /// Sends messages of one message group.
    fn send_fifo(&mut self, topic: &str, message_group: &str, texts: &[&str]) {
        for text in texts {
            let mut message = self.message(text);
            message.kind = TopicKind::Fifo;
            message.lane = hash::lane(message_group);
            self.try_send(topic, vec![message]).unwrap();
        }
    }

    fn message(&mut self, text: &str) -> NewMessage {
        NewMessage {
            kind: TopicKind::Normal,
            key: SendKey(u128::from(self.number())),
            tag: TagHash(0),
            lane: Lane(0),
            deliver_at: LogTime(0),
            recover_after_ms: None,
            content: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    /// A receive of up to 32 messages that does not wait, by client 1.
    fn receiving(&mut self, group: &str, topic: &str) -> Receive {
        Receive {
            group: Arc::from(group),
            topic: Arc::from(topic),
            filter: Filter::All,
            batch: 32,
            invisible_ms: INVISIBLE_MS,
            auto_renew: false,
            attempt: None,
            client: ClientHash(1),
            connection: ConnectionId(1),
            nonce: Nonce(self.number()),
            wait_ms: 0,
        }
    }

    fn receive_as(&mut self, receive: Receive) -> Vec<Delivery> {
        match self.ask(Request::Receive(receive)) {
            Some(Answer::Receive(Ok(deliveries))) => deliveries,
            other => panic!("{other:?}"),
        }
    }

    fn receive(&mut self, group: &str, topic: &str) -> Vec<Delivery> {
        let receive = self.receiving(group, topic);
        self.receive_as(receive)
    }

    /// A receive that names its attempt.
    fn attempt(&mut self, group: &str, topic: &str, attempt: u64) -> Vec<Delivery> {
        let mut receive = self.receiving(group, topic);
        receive.attempt = Some(AttemptHash(attempt));
        self.receive_as(receive)
    }

    /// Receives the one message that there must be.
    fn receive_one(&mut self, group: &str, topic: &str) -> Delivery {
        let deliveries = self.receive(group, topic);
        assert_eq!(deliveries.len(), 1, "{deliveries:?}");
        deliveries[0]
    }

    /// The texts of what a receive gets.
    fn receive_texts(&mut self, group: &str, topic: &str) -> Vec<String> {
        let deliveries = self.receive(group, topic);
        self.texts(&deliveries)
    }

    fn texts(&self, deliveries: &[Delivery]) -> Vec<String> {
        deliveries.iter().map(|delivery| self.text(delivery.lsn)).collect()
    }

    /// The text of the message that lies at a position.
    fn text(&self, lsn: Lsn) -> String {
        let bytes = Bytes::copy_from_slice(self.log.record(lsn));
        String::from_utf8(record::decode_message(&bytes).unwrap().content.to_vec()).unwrap()
    }

    /// The answer to a receive that waited: its texts, or None while it waits.
    fn waited(&mut self, ticket: Ticket) -> Option<Vec<String>> {
        match self.answers.remove(&ticket)? {
            Answer::Receive(Ok(deliveries)) => Some(self.texts(&deliveries)),
            other => panic!("{other:?}"),
        }
    }

    fn ack(&mut self, group: &str, delivery: &Delivery) -> Result<(), StaleHandle> {
        let ack = Ack { group: Arc::from(group), handles: vec![handle(delivery)] };
        match self.ask(Request::Ack(ack)) {
            Some(Answer::Ack(Ok(results))) => results[0],
            other => panic!("{other:?}"),
        }
    }

    /// Changes the invisible duration of a delivery.
    fn change(&mut self, group: &str, delivery: &Delivery, invisible_ms: u64, suspend: bool) -> bool {
        let (group, handle) = (Arc::from(group), handle(delivery));
        match self.ask(Request::ChangeInvisible(ChangeInvisible { group, handle, invisible_ms, suspend })) {
            Some(Answer::ChangeInvisible(result)) => result.is_ok(),
            other => panic!("{other:?}"),
        }
    }

    fn nack(&mut self, group: &str, delivery: &Delivery, invisible_ms: u64) {
        assert!(self.change(group, delivery, invisible_ms, false));
    }

    fn undo(&mut self, group: &str, deliveries: &[Delivery]) {
        let handles = deliveries.iter().map(handle).collect();
        self.ask(Request::UndoPop(UndoPop { group: Arc::from(group), handles }));
    }

    fn forward(&mut self, group: &str, delivery: &Delivery) {
        let forward = ForwardToDeadLetters { group: Arc::from(group), handle: handle(delivery) };
        let answer = self.ask(Request::ForwardToDeadLetters(forward));
        assert_eq!(answer, Some(Answer::ForwardToDeadLetters(Ok(()))));
    }

    fn vouch(&mut self, client: u64, connection: u64, idle_ms: u64) {
        let live = LiveClient { client: ClientHash(client), connection: ConnectionId(connection), idle_ms };
        self.ask(Request::Vouch(Vouch { clients: vec![live] }));
    }

    /// The texts of a group's dead letters.
    fn dead_letters(&self, group: &str) -> Vec<String> {
        let found = self.shard.dead_letters(group, crate::ids::Offset(0), 1000).unwrap();
        found.iter().map(|letter| self.text(letter.lsn)).collect()
    }
}

fn handle(delivery: &Delivery) -> Handle {
    delivery.handle()
}
