//! Start, health and the graceful stop.

use std::time::{Duration, Instant};

use rq_proto::rocketmq::Code;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::filters::sql;
use crate::harness::{Broker, Client, SOON, collect, message};
use crate::telemetry::{Telemetry, producer};

pub(crate) async fn get(broker: &Broker, path: &str) -> String {
    let mut stream = TcpStream::connect(broker.http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: broker\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn ready(broker: &Broker) {
    let until = Instant::now() + SOON;
    while !get(broker, "/readyz").await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < until, "never ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let broker = Broker::start().await;
    for page in ["/livez", "/healthz", "/startupz"] {
        assert!(get(&broker, page).await.starts_with("HTTP/1.1 200"), "{page}");
    }
    ready(&broker).await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "12345")]).await;
    let metrics = get(&broker, "/metrics").await;
    for line in
        ["rq_messages_in_total 1", "rq_throughput_in_bytes_total 5", "rq_connections 1", "rq_clients 1"]
    {
        assert!(metrics.lines().any(|have| have == line), "{line} in {metrics}");
    }
    assert!(metrics.contains(r#"rq_rpc_total{rpc="SendMessage",code="OK"} 1"#), "{metrics}");

    let service = "apache.rocketmq.v2.MessagingService".to_owned();
    let mut health = HealthClient::new(broker.channel().await);
    let checked = health.check(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(checked.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn a_graceful_stop_answers_open_polls_and_ends() {
    let mut broker = Broker::start().await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("other", "1", "x")]).await;
    let plain = Client::wish("g", "t", Duration::from_secs(19));
    let by_sql = sql("g", "t", "a = 1", Duration::from_secs(19));
    let (plain, by_sql) = (client.open(plain).await, client.open(by_sql).await);
    let started = Instant::now();
    broker.tell_to_stop();
    for frames in [plain, by_sql] {
        assert_eq!(collect(frames).await.status.code(), Code::MessageNotFound);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "the poll did not run to its end");
    broker.stopped().await;
}

#[tokio::test]
async fn a_graceful_stop_ends_telemetry_streams_without_an_error() {
    let mut broker = Broker::start().await;
    let mut stream = Telemetry::open(&broker.client("c").await).await;
    stream.settings(producer()).await;
    broker.tell_to_stop();
    assert_eq!(stream.hear().await.unwrap(), None);
    broker.stopped().await;
}

#[tokio::test]
async fn a_half_sent_http_request_does_not_hold_up_the_stop() {
    let mut broker = Broker::start().await;
    ready(&broker).await;
    let mut half_open = TcpStream::connect(broker.http).await.unwrap();
    half_open.write_all(b"GET /metrics HTTP/1.1\r\nhost: bro").await.unwrap();
    let started = Instant::now();
    broker.tell_to_stop();
    broker.stopped().await;
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
    drop(half_open);
}

#[tokio::test]
async fn connections_over_the_limit_are_closed() {
    let broker = Broker::start_with(|config| {
        config.auto_create = true;
        config.limits.max_connections = 1;
    })
    .await;
    ready(&broker).await;
    let client = broker.client("c").await;
    client.send_ok(vec![message("t", "1", "x")]).await;
    let mut refused = TcpStream::connect(broker.address).await.unwrap();
    let read = tokio::time::timeout(SOON, refused.read(&mut [0; 64])).await.expect("closed in time");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    client.send_ok(vec![message("t", "2", "y")]).await;
}
