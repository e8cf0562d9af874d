//! What the state machine costs: bytes counted by the allocator, and, run by hand in release, time per message.
//!
//! `cargo test --release -p rq-core --test footprint -- --ignored --nocapture` prints the times.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "measures time, decides nothing by it"
)]
#![allow(clippy::print_stdout, reason = "prints what it measured")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rq_core::hash::SendKey;
use rq_core::ids::{
    AttemptHash, ClientHash, ConnectionId, Epoch, Lane, LogTime, Lsn, Nonce, TagHash, Ticket,
};
use rq_core::queue::request::{
    Ack, Answer, CreateTopic, Delivery, Filter, Handle, NewMessage, Receive, Request, Send, Subscribe,
};
use rq_core::queue::settings::{TopicKind, TopicSettings};
use rq_core::queue::{Append, Limits, Shard, State};
use rq_core::record::{self, Record};

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// What others allocate meanwhile would count too.
static ALONE: Mutex<()> = Mutex::new(());

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe by its signature; this one only counts and passes on")]
// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn in_use() -> usize {
    IN_USE.load(Ordering::Relaxed)
}

/// A log that keeps nothing but its length. Records are encoded, as the driver does.
#[derive(Default)]
struct Nowhere {
    end: u64,
    scratch: Vec<u8>,
}

impl Append for Nowhere {
    fn append(&mut self, record: &Record<'_>) -> Lsn {
        self.scratch.clear();
        record::encode(record, &mut self.scratch);
        let lsn = Lsn(self.end);
        self.end += self.scratch.len() as u64 + 4;
        lsn
    }
}

struct Broker {
    shard: Shard,
    log: Nowhere,
    now: LogTime,
    answers: Vec<(Ticket, Answer)>,
    sent: u64,
    content: Bytes,
}

impl Broker {
    fn new() -> Self {
        let limits = Limits { topics_max: usize::MAX, ..Limits::default() };
        let mut broker = Self {
            shard: Shard::new(State::default(), limits),
            log: Nowhere::default(),
            now: LogTime(1_700_000_000_000),
            answers: Vec::new(),
            sent: 0,
            content: Bytes::from(vec![7; 64]),
        };
        broker.shard.start_epoch(Epoch(1), broker.now, &mut broker.log);
        broker
    }

    fn ask(&mut self, request: Request) -> Answer {
        self.answers.clear();
        self.shard.step(self.now, Ticket(1), request, &mut self.log, &mut self.answers);
        self.answers.pop().unwrap().1
    }

    fn topic(&mut self, name: &str) {
        let settings = TopicSettings { kind: TopicKind::Normal, queues: 8 };
        let created = self.ask(Request::CreateTopic(CreateTopic { name: Arc::from(name), settings }));
        assert!(matches!(created, Answer::CreateTopic(Ok(_))));
    }

    fn send(&mut self, topic: &Arc<str>) {
        self.send_at(topic, TopicKind::Normal, LogTime(0));
    }

