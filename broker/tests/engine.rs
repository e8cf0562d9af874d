//! The engine on a real directory: what it confirmed is there after a restart, and nothing that was acked.

#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_docs_in_private_items, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rq_broker::engine::{Engine, EngineError, EngineOptions};
use rq_core::hash;
use rq_core::ids::{ConnectionId, Lane, LogTime, Nonce, TagHash};
use rq_core::message::MessageContent;
use rq_core::queue::Limits;
use rq_core::queue::request::{Ack, CreateTopic, Delivery, Filter, Handle, NewMessage, Receive, Send};
use rq_core::queue::retention::InactiveGroup;
use rq_core::queue::settings::{TopicKind, TopicSettings};

fn options(data: &Path) -> EngineOptions {
    EngineOptions {
        data: data.to_owned(),
        log: rq_log::Options {
            cluster: "test".into(),
            segment_bytes: 64 << 20,
            prepared_segments: 1,
            allow_unsafe_filesystem: true,
            ..rq_log::Options::default()
        },
        limits: Limits::default(),
        ..EngineOptions::default()
    }
}

async fn orders(engine: &Engine) {
    let settings = TopicSettings { kind: TopicKind::Normal, queues: 4 };
    engine.create_topic(CreateTopic { name: "orders".into(), settings }).await.unwrap().unwrap();
}

fn message(id: &str) -> NewMessage {
    let body = Bytes::copy_from_slice(id.as_bytes());
    let crc = hash::crc32c(&body);
    NewMessage {
        kind: TopicKind::Normal,
        key: hash::send_key("client", id, crc),
        tag: TagHash(0),
        lane: Lane(0),
        deliver_at: LogTime(0),
        recover_after_ms: None,
        content: MessageContent { message_id: id, body, ..MessageContent::default() }.encode(),
    }
}

async fn send(engine: &Engine, id: &str) {
    let request = Send { topic: "orders".into(), messages: vec![message(id)] };
    engine.send(request).await.unwrap().unwrap();
}

fn receive(nonce: u64, batch: u32, wait_ms: u64) -> Receive {
    Receive {
        group: "billing".into(),
        topic: "orders".into(),
        filter: Filter::All,
        batch,
        invisible_ms: 60_000,
        auto_renew: false,
        attempt: None,
        client: hash::client("client"),
        connection: ConnectionId(1),
        nonce: Nonce(nonce),
        wait_ms,
    }
}

async fn take(engine: &Engine, nonce: u64, batch: u32, wait_ms: u64) -> Vec<(String, Delivery)> {
    let mut taken = Vec::new();
    for delivery in engine.receive(receive(nonce, batch, wait_ms)).await.unwrap().unwrap() {
        let stored = engine.read(delivery.lsn).await.unwrap();
        let content = MessageContent::decode(&stored.content).unwrap();
        taken.push((content.message_id.to_owned(), delivery));
    }
    taken
}

