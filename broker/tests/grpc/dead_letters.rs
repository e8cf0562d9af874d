//! Dead letters as the Admin service lists them.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use rq_broker::config::units::Size;
use rq_proto::reliablequeue::ListDeadLettersRequest;
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::rocketmq::Code;

use crate::harness::{Broker, Client, message};

/// Until the log is longer than what of it is kept in memory.
async fn push_out_of_memory(client: &Client) {
    for n in 0..8 {
        client.send_ok(vec![message("others", &format!("other-{n}"), vec![b'o'; 512 << 10])]).await;
    }
}

#[tokio::test]
async fn a_damaged_dead_letter_is_counted_and_hides_no_other() {
    let broker = Broker::start_with(|config| {
        config.auto_create = true;
        config.limits.tail_cache = Size::mib(1);
    })
    .await;
    let client = broker.client("c").await;
    for body in ["first", "to be damaged", "last"] {
        client.send_ok(vec![message("t", body, body)]).await;
        let received = client.receive_as(Client::wish("g", "t", Duration::from_secs(5))).await;
        assert_eq!(client.dead_letter("g", "t", &received.handle(0)).await, Code::Ok);
    }
    push_out_of_memory(&client).await;
    let bytes = std::fs::read(broker.first_segment()).unwrap();
    let body = b"to be damaged";
    for (at, _) in bytes.windows(body.len()).enumerate().filter(|(_, window)| window == body) {
        let segment = std::fs::File::options().write(true).open(broker.first_segment()).unwrap();
        segment.write_all_at(b"T", at as u64).unwrap();
    }

    let mut admin = AdminClient::new(broker.channel().await);
    let request = ListDeadLettersRequest { group: "g".into(), ..Default::default() };
    let page = admin.list_dead_letters(request).await.unwrap().into_inner();
    let bodies: Vec<_> = page.dead_letters.iter().map(|letter| letter.body.as_slice()).collect();
    assert_eq!(bodies, [b"first".as_slice(), b"last"]);
    assert_eq!((page.damaged.len(), page.next_offset), (1, 0));
    assert!(page.damaged[0].reason.contains("damaged"), "{:?}", page.damaged[0]);
}
