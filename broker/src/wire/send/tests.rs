//! One row for each rule of the validation table of `SendMessage`, and what a good message becomes.

use bytes::Bytes;
use rq_proto::rocketmq::{Code, Digest, DigestType, Resource};

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const LIMITS: MessageLimits =
    MessageLimits { body_bytes: 4_194_304, properties: 128, properties_bytes: 16_384, delay_ms: 86_400_000 };

fn sender() -> Sender<'static> {
    Sender { client_id: "client", remote: Some("10.0.0.7:1234".parse().unwrap()), now_ms: NOW_MS }
}

fn message() -> Message {
    Message {
        topic: Some(Resource { resource_namespace: String::new(), name: "orders".into() }),
        system_properties: Some(SystemProperties { message_id: "01AB".into(), ..Default::default() }),
        body: Bytes::from_static(b"body"),
        ..Default::default()
    }
}

fn code(change: impl FnOnce(&mut Message, &mut SystemProperties)) -> Code {
    let mut message = message();
    let mut system = message.system_properties.take().unwrap();
    change(&mut message, &mut system);
    message.system_properties = Some(system);
    match send(&SendMessageRequest { messages: vec![message] }, sender(), &LIMITS) {
        Ok(_) => Code::Ok,
        Err(invalid) => {
            assert!(!invalid.to_string().is_empty());
            invalid.code()
        }
    }
}

fn in_ms(ms: i64) -> prost_types::Timestamp {
    time::timestamp(NOW_MS + ms)
}

fn put(message: &mut Message, key: impl Into<String>, value: impl Into<String>) {
    message.user_properties.insert(key.into(), value.into());
}

type Change = Box<dyn FnOnce(&mut Message, &mut SystemProperties)>;

fn row(expected: Code, change: impl FnOnce(&mut Message, &mut SystemProperties) + 'static) -> (Code, Change) {
    (expected, Box::new(change))
}