async fn ack(engine: &Engine, delivery: &Delivery) {
    let handle = Handle {
        topic: delivery.topic,
        queue: delivery.queue,
        offset: delivery.offset,
        nonce: delivery.nonce,
    };
    let acked = engine.ack(Ack { group: "billing".into(), handles: vec![handle] }).await.unwrap().unwrap();
    assert_eq!(acked, [Ok(())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_is_there_after_a_restart_and_what_was_acked_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(&options(dir.path())).unwrap();
    orders(&engine).await;
    for number in 0..100 {
        send(&engine, &format!("m{number}")).await;
    }
    let first = take(&engine, 1, 60, 0).await;
    assert_eq!(first.len(), 60);
    for (_, delivery) in first.iter().take(50) {
        ack(&engine, delivery).await;
    }
    let epoch = engine.view().borrow().epoch();
    engine.stop().await;
    drop(engine);

    let engine = Engine::start(&options(dir.path())).unwrap();
    assert_eq!(engine.view().borrow().epoch(), epoch.next());
    let second = take(&engine, 2, 100, 0).await;
    assert_eq!(second.len(), 40, "10 are still leased");
    let (_, still_leased) = &first[55];
    ack(&engine, still_leased).await;
    assert!(second.iter().all(|(id, _)| first.iter().all(|(other, _)| other != id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_receive_is_answered_by_the_next_send() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(&options(dir.path())).unwrap();
    orders(&engine).await;
    let waiting = {
        let engine = engine.clone();
        tokio::spawn(async move { take(&engine, 1, 32, 60_000).await })
    };
    while engine.inspect(rq_core::queue::Shard::waiting_polls).await.unwrap() == 0 {}
    send(&engine, "hello").await;
    let taken = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
    assert_eq!(taken[0].0, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_popped_for_a_caller_who_left_comes_back_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(&options(dir.path())).unwrap();
    orders(&engine).await;
    let engine = Arc::new(engine);
    for round in 0..20 {
        let waiting = {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { engine.receive(receive(round, 1, 60_000)).await })
        };
        while engine.inspect(rq_core::queue::Shard::waiting_polls).await.unwrap() == 0 {}
        let sending = {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { send(&engine, &format!("m{round}")).await })
        };
        waiting.abort();
        let popped = waiting.await.is_ok();
        sending.await.unwrap();
        if !popped {
            let taken = take(&engine, 1000 + round, 32, 20_000).await;
            assert_eq!(taken.len(), 1, "round {round}");
            assert_eq!(taken[0].1.attempt, 1, "a delivery that never arrived does not count");
            ack(&engine, &taken[0].1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_engine_refuses_and_lets_waiting_receives_go() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(&options(dir.path())).unwrap();
    orders(&engine).await;
    let waiting = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.receive(receive(1, 1, 60_000)).await })
    };
    while engine.inspect(rq_core::queue::Shard::waiting_polls).await.unwrap() == 0 {}
    engine.stop().await;
    assert_eq!(waiting.await.unwrap().map(|_| ()), Err(EngineError::Stopping));
    let refused = engine.send(Send { topic: "orders".into(), messages: vec![message("late")] }).await;
    assert_eq!(refused.map(|_| ()), Err(EngineError::Stopping));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_waits_end_who_waits_gets_nothing_and_who_need_not_wait_his_messages() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(&options(dir.path())).unwrap();
    orders(&engine).await;
    let wait = |nonce| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.receive(receive(nonce, 1, 60_000)).await })
    };
    let waiting = wait(1);
    while engine.inspect(rq_core::queue::Shard::waiting_polls).await.unwrap() == 0 {}
    engine.end_waits();
    assert_eq!(waiting.await.unwrap().map(|_| ()), Err(EngineError::Stopping));
    assert_eq!(wait(2).await.unwrap().map(|_| ()), Err(EngineError::Stopping), "nobody waits any more");
    assert_eq!(engine.inspect(rq_core::queue::Shard::waiting_polls).await.unwrap(), 0);
    send(&engine, "hello").await;
    assert_eq!(wait(3).await.unwrap().unwrap().unwrap().len(), 1, "the engine works on until it stops");
}

fn retaining_nothing(data: &Path) -> EngineOptions {
    let mut options = options(data);
    options.log.segment_bytes = 1 << 20;
    options.checkpoint_bytes = 256 << 10;
    options.retention.keep_ms = 0;
    options
}

async fn send_body(engine: &Engine, id: &str, bytes: usize) {
    let body = Bytes::from(vec![b'x'; bytes]);
    let content = MessageContent { message_id: id, body, ..MessageContent::default() }.encode();
    let message = NewMessage { content, ..message(id) };
    engine.send(Send { topic: "orders".into(), messages: vec![message] }).await.unwrap().unwrap();
}

/// Awaits a condition on the figures of the engine.
async fn until(engine: &Engine, what: &str, reached: impl Fn(&Engine) -> bool) {
    let waiting = async {
        for round in 0.. {
            if reached(engine) {
                return;
            }
            // Each send may bring the checkpoint and the retention run that the condition waits for.
            send_body(engine, &format!("filler{round}"), 100_000).await;
            for (_, delivery) in take(engine, 77, 32, 0).await {
                ack(engine, &delivery).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.unwrap_or_else(|_| panic!("{what} in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn consumed_segments_are_dropped_and_what_is_still_owed_is_moved_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(&retaining_nothing(dir.path())).unwrap();
    orders(&engine).await;
    send(&engine, "owed").await;
    let owed = take(&engine, 1, 1, 0).await;
    assert_eq!(owed[0].0, "owed", "leased for a minute, not acked");
    until(&engine, "the first segments are dropped", |engine| engine.figures().start.0 >= 3 << 20).await;
    engine.stop().await;
    drop(engine);

    let engine = Engine::start(&retaining_nothing(dir.path())).unwrap();
    assert!(engine.figures().start.0 >= 3 << 20, "the log begins where it was dropped to");
    let handle = Handle {
        topic: owed[0].1.topic,
        queue: owed[0].1.queue,
        offset: owed[0].1.offset,
        nonce: owed[0].1.nonce,
    };
    let change = rq_core::queue::request::ChangeInvisible {
        group: "billing".into(),
        handle,
        invisible_ms: 0,
        suspend: false,
    };
    engine.change_invisible(change).await.unwrap().unwrap();
    let again = take(&engine, 2, 32, 20_000).await;
    let owed_again = again.iter().find(|(id, _)| id == "owed").unwrap();
    assert_eq!(owed_again.1.attempt, 2);
    assert!(owed_again.1.lsn.0 >= 3 << 20, "it was copied to where the log goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_on_the_disk_is_read_ahead_in_order_and_within_bounds() {
    const MESSAGES: u32 = 20;
    const BODY: usize = 200 << 10;
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.log.tail_cache_bytes = 1;
    let engine = Engine::start(&options).unwrap();
    orders(&engine).await;
    for number in 0..MESSAGES {
        let (id, body) = (format!("m{number}"), Bytes::from(vec![number as u8; BODY]));
        let content = MessageContent { message_id: &id, body, ..MessageContent::default() }.encode();
        let send = Send { topic: "orders".into(), messages: vec![NewMessage { content, ..message(&id) }] };
        engine.send(send).await.unwrap().unwrap();
    }
    let deliveries = engine.receive(receive(1, MESSAGES, 0)).await.unwrap().unwrap();
    assert_eq!(deliveries.len(), MESSAGES as usize);

    let mut left = deliveries.as_slice();
    let mut reads = 0;
    while !left.is_empty() {
        let read = engine.read_ahead(left.iter().map(|delivery| delivery.lsn)).await;
        assert!(
            !read.is_empty() && read.len() <= 6,
            "a MiB and the message that goes beyond: {}",
            read.len()
        );
        for (delivery, ahead) in left.iter().zip(&read) {
            let alone = engine.read(delivery.lsn).await.unwrap();
            assert_eq!(ahead.as_ref().unwrap().content, alone.content, "in the order asked for");
        }
        left = &left[read.len()..];
        reads += 1;
    }
    assert!(reads <= 5, "not message by message: {reads} reads of {MESSAGES} messages");
    engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_no_segment_could_hold_is_refused_and_the_broker_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(&retaining_nothing(dir.path())).unwrap();
    orders(&engine).await;
    let batch = (0..10_000).map(|number| message(&format!("m{number}"))).collect();
    let refused = engine.send(Send { topic: "orders".into(), messages: batch }).await;
    assert!(matches!(refused, Err(EngineError::TooLarge { .. })), "{refused:?}");
    let body = Bytes::from(vec![b'x'; 1 << 20]);
    let content = MessageContent { message_id: "large", body, ..MessageContent::default() }.encode();
    let large = NewMessage { content, ..message("large") };
    let refused = engine.send(Send { topic: "orders".into(), messages: vec![large] }).await;
    assert!(matches!(refused, Err(EngineError::TooLarge { .. })), "{refused:?}");
    let most = (1 << 20) - 2000;
    send_body(&engine, "fits", most).await;
    assert_eq!(take(&engine, 1, 1, 20_000).await[0].0, "fits");
}

/// Awaits a condition on the figures of an engine that nobody asks for anything.
async fn until_by_itself(engine: &Engine, what: &str, reached: impl Fn(&Engine) -> bool) {
    let begin = std::time::Instant::now();
    while !reached(engine) {
        assert!(begin.elapsed() < Duration::from_mins(1), "{what} in time: {:?}", engine.figures());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Keeps house often, and only by the clock.
fn restless(data: &Path) -> EngineOptions {
    let mut options = retaining_nothing(data);
    options.checkpoint_bytes = 1 << 30;
    options.checkpoint_interval = Duration::from_millis(100);
    options
}

const LARGE: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_traffic_drops_what_grows_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = restless(dir.path());
    options.retention.keep_ms = 4_000;
    let engine = Engine::start(&options).unwrap();
    orders(&engine).await;
    for number in 0..32 {
        send_body(&engine, &format!("m{number}"), LARGE).await;
    }
    for (_, delivery) in take(&engine, 1, 32, 20_000).await {
        ack(&engine, &delivery).await;
    }
    let end = engine.figures().durable.0;
    assert_eq!(engine.figures().start.0, 0, "nothing is old yet");
    let all_full = end / (1 << 20) * (1 << 20);
    until_by_itself(&engine, "all full segments are dropped", |engine| engine.figures().start.0 >= all_full)
        .await;
    let end = engine.figures().durable.0;
    let checkpoint = engine.figures().checkpoint.0;
    until_by_itself(&engine, "house is kept once more", |engine| engine.figures().batches > 100).await;
    assert!(engine.figures().durable.0 - end < 4096, "keeping house does not go on writing for ever");
    assert!(engine.figures().checkpoint.0 >= checkpoint);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_writes_the_checkpoint_and_keeps_no_house_beyond_that() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = retaining_nothing(dir.path());
    options.checkpoint_bytes = 1 << 30;
    options.retention.report_inactive_ms = 0;
    let engine = Engine::start(&options).unwrap();
    orders(&engine).await;
    send(&engine, "owed").await;
    assert_eq!(take(&engine, 1, 1, 20_000).await.len(), 1);
    engine.stop().await;
    assert_eq!(engine.figures().checkpoint, engine.figures().durable);
    assert!(engine.idle_groups().is_empty(), "nobody looked for groups that are idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_group_is_named_and_gives_up_what_it_owes_only_when_told_so() {
    const SENT: u64 = 32;
    let dir = tempfile::tempdir().unwrap();
    let mut options = restless(dir.path());
    options.retention.report_inactive_ms = 500;
    let engine = Engine::start(&options.clone()).unwrap();
    orders(&engine).await;
    for number in 0..SENT {
        send_body(&engine, &format!("m{number}"), LARGE).await;
    }
    assert_eq!(take(&engine, 1, 1, 20_000).await.len(), 1);
    until_by_itself(&engine, "the idle group is found", |engine| !engine.idle_groups().is_empty()).await;
    let idle = Arc::clone(&engine.idle_groups()[0]);
    assert_eq!((idle.group.as_ref(), idle.topic.as_ref()), ("billing", "orders"));
    assert!(idle.idle_ms > 500 && idle.pinned_bytes >= (SENT - 1) * LARGE as u64, "{idle:?}");
    assert_eq!((engine.figures().start.0, engine.figures().expired_messages), (0, 0));
    engine.stop().await;
    drop(engine);

    options.limits.free_bytes_min = u64::MAX;
    let engine = Engine::start(&options.clone()).unwrap();
    until_by_itself(&engine, "the idle group is found again", |engine| !engine.idle_groups().is_empty())
        .await;
    let refused = engine.send(Send { topic: "orders".into(), messages: vec![message("late")] }).await;
    let refused = refused.unwrap().unwrap_err().to_string();
    assert!(refused.contains("group billing has not consumed topic orders for"), "{refused}");
    engine.stop().await;
    drop(engine);

    options.limits.free_bytes_min = 0;
    options.retention.inactive_group = InactiveGroup::ExpireAfter(600);
    let engine = Engine::start(&options).unwrap();
    until_by_itself(&engine, "messages are given up", |engine| engine.figures().start.0 >= 2 << 20).await;
    let expired = engine.figures().expired_messages;
    let of_group = engine.inspect(|shard| shard.group_status("billing").unwrap().expired).await.unwrap();
    assert_eq!(of_group, expired);
    let left = take(&engine, 2, 64, 20_000).await.len() as u64;
    assert!(expired > 0 && left > 0, "{expired} given up, {left} left");
    assert_eq!(expired + left, SENT, "each message is delivered or counted");
}
