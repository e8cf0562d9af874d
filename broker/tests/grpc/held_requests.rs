//! What a client sent must not stay in the broker's memory for as long as its call lasts.

use std::time::{Duration, Instant};

use rq_proto::rocketmq as pb;

use crate::harness::{Broker, Client, SOON};
use crate::lifecycle::get;

const POLLS: usize = 24;
/// Each takes a few bytes on the wire, and a hundred once it is decoded.
const ADDRESSES: usize = 150_000;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// A receive that nobody answers, with endpoints that no broker asks for.
fn bloated() -> pb::ReceiveMessageRequest {
    let mut wish = Client::wish("g", "t", Duration::from_mins(1));
    let address = pb::Address { host: "h".to_owned(), port: 1 };
    let endpoints = pb::Endpoints { scheme: 1, addresses: vec![address; ADDRESSES] };
    let broker = pb::Broker { endpoints: Some(endpoints), ..pb::Broker::default() };
    wish.message_queue.as_mut().unwrap().broker = Some(broker);
    wish
}

#[tokio::test]
async fn a_receive_that_waits_keeps_nothing_of_its_request_but_what_it_waits_for() {
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    assert!(client.receive_now("g", "t").await.messages.is_empty());
    let mut waiting = Vec::new();
    let mut after_first = 0;
    for number in 1..=POLLS {
        let client = client.clone();
        waiting.push(tokio::spawn(async move { client.open(bloated()).await.message().await }));
        let until = Instant::now() + SOON;
        while !get(&broker, "/metrics").await.contains(&format!("rq_receive_polls {number}\n")) {
            assert!(Instant::now() < until, "poll {number} never waited");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if number == 1 {
            after_first = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(after_first);
    let decoded = (ADDRESSES * size_of::<pb::Address>()) as u64;
    assert!(grown < POLLS as u64 / 2 * decoded, "{POLLS} polls hold {grown} bytes, one request is {decoded}");
    for poll in waiting {
        poll.abort();
    }
}
