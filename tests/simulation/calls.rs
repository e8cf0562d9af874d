//! The requests of the simulated clients.

use std::sync::Arc;

use bytes::Bytes;
use rq_core::hash;
use rq_core::ids::{ClientHash, ConnectionId, Lane, LogTime, Nonce, TagHash};
use rq_core::queue::request::{CreateGroup, CreateTopic, Filter, NewMessage, Receive, Request, Send};
use rq_core::queue::settings::{GroupSettings, TopicKind, TopicSettings};

/// Name and kind of each topic.
pub(crate) const TOPICS: [(&str, TopicKind); 3] =
    [("orders", TopicKind::Fifo), ("payments", TopicKind::Transaction), ("reminders", TopicKind::Delay)];
pub(crate) const GROUP: &str = "billing";
/// The lease of a delivery, in ms.
pub(crate) const INVISIBLE_MS: u64 = 1_500;
/// Length of a message, in bytes: so long that the log goes through segments.
const SHORTEST: u32 = 500;
const LONGEST: u32 = 6_000;
/// What follows the id in a message.
pub(crate) const FILLING: u8 = b' ';

/// What has to be made first, one after the other.
pub(crate) fn setup(step: usize) -> Option<Request> {
    if let Some((name, kind)) = TOPICS.get(step) {
        let settings = TopicSettings { kind: *kind, queues: 4 };
        return Some(Request::CreateTopic(CreateTopic { name: Arc::from(*name), settings }));
    }
    let settings = GroupSettings { ordered: true, max_attempts: 1_000, ..GroupSettings::default() };
    (step == TOPICS.len()).then(|| Request::CreateGroup(CreateGroup { name: GROUP.into(), settings }))
}

/// A message, which is due then in a topic of delayed ones.
pub(crate) fn send(client: usize, topic: usize, id: &str, due: LogTime) -> Request {
    let (topic, kind) = TOPICS[topic];
    let ordered = kind == TopicKind::Fifo;
    let message = NewMessage {
        kind,
        key: hash::send_key(&format!("client-{client}"), id, hash::crc32c(id.as_bytes())),
        tag: TagHash(0),
        lane: if ordered { hash::lane(&format!("group-{client}")) } else { Lane(0) },
        deliver_at: if kind == TopicKind::Delay { due } else { LogTime(0) },
        recover_after_ms: None,
        content: content(id),
    };
    Request::Send(Send { topic: Arc::from(topic), messages: vec![message] })
}

fn content(id: &str) -> Bytes {
    let len = SHORTEST + hash::crc32c(id.as_bytes()) % (LONGEST - SHORTEST);
    let mut content = id.as_bytes().to_vec();
    content.resize(len as usize, FILLING);
    content.into()
}

pub(crate) fn receive(client: usize, topic: usize, nonce: u64) -> Request {
    Request::Receive(Receive {
        group: Arc::from(GROUP),
        topic: Arc::from(TOPICS[topic].0),
        filter: Filter::All,
        batch: 2,
        invisible_ms: INVISIBLE_MS,
        auto_renew: false,
        attempt: None,
        client: ClientHash(client as u64),
        connection: ConnectionId(client as u64),
        nonce: Nonce(nonce),
        wait_ms: 200,
    })
}
