//! A client's messages on their way in: every check of `SendMessage`, and the conversion to what is stored.
//! The body is copied once, into the encoded content.

use std::net::SocketAddr;

use rq_core::hash;
use rq_core::ids::{Lane, LogTime, TagHash};
use rq_core::message::{BodyEncoding, MessageContent};
use rq_core::queue::request::{NewMessage, Send};
use rq_core::queue::settings::TopicKind;
use rq_proto::rocketmq::{Encoding, Message, MessageType, SendMessageRequest, SystemProperties};

use super::invalid::Invalid;
use super::names::{self, shortened};
use super::{digest, reserved, time};

/// Longest message id, in bytes. The official clients make 34 characters.
pub const MESSAGE_ID_BYTES_MAX: usize = 255;
/// Longest message group, in bytes.
pub const MESSAGE_GROUP_BYTES_MAX: usize = 63;
/// Longest trace context and born host, in bytes each.
pub const SYSTEM_PROPERTY_BYTES_MAX: usize = 4096;
/// Longest lite topic, in bytes.
pub const LITE_TOPIC_BYTES_MAX: usize = 64;
/// Longest recovery duration of an orphaned transaction.
pub const RECOVERY_MS_MAX: u64 = 3_600_000;

/// Limits of a message that can be configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageLimits {
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Most user properties.
    pub properties: usize,
    /// Most bytes of user properties, tag and keys together.
    pub properties_bytes: usize,
    /// Longest delay, in milliseconds.
    pub delay_ms: u64,
}

/// Who sends, and when.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The client's id.
    pub client_id: &'a str,
    /// Where it connects from: the born host where the client gave none.
    pub remote: Option<SocketAddr>,
    /// Wall clock, in milliseconds since 1970.
    pub now_ms: i64,
}

/// Checks the messages of a send and converts them. The first fault refuses them all.
pub fn send(
    request: &SendMessageRequest,
    sender: Sender<'_>,
    limits: &MessageLimits,
) -> Result<Send, Invalid> {
    let first = request.messages.first().ok_or(Invalid::NoMessages)?;
    if request.messages.iter().any(|message| message.topic != first.topic) {
        return Err(Invalid::MixedTopics);
    }
    let topic = names::topic_to_send_to(first.topic.as_ref())?;
    let messages = request
        .messages
        .iter()
        .map(|message| convert(message, sender, limits))
        .collect::<Result<Vec<NewMessage>, _>>()?;
    // Refused here, or the first would decide the type of a topic that has none yet, for nothing.
    if messages.windows(2).any(|pair| pair[0].kind != pair[1].kind) {
        return Err(Invalid::MixedTypes);
    }
    Ok(Send { topic, messages })
}

fn convert(message: &Message, sender: Sender<'_>, limits: &MessageLimits) -> Result<NewMessage, Invalid> {
    static NO_PROPERTIES: SystemProperties = no_properties();
    let system = message.system_properties.as_ref().unwrap_or(&NO_PROPERTIES);
    check_body(message, system, limits)?;
    check_properties(message, system, limits)?;
    check_system(system)?;
    check_times(system, sender.now_ms, limits)?;
    let kind = kind(system)?;

    let remote;
    let born_host = if system.born_host.is_empty() {
        remote = sender.remote.map(|address| address.ip().to_string()).unwrap_or_default();
        remote.as_str()
    } else {
        &system.born_host
    };
    let content = MessageContent {
        message_id: &system.message_id,
        tag: system.tag.as_deref(),
        keys: system.keys.iter().map(String::as_str).collect(),
        message_group: system.message_group.as_deref(),
        trace_context: system.trace_context.as_deref(),
        born_ms: system.born_timestamp.as_ref().map_or(sender.now_ms, time::timestamp_millis),
        born_host,
        encoding: match system.body_encoding() {
            Encoding::Gzip => BodyEncoding::Gzip,
            Encoding::Identity | Encoding::Unspecified => BodyEncoding::Identity,
        },
        properties: message
            .user_properties
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect(),
        body: message.body.clone(),
    };
    Ok(NewMessage {
        kind,
        key: hash::send_key(sender.client_id, &system.message_id, hash::crc32c(&message.body)),
        tag: system.tag.as_deref().map_or(TagHash(0), hash::tag),
        lane: system.message_group.as_deref().map_or(Lane(0), hash::lane),
        deliver_at: if kind == TopicKind::Delay { deliver_at(system) } else { LogTime(0) },
        recover_after_ms: system
            .orphaned_transaction_recovery_duration
            .as_ref()
            .map(|after| time::millis(after).max(0).cast_unsigned()),
        content: content.encode(),
    })
}

const fn no_properties() -> SystemProperties {
    SystemProperties {
        tag: None,
        keys: Vec::new(),
        message_id: String::new(),
        body_digest: None,
        body_encoding: 0,
        message_type: 0,
        born_timestamp: None,
        born_host: String::new(),
        store_timestamp: None,
        store_host: String::new(),
        delivery_timestamp: None,
        receipt_handle: None,
        queue_id: 0,
        queue_offset: None,
        invisible_duration: None,
        delivery_attempt: None,
        message_group: None,
        trace_context: None,
        orphaned_transaction_recovery_duration: None,
        dead_letter_queue: None,
        lite_topic: None,
        priority: None,
    }
}

fn check_body(message: &Message, system: &SystemProperties, limits: &MessageLimits) -> Result<(), Invalid> {
    let len = message.body.len();
    if len == 0 {
        return Err(Invalid::BodyEmpty);
    }
    if len > limits.body_bytes {
        return Err(Invalid::BodyTooLarge { len, limit: limits.body_bytes });
    }
    digest::check(&message.body, system.body_digest.as_ref())
}

