//! A replica that is told to stop is waited for by nobody: it has left the in-sync set before it is gone.

use std::time::{Duration, Instant};

use rq_core::ids::StoreId;
use rq_proto::rocketmq::Code;
use rq_proto::rocketmq::receive_message_response::Content;

use crate::cluster::{Cluster, send_all};
use crate::harness::{Client, SOON};
use crate::lifecycle::get;

/// Much longer than a few compare-and-sets, and shorter than the silence after which a slave is taken out of the set.
const UNNOTICED: Duration = Duration::from_secs(1);

/// Sends until `told` has stopped, and once more.
async fn slowest_send_while_it_stops(cluster: &mut Cluster, told: &'static str, client: &Client) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut number = 0;
    let mut send = async || {
        let began = Instant::now();
        send_all(client, number..number + 1).await;
        number += 1;
        slowest = slowest.max(began.elapsed());
    };
    send().await;
    let stopped = tokio::spawn(cluster.stopping(told));
    while !stopped.is_finished() {
        send().await;
    }
    stopped.await.unwrap();
    send().await;
    slowest
}

async fn only_member_in_sync(cluster: &Cluster, name: &str) -> bool {
    let store: StoreId = cluster.describe(name).await.store_id.parse().unwrap();
    let config = cluster.config();
    config.master == store && config.in_sync.keys().eq([&store])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_told_to_stop_is_not_waited_for_by_its_successor() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client("r1").await;
    let slowest = slowest_send_while_it_stops(&mut cluster, "r0", &client).await;
    assert!(only_member_in_sync(&cluster, "r1").await, "{:?}", cluster.config());
    assert!(slowest < UNNOTICED, "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_is_told_to_stop_is_not_waited_for_by_its_master() {
    let mut cluster = Cluster::start().await;
    let client = cluster.client("r0").await;
    let slowest = slowest_send_while_it_stops(&mut cluster, "r1", &client).await;
    assert!(only_member_in_sync(&cluster, "r0").await, "{:?}", cluster.config());
    assert!(slowest < UNNOTICED, "{slowest:?}");
}

/// The master has a poll that waits.
async fn a_poll_waits(cluster: &Cluster) {
    let waits =
        async { while !get(&cluster.brokers["r0"], "/metrics").await.contains("rq_receive_polls 1\n") {} };
    tokio::time::timeout(SOON, waits).await.expect("a poll waits at the master");
}

/// What the master would answer at the end of its time is not waited for by a gateway that stops; and the client sees no error.
#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_is_told_to_stop_ends_the_polls_that_the_master_has_as_if_their_time_were_over() {
    let mut cluster = Cluster::start().await;
    send_all(&cluster.client("r0").await, 0..1).await;
    let client = cluster.client("r1").await;
    let waiting = tokio::spawn(async move {
        let mut frames = client.open(Client::wish("g", "nothing-in-it", Duration::from_secs(19))).await;
        (frames.message().await, frames.message().await)
    });
    a_poll_waits(&cluster).await;
    let began = Instant::now();
    cluster.stop("r1").await;
    let (said, end) = waiting.await.unwrap();
    let Some(Content::Status(status)) = said.unwrap().unwrap().content else { panic!("no status") };
    assert_eq!(status.code(), Code::MessageNotFound);
    assert_eq!(end.unwrap(), None);
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_is_told_to_stop_still_brings_what_the_master_answers_soon() {
    let mut cluster = Cluster::start().await;
    let master = cluster.client("r0").await;
    send_all(&master, 0..1).await;
    let polls = cluster.client("r1").await;
    // The first poll takes what there is; the second waits.
    assert_eq!(polls.receive("g", "t").await.messages.len(), 1);
    let waiting =
        tokio::spawn(async move { polls.receive_as(Client::wish("g", "t", Duration::from_secs(19))).await });
    a_poll_waits(&cluster).await;
    let began = Instant::now();
    let stopped = tokio::spawn(cluster.stopping("r1"));
    let left = async { while !only_member_in_sync(&cluster, "r0").await {} };
    tokio::time::timeout(SOON, left).await.expect("the slave leaves the set");
    // That the poll is not cut off now can only be seen by waiting.
    tokio::time::sleep(Duration::from_millis(300)).await;
    send_all(&master, 1..2).await;
    // On a slow machine the turn is over by then, and the poll rightly finds nothing.
    let slow = began.elapsed() > Duration::from_secs(2);
    assert!(waiting.await.unwrap().bodies() == ["body"] || slow);
    stopped.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_may_be_told_to_stop_at_once_and_one_of_them_leads_when_they_are_back() {
    let mut cluster = Cluster::start().await;
    send_all(&cluster.client("r0").await, 0..5).await;
    let (one, two) = (cluster.stopping("r0"), cluster.stopping("r1"));
    tokio::join!(one, two);
    let config = cluster.config();
    for name in crate::cluster::NAMES {
        cluster.restart(name).await;
    }
    let master = async {
        loop {
            for name in crate::cluster::NAMES {
                let status = cluster.describe(name).await;
                if status.serving {
                    return (name, status.store_id.parse::<StoreId>().unwrap());
                }
            }
        }
    };
    let (name, store) = tokio::time::timeout(SOON, master).await.expect("a master");
    assert!(config.in_sync.contains_key(&store), "{config:?}");
    cluster.in_sync(name, 2).await;
    let client = cluster.client(name).await;
    send_all(&client, 5..10).await;
    assert_eq!(crate::cluster::take_all(&client, 10).await, crate::cluster::expected(10));
}
