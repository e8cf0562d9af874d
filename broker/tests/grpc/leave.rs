//! A replica that is told to stop is waited for by nobody: it has left the in-sync set before it is gone.

use std::time::{Duration, Instant};

use rq_core::ids::StoreId;

use crate::cluster::{Cluster, send_all};
use crate::harness::{Client, SOON, collect};

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

/// What the master would answer at the end of its time is not waited for by a gateway that stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_is_told_to_stop_lets_the_polls_go_that_the_master_has() {
    let mut cluster = Cluster::start().await;
    send_all(&cluster.client("r0").await, 0..1).await;
    let client = cluster.client("r1").await;
    let mut frames = client.open(Client::wish("g", "nothing-in-it", Duration::from_secs(19))).await;
    let waiting = tokio::spawn(async move { frames.message().await });
    let began = Instant::now();
    cluster.stop("r1").await;
    let cut = waiting.await.unwrap().unwrap_err();
    assert_eq!(cut.code(), tonic::Code::Unavailable, "{cut}");
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
    let waiting = polls.open(Client::wish("g", "t", Duration::from_secs(19))).await;
    let stopped = tokio::spawn(cluster.stopping("r1"));
    let left = async { while !only_member_in_sync(&cluster, "r0").await {} };
    tokio::time::timeout(SOON, left).await.expect("the slave leaves the set");
    // That the poll is not cut off now can only be seen by waiting.
    tokio::time::sleep(Duration::from_millis(300)).await;
    send_all(&master, 1..2).await;
    assert_eq!(collect(waiting).await.bodies(), ["body"]);
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