fn check_properties(
    message: &Message,
    system: &SystemProperties,
    limits: &MessageLimits,
) -> Result<(), Invalid> {
    let properties = &message.user_properties;
    if properties.len() > limits.properties {
        return Err(Invalid::TooManyProperties { count: properties.len(), limit: limits.properties });
    }
    let len = properties.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
        + system.keys.iter().map(String::len).sum::<usize>()
        + system.tag.as_ref().map_or(0, String::len);
    if len > limits.properties_bytes {
        return Err(Invalid::PropertiesTooLarge { len, limit: limits.properties_bytes });
    }
    for (key, value) in properties {
        if reserved::is_reserved(key) {
            return Err(Invalid::PropertyReserved { key: shortened(key) });
        }
        if key.trim().is_empty() || has_control(key) || has_control(value) {
            return Err(Invalid::PropertyCharacter { key: shortened(key) });
        }
    }
    Ok(())
}

fn check_system(system: &SystemProperties) -> Result<(), Invalid> {
    if let Some(tag) = &system.tag
        && (tag.trim().is_empty() || tag.contains('|') || has_control(tag))
    {
        return Err(Invalid::Tag { tag: shortened(tag) });
    }
    // Keys are joined by a space elsewhere in RocketMQ: one with a space would come apart.
    if let Some(key) =
        system.keys.iter().find(|key| key.is_empty() || key.contains(char::is_whitespace) || has_control(key))
    {
        return Err(Invalid::Key { key: shortened(key) });
    }
    let id = &system.message_id;
    if id.trim().is_empty() || id.len() > MESSAGE_ID_BYTES_MAX || has_control(id) {
        return Err(Invalid::MessageId { id: shortened(id), limit: MESSAGE_ID_BYTES_MAX });
    }
    if let Some(group) = &system.message_group
        && (group.trim().is_empty() || group.len() > MESSAGE_GROUP_BYTES_MAX || has_control(group))
    {
        return Err(Invalid::MessageGroup { group: shortened(group), limit: MESSAGE_GROUP_BYTES_MAX });
    }
    let trace_context = system.trace_context.as_deref().unwrap_or_default();
    for (name, value) in [("trace_context", trace_context), ("born_host", &system.born_host)] {
        if value.len() > SYSTEM_PROPERTY_BYTES_MAX {
            let limit = SYSTEM_PROPERTY_BYTES_MAX;
            return Err(Invalid::SystemPropertyTooLarge { name, len: value.len(), limit });
        }
    }
    Ok(())
}

fn check_times(system: &SystemProperties, now_ms: i64, limits: &MessageLimits) -> Result<(), Invalid> {
    if let Some(at) = &system.delivery_timestamp {
        let ahead_ms = time::timestamp_millis(at).saturating_sub(now_ms).max(0).cast_unsigned();
        if ahead_ms > limits.delay_ms {
            return Err(Invalid::DeliveryTime { ahead_ms, limit_ms: limits.delay_ms });
        }
    }
    if let Some(duration) = &system.orphaned_transaction_recovery_duration {
        let ms = time::millis(duration);
        if ms < 0 || ms.unsigned_abs() > RECOVERY_MS_MAX {
            return Err(Invalid::RecoveryDuration { ms, limit_ms: RECOVERY_MS_MAX });
        }
    }
    Ok(())
}

/// What kind of topic the message needs: by its properties, as RocketMQ does. A label that says otherwise is
/// refused, so that a message without a message group never passes for a FIFO one.
fn kind(system: &SystemProperties) -> Result<TopicKind, Invalid> {
    let stated = MessageType::try_from(system.message_type).unwrap_or(MessageType::Unspecified);
    refuse_newer(system, stated)?;
    let (kind, actual) = if stated == MessageType::Transaction && system.delivery_timestamp.is_none() {
        (TopicKind::Transaction, MessageType::Transaction)
    } else if system.delivery_timestamp.is_some() {
        (TopicKind::Delay, MessageType::Delay)
    } else if system.message_group.is_some() {
        (TopicKind::Fifo, MessageType::Fifo)
    } else {
        (TopicKind::Normal, MessageType::Normal)
    };
    if stated != MessageType::Unspecified && stated != actual {
        return Err(Invalid::TypeMismatch { stated: stated.as_str_name(), actual: actual.as_str_name() });
    }
    Ok(kind)
}

/// When a message is to be delivered at the earliest: never a fraction of a millisecond before.
fn deliver_at(system: &SystemProperties) -> LogTime {
    let at = system.delivery_timestamp.as_ref().map_or(0, time::timestamp_millis_up);
    LogTime(at.max(0).cast_unsigned())
}

fn refuse_newer(system: &SystemProperties, stated: MessageType) -> Result<(), Invalid> {
    if let Some(lite_topic) = &system.lite_topic {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if lite_topic.is_empty()
            || lite_topic.len() > LITE_TOPIC_BYTES_MAX
            || !lite_topic.bytes().all(allowed)
        {
            return Err(Invalid::LiteTopic {
                lite_topic: shortened(lite_topic),
                limit: LITE_TOPIC_BYTES_MAX,
            });
        }
    }
    if let Some(priority) = system.priority.filter(|priority| *priority < 0) {
        return Err(Invalid::Priority { priority });
    }
    if stated == MessageType::Lite || system.lite_topic.is_some() {
        return Err(Invalid::NotImplemented {
            what: "lite topics are",
            instead: "send without a lite topic",
        });
    }
    if stated == MessageType::Priority || system.priority.is_some() {
        return Err(Invalid::NotImplemented { what: "priorities are", instead: "send without a priority" });
    }
    Ok(())
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
