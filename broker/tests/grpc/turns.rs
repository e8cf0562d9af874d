//! A long poll through a slave is one to its client, in however many turns the slave asks the master for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rq_core::config::Member;
use rq_proto::rocketmq::Code;
use rq_proto::rocketmq::receive_message_response::Content;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Notify;

use crate::cluster::{Cluster, send_all};
use crate::filters::sql;
use crate::harness::{Client, SOON, collect};
use crate::relay::relay;

/// Longer than a turn.
const WAIT: Duration = Duration::from_secs(7);
/// A topic of which nothing comes.
const IN_VAIN: &str = "asked-for-in-vain";

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_a_later_turn_arrives_also_through_a_filter() {
    let cluster = Cluster::start().await;
    let master = cluster.client("r0").await;
    send_all(&master, 0..1).await;
    let slave = cluster.client("r1").await;
    assert_eq!(slave.receive("all", "t").await.messages.len(), 1);
    let wishes = [
        Client::wish("all", "t", WAIT),
        sql("some", "t", "a IS NULL AND TAGS = 'no'", WAIT),
        sql("others", "t", "TAGS IS NULL", WAIT),
    ];
    let [all, none, others] = wishes.map(|wish| {
        let slave = slave.clone();
        let began = Instant::now();
        tokio::spawn(async move { (slave.receive_as(wish).await, began.elapsed()) })
    });
    assert_eq!(others.await.unwrap().0.messages.len(), 1, "what was there");
    // That a turn ends can only be seen by waiting.
    tokio::time::sleep(Duration::from_millis(3_300)).await;
    send_all(&master, 1..2).await;
    let (all, waited) = all.await.unwrap();
    assert_eq!(all.bodies(), ["body"]);
    assert!(waited < WAIT, "{waited:?}");
    let (none, waited) = none.await.unwrap();
    assert_eq!((none.status.code(), none.messages.len()), (Code::MessageNotFound, 0));
    assert!(waited >= WAIT, "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_with_a_deadline_ends_before_it() {
    let cluster = Cluster::start().await;
    send_all(&cluster.client("r0").await, 0..1).await;
    let client = cluster.client("r1").await;
    let timeout = Duration::from_secs(5);
    let mut request = client.request(Client::wish("g", "nothing-in-it", timeout));
    request.set_timeout(timeout);
    let began = Instant::now();
    let frames = client.rpc.clone().receive_message(request).await.unwrap().into_inner();
    assert_eq!(collect(frames).await.status.code(), Code::MessageNotFound);
    assert!(began.elapsed() > Duration::from_millis(3_500), "{:?}", began.elapsed());
}

/// The master does not answer, and a slave that stops waits for it no longer than it takes to notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_is_told_to_stop_lets_a_poll_go_that_the_master_does_not_answer() {
    let mut cluster = Cluster::start().await;
    send_all(&cluster.client("r0").await, 0..1).await;
    let asked = Arc::new(Notify::new());
    let silence = relay({
        let asked = Arc::clone(&asked);
        move |mut client, _| {
            let asked = Arc::clone(&asked);
            async move {
                let mut bytes = vec![0; 64 << 10];
                loop {
                    let read = client.read(&mut bytes).await?;
                    if bytes[..read].windows(IN_VAIN.len()).any(|window| window == IN_VAIN.as_bytes()) {
                        asked.notify_one();
                    }
                    if read == 0 {
                        return Ok(());
                    }
                }
            }
        }
    });
    let address = silence.await.to_string();
    cluster.register("r0", Member { address, ..cluster.member("r0") }).await;
    let knows = async { while cluster.describe("r1").await.config_version != cluster.config().version {} };
    tokio::time::timeout(SOON, knows).await.expect("the slave knows the other address");
    let client = cluster.client("r1").await;
    let waiting = tokio::spawn(async move {
        let mut frames = client.open(Client::wish("g", IN_VAIN, Duration::from_secs(19))).await;
        frames.message().await.unwrap().unwrap().content
    });
    tokio::time::timeout(SOON, asked.notified()).await.expect("the slave asks");
    let began = Instant::now();
    cluster.stop("r1").await;
    let Some(Content::Status(status)) = waiting.await.unwrap() else { panic!("no status") };
    assert!([Code::HaNotAvailable, Code::MessageNotFound].contains(&status.code()), "{status:?}");
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for {:?}", began.elapsed());
}