#[test]
fn each_rule_for_bodies_and_properties_has_its_code() {
    let rows = [
        row(Code::Ok, |_, _| ()),
        row(Code::IllegalTopic, |m, _| m.topic = None),
        row(Code::IllegalTopic, |m, _| m.topic.as_mut().unwrap().name = "a b".into()),
        row(Code::IllegalTopic, |m, _| m.topic.as_mut().unwrap().name = "TBW102".into()),
        row(Code::IllegalTopic, |m, _| m.topic.as_mut().unwrap().name = "%DLQ%g".into()),
        row(Code::MessageBodyEmpty, |m, _| m.body = Bytes::new()),
        row(Code::Ok, |m, _| m.body = vec![0; 4_194_304].into()),
        row(Code::MessageBodyTooLarge, |m, _| m.body = vec![0; 4_194_305].into()),
        row(Code::MessageCorrupted, |_, s| {
            s.body_digest = Some(Digest { r#type: DigestType::Crc32.into(), checksum: "1".into() });
        }),
        row(Code::Ok, |m, _| m.user_properties = (0..128).map(|n| (n.to_string(), String::new())).collect()),
        row(Code::MessagePropertiesTooLarge, |m, _| {
            m.user_properties = (0..129).map(|n| (n.to_string(), String::new())).collect();
        }),
        row(Code::Ok, |m, _| put(m, "k", "v".repeat(16_383))),
        row(Code::MessagePropertiesTooLarge, |m, _| put(m, "k", "v".repeat(16_384))),
        row(Code::MessagePropertiesTooLarge, |m, s| {
            m.user_properties.insert("k".into(), "v".repeat(16_383));
            s.tag = Some("t".into());
        }),
        row(Code::MessagePropertiesTooLarge, |_, s| s.trace_context = Some("t".repeat(4_097))),
        row(Code::IllegalMessagePropertyKey, |m, _| put(m, "KEYS", "v")),
        row(Code::IllegalMessagePropertyKey, |m, _| put(m, "a\u{7}", "v")),
        row(Code::IllegalMessagePropertyKey, |m, _| put(m, "a", "v\n")),
        row(Code::IllegalMessagePropertyKey, |m, _| put(m, "", "v")),
    ];
    for (at, (expected, change)) in rows.into_iter().enumerate() {
        assert_eq!(code(change), expected, "row {at}");
    }
}

#[test]
fn each_rule_for_system_properties_has_its_code() {
    let rows = [
        row(Code::IllegalMessageTag, |_, s| s.tag = Some(String::new())),
        row(Code::IllegalMessageTag, |_, s| s.tag = Some("a|b".into())),
        row(Code::IllegalMessageTag, |_, s| s.tag = Some("a\t".into())),
        row(Code::Ok, |_, s| s.tag = Some("ünïcode tag".into())),
        row(Code::IllegalMessageKey, |_, s| s.keys = vec!["k".into(), " ".into()]),
        row(Code::IllegalMessageKey, |_, s| s.keys = vec!["k\u{1}".into()]),
        row(Code::IllegalMessageKey, |_, s| s.keys = vec!["a b".into()]),
        row(Code::IllegalMessageId, |_, s| s.message_id = " ".into()),
        row(Code::IllegalMessageId, |_, s| s.message_id = "i".repeat(256)),
        row(Code::IllegalMessageId, |_, s| s.message_id = "\u{1b}[2J".into()),
        row(Code::IllegalMessageGroup, |_, s| s.message_group = Some(String::new())),
        row(Code::Ok, |_, s| s.message_group = Some("g".repeat(63))),
        row(Code::IllegalMessageGroup, |_, s| s.message_group = Some("g".repeat(64))),
        row(Code::IllegalMessageGroup, |_, s| s.message_group = Some("g\n".into())),
        row(Code::IllegalDeliveryTime, |_, s| s.delivery_timestamp = Some(in_ms(86_400_001))),
        row(Code::BadRequest, |_, s| {
            s.orphaned_transaction_recovery_duration = Some(time::duration(3_600_001));
        }),
        row(Code::IllegalLiteTopic, |_, s| s.lite_topic = Some("a b".into())),
        row(Code::IllegalLiteTopic, |_, s| s.lite_topic = Some("l".repeat(65))),
        row(Code::BadRequest, |_, s| s.priority = Some(-1)),
    ];
    for (at, (expected, change)) in rows.into_iter().enumerate() {
        assert_eq!(code(change), expected, "row {at}");
    }
}

#[test]
fn the_type_follows_from_the_properties_and_a_label_must_agree() {
    let rows = [
        row(Code::Ok, |_, s| s.set_message_type(MessageType::Normal)),
        row(Code::Ok, |_, s| s.message_type = 99),
        row(Code::MessagePropertyConflictWithType, |_, s| s.set_message_type(MessageType::Fifo)),
        row(Code::MessagePropertyConflictWithType, |_, s| {
            s.set_message_type(MessageType::Normal);
            s.message_group = Some("g".into());
        }),
        row(Code::MessagePropertyConflictWithType, |_, s| s.set_message_type(MessageType::Delay)),
        row(Code::Ok, |_, s| s.delivery_timestamp = Some(in_ms(1_000))),
        row(Code::Ok, |_, s| s.delivery_timestamp = Some(in_ms(-1_000))),
        row(Code::Ok, |_, s| s.set_message_type(MessageType::Transaction)),
        row(Code::MessagePropertyConflictWithType, |_, s| {
            s.set_message_type(MessageType::Transaction);
            s.delivery_timestamp = Some(in_ms(1_000));
        }),
        row(Code::NotImplemented, |_, s| s.lite_topic = Some("lite".into())),
        row(Code::NotImplemented, |_, s| s.priority = Some(1)),
    ];
    for (at, (expected, change)) in rows.into_iter().enumerate() {
        assert_eq!(code(change), expected, "row {at}");
    }
}

#[test]
fn a_request_without_messages_or_of_two_topics_is_refused() {
    let none = send(&SendMessageRequest { messages: vec![] }, sender(), &LIMITS);
    assert_eq!(none.unwrap_err().code(), Code::MessageCorrupted);
    let mut other = message();
    other.topic.as_mut().unwrap().name = "other".into();
    let mixed = send(&SendMessageRequest { messages: vec![message(), other] }, sender(), &LIMITS);
    assert_eq!(mixed.unwrap_err(), Invalid::MixedTopics);
}

#[test]
fn a_request_with_messages_of_two_types_is_refused_before_it_decides_the_type_of_a_topic() {
    let mut ordered = message();
    ordered.system_properties.as_mut().unwrap().message_group = Some("g".into());
    for messages in [vec![message(), ordered.clone()], vec![ordered.clone(), message()]] {
        let mixed = send(&SendMessageRequest { messages }, sender(), &LIMITS).unwrap_err();
        assert_eq!((&mixed, mixed.code()), (&Invalid::MixedTypes, Code::MessagePropertyConflictWithType));
    }
    assert!(
        send(&SendMessageRequest { messages: vec![ordered.clone(), ordered] }, sender(), &LIMITS).is_ok()
    );
}

#[test]
fn a_good_message_is_stored_with_all_its_properties() {
    let mut sent = message();
    sent.user_properties.insert("b".into(), "2".into());
    sent.user_properties.insert("a".into(), "1".into());
    let system = sent.system_properties.as_mut().unwrap();
    system.tag = Some("TagA".into());
    system.keys = vec!["k1".into(), "k2".into()];
    system.message_group = Some("g".into());
    system.body_encoding = Encoding::Gzip.into();
    let send = send(&SendMessageRequest { messages: vec![sent] }, sender(), &LIMITS).unwrap();
    let stored = &send.messages[0];
    assert_eq!(stored.kind, TopicKind::Fifo);
    assert_eq!((stored.tag, stored.lane), (hash::tag("TagA"), hash::lane("g")));
    let content = MessageContent::decode(&stored.content).unwrap();
    assert_eq!(content.message_id, "01AB");
    assert_eq!(content.properties, [("a", "1"), ("b", "2")]);
    assert_eq!(content.keys, ["k1", "k2"]);
    assert_eq!(content.born_ms, NOW_MS);
    assert_eq!(content.born_host, "10.0.0.7");
    assert_eq!(content.encoding, BodyEncoding::Gzip);
    assert_eq!(content.body, "body");
}

#[test]
fn only_the_same_client_id_and_body_make_a_retry() {
    let key = |client_id, id: &str, body: &'static [u8]| {
        let mut message = message();
        message.system_properties.as_mut().unwrap().message_id = id.into();
        message.body = Bytes::from_static(body);
        let sender = Sender { client_id, ..sender() };
        send(&SendMessageRequest { messages: vec![message] }, sender, &LIMITS).unwrap().messages[0].key
    };
    assert_eq!(key("c", "id", b"x"), key("c", "id", b"x"));
    assert_ne!(key("c", "id", b"x"), key("d", "id", b"x"));
    assert_ne!(key("c", "id", b"x"), key("c", "ie", b"x"));
    assert_ne!(key("c", "id", b"x"), key("c", "id", b"y"));
}

#[test]
fn fuzzed_sends_are_refused_or_become_messages_that_read_back() {
    use prost::Message as _;
    use rq_core::message::MessageContent;
    let mut rich = message();
    put(&mut rich, "colour", "red");
    let system = rich.system_properties.as_mut().unwrap();
    (system.tag, system.message_group) = (Some("TagA".into()), Some("order-7".into()));
    system.keys = vec!["k1".into(), "k2".into()];
    let mut delayed = message();
    delayed.system_properties.as_mut().unwrap().delivery_timestamp = Some(in_ms(1_000));
    let seeds = [vec![message()], vec![rich], vec![delayed], vec![message(), message()]];
    rq_fuzz::fuzz(seeds.map(|messages| SendMessageRequest { messages }.encode_to_vec()), |input| {
        let request = SendMessageRequest::decode(input).map_err(|error| error.to_string())?;
        let sent = send(&request, sender(), &LIMITS).map_err(|invalid| format!("{:?}", invalid.code()))?;
        for message in &sent.messages {
            MessageContent::decode(&message.content).expect("what was just encoded");
        }
        Ok::<_, String>((sent.messages.len(), sent.messages[0].kind))
    });
}

#[test]
fn a_recovery_duration_below_zero_is_said_as_it_was_given() {
    let mut message = message();
    let system = message.system_properties.as_mut().unwrap();
    system.orphaned_transaction_recovery_duration = Some(prost_types::Duration { seconds: -5, nanos: 0 });
    let refused = send(&SendMessageRequest { messages: vec![message] }, sender(), &LIMITS).unwrap_err();
    assert!(refused.to_string().contains("is -5000 ms"), "{refused}");
}
