//! Positions of groups, set to a time by the Admin service.

use rq_proto::reliablequeue as admin;
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::reliablequeue::reset_offset_request::To;

use crate::harness::{Broker, message, system};

#[tokio::test]
async fn a_time_finds_the_first_message_since_then_in_a_long_queue() {
    let broker = Broker::start_with(|config| {
        config.auto_create = true;
        config.limits.default_queues = 1;
    })
    .await;
    let client = broker.client("c").await;
    let mut times = Vec::new();
    for batch in 0..40 {
        client.send_ok((0..50).map(|n| message("t", &format!("{batch}-{n}"), "x")).collect()).await;
    }
    loop {
        let received = client.receive_now("reader", "t").await;
        if received.messages.is_empty() {
            break;
        }
        for message in &received.messages {
            let stored = system(message).store_timestamp.unwrap();
            let ms = stored.seconds * 1_000 + i64::from(stored.nanos) / 1_000_000;
            times.push((system(message).queue_offset.unwrap(), ms));
        }
    }
    times.sort_unstable();
    assert_eq!(times.len(), 2_000);
    let mut client = AdminClient::new(broker.channel().await);
    let wanted = times.iter().step_by(97).flat_map(|(_, ms)| [*ms, ms + 1]).chain([0, i64::MAX]);
    for ms in wanted {
        let request = admin::ResetOffsetRequest {
            group: "reader".into(),
            topic: "t".into(),
            to: Some(To::TimeMs(ms)),
            dry_run: true,
        };
        let queues = client.reset_offset(request).await.unwrap().into_inner().queues;
        let first = times.iter().find(|(_, stored)| *stored >= ms).map_or(2_000, |(offset, _)| *offset);
        assert_eq!((queues.len(), queues[0].after, queues[0].before), (1, first, Some(2_000)), "since {ms}");
    }
}
