//! A stored message on its way out: the RocketMQ message with every system property that the official clients
//! need. The body is a slice of the log's buffer.

use rq_core::codec::Malformed;
use rq_core::handle;
use rq_core::ids::{QueueId, ShardId};
use rq_core::message::{BodyEncoding, MessageContent};
use rq_core::queue::request::Delivery;
use rq_core::queue::settings::TopicKind;
use rq_core::record::StoredMessage;
use rq_proto::rocketmq::{DeadLetterQueue, Encoding, Message, MessageType, Resource, SystemProperties};

use super::{digest, time};

/// What surrounds a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The shard that the handle is of.
    pub shard: ShardId,
    /// The topic as the client asked for it.
    pub topic: &'a Resource,
    /// The broker's address.
    pub store_host: &'a str,
    /// For a dead letter: the name of the topic that it was sent to; blank where that is deleted.
    pub origin: Option<&'a str>,
}

/// The type of message of a kind of topic.
pub const fn message_type(kind: TopicKind) -> MessageType {
    match kind {
        TopicKind::Normal => MessageType::Normal,
        TopicKind::Fifo => MessageType::Fifo,
        TopicKind::Delay => MessageType::Delay,
        TopicKind::Transaction => MessageType::Transaction,
        TopicKind::Undecided => MessageType::Unspecified,
    }
}

/// The types of message that a topic takes. Clients send no others, so one that is undecided takes all that it may
/// become.
pub fn accepted_types(kind: TopicKind) -> Vec<i32> {
    match kind {
        TopicKind::Undecided => vec![MessageType::Normal.into(), MessageType::Fifo.into()],
        kind => vec![message_type(kind).into()],
    }
}

/// Makes the message for the client. Fails where the stored content is damaged.
pub fn message(
    delivery: &Delivery,
    stored: &StoredMessage,
    context: Context<'_>,
) -> Result<Message, Malformed> {
    let mut message = undelivered(delivery.queue, stored, context)?;
    if let Some(system) = &mut message.system_properties {
        system.receipt_handle = Some(handle::encode(context.shard, &delivery.handle()));
        system.queue_offset = Some(delivery.offset.0.cast_signed());
        system.invisible_duration = Some(time::duration(delivery.invisible_ms));
        system.delivery_attempt = Some(i32::try_from(delivery.attempt).unwrap_or(i32::MAX));
    }
    Ok(message)
}

/// Makes a message as it is shown before anybody can receive it: without what is of a delivery.
pub fn undelivered(
    queue: QueueId,
    stored: &StoredMessage,
    context: Context<'_>,
) -> Result<Message, Malformed> {
    let content = MessageContent::decode(&stored.content)?;
    let text = |value: Option<&str>| value.map(str::to_owned);
    let system = SystemProperties {
        tag: text(content.tag),
        keys: content.keys.iter().map(|key| (*key).to_owned()).collect(),
        message_id: content.message_id.to_owned(),
        body_digest: Some(digest::of_body(&content.body)),
        body_encoding: match content.encoding {
            BodyEncoding::Identity => Encoding::Identity,
            BodyEncoding::Gzip => Encoding::Gzip,
        }
        .into(),
        message_type: message_type(stored.kind).into(),
        born_timestamp: Some(time::timestamp(content.born_ms)),
        born_host: content.born_host.to_owned(),
        store_timestamp: Some(time::timestamp(stored.stored_at.0.cast_signed())),
        store_host: context.store_host.to_owned(),
        delivery_timestamp: (stored.deliver_at.0 > 0)
            .then(|| time::timestamp(stored.deliver_at.0.cast_signed())),
        receipt_handle: None,
        queue_id: i32::from(queue.0),
        queue_offset: None,
        invisible_duration: None,
        delivery_attempt: None,
        message_group: text(content.message_group),
        trace_context: text(content.trace_context),
        orphaned_transaction_recovery_duration: None,
        dead_letter_queue: context.origin.map(|origin| DeadLetterQueue {
            topic: origin.to_owned(),
            message_id: content.message_id.to_owned(),
        }),
        lite_topic: None,
        priority: None,
    };
    let property = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Ok(Message {
        topic: Some(context.topic.clone()),
        user_properties: content.properties.iter().map(property).collect(),
        system_properties: Some(system),
        body: content.body,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rq_core::ids::{LogTime, Lsn, Nonce, Offset, QueueId, TopicId};
    use rq_proto::rocketmq::DigestType;

    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            topic: TopicId(4),
            queue: QueueId(2),
            offset: Offset(9),
            lsn: Lsn(64),
            attempt: 3,
            nonce: Nonce(5),
            invisible_ms: 45_000,
        }
    }

    fn stored() -> StoredMessage {
        let content = MessageContent {
            message_id: "01AB",
            tag: Some("TagA"),
            keys: vec!["k"],
            message_group: Some("g"),
            born_ms: 1_700_000_000_123,
            born_host: "host",
            properties: vec![("a", "1")],
            body: Bytes::from_static(b"abc"),
            ..Default::default()
        };
        StoredMessage {
            topic: TopicId(4),
            queue: QueueId(2),
            kind: TopicKind::Fifo,
            stored_at: LogTime(1_700_000_000_456),
            deliver_at: LogTime(0),
            content: content.encode(),
        }
    }

    #[test]
    fn a_delivered_message_has_what_the_official_clients_demand() {
        let topic = Resource { resource_namespace: "ns".into(), name: "t".into() };
        let context = Context { shard: ShardId(0), topic: &topic, store_host: "1.2.3.4:8081", origin: None };
        let message = message(&delivery(), &stored(), context).unwrap();
        assert_eq!(message.topic, Some(topic));
        assert_eq!(message.body, "abc");
        assert_eq!(message.user_properties.get("a").map(String::as_str), Some("1"));
        let system = message.system_properties.unwrap();
        let digest = system.body_digest.clone().unwrap();
        assert_eq!(
            (digest.r#type(), digest.checksum.as_str()),
            (DigestType::Md5, "900150983CD24FB0D6963F7D28E17F72")
        );
        assert_eq!(system.body_encoding(), Encoding::Identity);
        assert_eq!(system.message_type(), MessageType::Fifo);
        assert_eq!(system.born_timestamp.unwrap(), time::timestamp(1_700_000_000_123));
        assert_eq!(system.store_timestamp.unwrap(), time::timestamp(1_700_000_000_456));
        assert_eq!((system.queue_id, system.queue_offset, system.delivery_attempt), (2, Some(9), Some(3)));
        let handle = handle::decode(ShardId(0), system.receipt_handle.as_deref().unwrap());
        assert_eq!(handle, Ok(delivery().handle()));
        assert_eq!(system.dead_letter_queue, None);
    }

    #[test]
    fn a_dead_letter_names_its_origin_and_damage_is_noticed() {
        let topic = Resource::default();
        let context = Context { shard: ShardId(0), topic: &topic, store_host: "", origin: Some("orders") };
        let letter =
            message(&delivery(), &stored(), context).unwrap().system_properties.unwrap().dead_letter_queue;
        assert_eq!(letter, Some(DeadLetterQueue { topic: "orders".into(), message_id: "01AB".into() }));

        let mut damaged = stored();
        let mut bytes = damaged.content.to_vec();
        bytes[20] ^= 1;
        damaged.content = bytes.into();
        assert!(message(&delivery(), &damaged, context).is_err());
    }
}
