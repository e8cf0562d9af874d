//! SQL filters that cost as much as they can: they may take their time, but not that of others.

use std::time::{Duration, Instant};

use crate::filters::{sql, with};
use crate::harness::{Broker, message};

#[tokio::test]
async fn sends_are_answered_while_costly_filters_are_judged() {
    const SENDS: usize = 40;
    let broker = Broker::start().await;
    let client = broker.client("c").await;
    // Each place of the property nearly is one.
    let (property, costly) = ("a".repeat(15 << 10), ["p LIKE '%a_b%'"; 20].join(" OR "));
    for number in 0..150 {
        client.send_ok(vec![with("t", &number.to_string(), &[("p", &property)])]).await;
    }
    let busy: Vec<_> = (0..4)
        .map(|group| {
            let (client, costly) = (client.clone(), costly.clone());
            tokio::spawn(async move {
                let group = format!("g{group}");
                client.receive_as(sql(&group, "t", &costly, Duration::from_secs(8))).await
            })
        })
        .collect();
    let mut took = Vec::new();
    for number in 0..SENDS {
        let began = Instant::now();
        client.send_ok(vec![message("other", &number.to_string(), "o")]).await;
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    took.sort();
    let median = took[SENDS / 2];
    assert!(median < Duration::from_millis(200), "half of the sends took longer than {median:?}");
    for receive in busy {
        assert!(receive.await.unwrap().messages.is_empty(), "there is no b in any of them");
    }
}