    fn send_at(&mut self, topic: &Arc<str>, kind: TopicKind, deliver_at: LogTime) {
        self.sent += 1;
        // A million sends in 50 s: the window of recognised sends is as full as it can be.
        self.now = self.now.plus(u64::from(self.sent.is_multiple_of(20)));
        let message = NewMessage {
            kind,
            key: SendKey(u128::from(self.sent).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
            tag: TagHash(0),
            lane: Lane(0),
            deliver_at,
            recover_after_ms: None,
            content: self.content.clone(),
        };
        let sent = self.ask(Request::Send(Send { topic: Arc::clone(topic), messages: vec![message] }));
        assert!(matches!(sent, Answer::Send(Ok(_))));
    }

    fn receive(&mut self, group: &Arc<str>, topic: &Arc<str>, batch: u32) -> Vec<Delivery> {
        self.sent += 1;
        let received = self.ask(Request::Receive(Receive {
            group: Arc::clone(group),
            topic: Arc::clone(topic),
            filter: Filter::All,
            batch,
            invisible_ms: 60_000,
            auto_renew: true,
            attempt: Some(AttemptHash(self.sent)),
            client: ClientHash(self.sent % 8),
            connection: ConnectionId(1),
            nonce: Nonce(self.sent),
            wait_ms: 0,
        }));
        let Answer::Receive(Ok(deliveries)) = received else { panic!("{received:?}") };
        deliveries
    }

    fn ack(&mut self, group: &Arc<str>, delivery: &Delivery) {
        let Delivery { topic, queue, offset, nonce, .. } = *delivery;
        let handles = vec![Handle { topic, queue, offset, nonce }];
        let acked = self.ask(Request::Ack(Ack { group: Arc::clone(group), handles }));
        assert!(matches!(acked, Answer::Ack(Ok(results)) if results == [Ok(())]));
    }
}

/// Nanoseconds that this thread has been on a processor: what others do there does not count.
fn on_processor() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

/// Processor time of each of `count` operations, in nanoseconds.
fn ns_per(count: u64, operations: impl FnOnce()) -> u64 {
    let started = on_processor();
    operations();
    (on_processor() - started) / count
}

#[test]
fn an_idle_topic_of_eight_queues_costs_less_than_a_kibibyte() {
    const TOPICS: usize = 1_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut broker = Broker::new();
    broker.topic("first");
    let before = in_use();
    for number in 0..TOPICS {
        broker.topic(&format!("topic-{number:04}"));
    }
    let topic = (in_use() - before) / TOPICS;
    let before = in_use();
    for number in 0..TOPICS {
        let topics = vec![Arc::from(format!("topic-{number:04}"))];
        broker.ask(Request::Subscribe(Subscribe { group: Arc::from("group"), topics }));
    }
    let subscription = (in_use() - before) / TOPICS;
    println!("idle topic: {topic} B; its subscription by an idle group: {subscription} B");
    assert!(topic < 1024, "an idle topic costs {topic} B");
    assert!(subscription < 1024, "an idle subscription costs {subscription} B");
}

/// A broker with so many delayed messages whose times are spread over 40 days, and bytes in use for all of it.
fn with_delayed(count: u64) -> (Broker, usize) {
    const SPREAD_MS: u64 = 40 * 24 * 3_600_000;
    let before = in_use();
    let mut broker = Broker::new();
    let topic: Arc<str> = Arc::from("delayed");
    let settings = TopicSettings { kind: TopicKind::Delay, queues: 8 };
    broker.ask(Request::CreateTopic(CreateTopic { name: Arc::clone(&topic), settings }));
    for number in 0..count {
        // A product with a prime visits every time once, in no order.
        let after = 3_600_000 + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % SPREAD_MS;
        broker.send_at(&topic, TopicKind::Delay, broker.now.plus(after));
    }
    assert_eq!(broker.shard.state().held().delayed, count);
    let used = in_use() - before;
    println!(
        "{count} delayed messages: {} B each, recognition of repeated sends included",
        used as u64 / count
    );
    (broker, used)
}

#[test]
fn a_delayed_message_costs_little_more_than_its_bytes_in_the_index() {
    const COUNT: u64 = 200_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let used = with_delayed(COUNT).1 as u64;
    // Recognising a repeated send takes more than half of that, for the newest two million alone.
    assert!(used / COUNT < 80, "{} B a message", used / COUNT);
}

#[test]
#[ignore = "ten million messages: run it in release"]
fn ten_million_delayed_messages_take_less_than_400_mebibytes() {
    const COUNT: u64 = 10_000_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut broker, used) = with_delayed(COUNT);
    let delete = Request::DeleteTopic("delayed".into());
    println!("deleting their topic: {} ns each", ns_per(COUNT, || drop(broker.ask(delete))));
    assert_eq!(broker.shard.state().held().delayed, 0);
    assert!(used < 400 << 20, "{} MiB", used >> 20);
}

/// Sends, then pops and acks, `COUNT` messages; in ns a message.
fn round(broker: &mut Broker, group: &Arc<str>, topic: &Arc<str>) -> (u64, u64) {
    const COUNT: u64 = 200_000;
    let send = ns_per(COUNT, || (0..COUNT).for_each(|_| broker.send(topic)));
    let consume = ns_per(COUNT, || {
        let mut left = COUNT;
        while left > 0 {
            // What a few consumers have in their hands at a time.
            let deliveries: Vec<_> = (0..8).flat_map(|_| broker.receive(group, topic, 32)).collect();
            for delivery in &deliveries {
                broker.ack(group, delivery);
            }
            left = left.saturating_sub(deliveries.len() as u64);
        }
    });
    (send, consume)
}

#[test]
#[ignore = "a measurement: run it in release, on a quiet machine"]
fn the_cost_of_a_message_does_not_depend_on_the_backlog() {
    const BACKLOG: u64 = 10_000_000;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (topic, group): (Arc<str>, Arc<str>) = (Arc::from("t"), Arc::from("g"));
    let mut empty = Broker::new();
    empty.topic("t");
    let mut full = Broker::new();
    full.topic("t");
    full.ask(Request::Subscribe(Subscribe { group: Arc::clone(&group), topics: vec![Arc::clone(&topic)] }));
    // Both windows of recognised sends are full, so that the backlog is the only difference.
    empty.topic("other");
    let other = Arc::from("other");
    (0..2_200_000).for_each(|_| empty.send(&other));
    let before = in_use();
    (0..BACKLOG).for_each(|_| full.send(&topic));
    println!("memory with 10 M messages: {} B a message", (in_use() - before) as u64 / BACKLOG);

    let mut rounds: Vec<[u64; 4]> = Vec::new();
    for _ in 0..7 {
        let (send, consume) = round(&mut empty, &group, &topic);
        let (send_full, consume_full) = round(&mut full, &group, &topic);
        rounds.push([send, send_full, consume, consume_full]);
    }
    let median = |column: usize| {
        let mut values: Vec<u64> = rounds.iter().map(|round| round[column]).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let [send, send_full, consume, consume_full] = [0, 1, 2, 3].map(median);
    println!(
        "send: {send} ns, with backlog {send_full} ns; pop and ack: {consume} ns, with backlog {consume_full} ns"
    );
    assert!(send_full <= 1_500 && consume_full <= 3_000);
    assert!(send_full * 100 <= send * 115 && consume_full * 100 <= consume * 115);
}
