//! Names of topics and consumer groups: the one place with their rules. A namespace is part of the name, joined
//! by `%` as RocketMQ does.

use std::sync::Arc;

use rq_core::queue::request::Name;
pub use rq_core::queue::{DEAD_LETTER_PREFIX, is_dead_letter_topic};
use rq_proto::rocketmq::Resource;

use super::invalid::{Invalid, NameFault};

/// Longest name of a topic, in characters.
pub const TOPIC_CHARS_MAX: usize = 127;
/// Longest name of a dead-letter or retry topic, which carries the name of a group.
pub const DERIVED_TOPIC_CHARS_MAX: usize = 255;
/// Longest name of a consumer group, in characters.
pub const GROUP_CHARS_MAX: usize = 120;
const RETRY_PREFIX: &str = "%RETRY%";

const RESERVED_TOPICS: [&str; 9] = [
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "BenchmarkTest",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRACE_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    "CHECKPOINT_TOPIC",
];
const RESERVED_TOPIC_PREFIX: &str = "rmq_sys_";
const RESERVED_GROUP_PREFIX: &str = "CID_RMQ_SYS_";

/// Checks the whole name of a topic.
pub fn check_topic(name: &str) -> Result<(), Invalid> {
    let derived = is_dead_letter_topic(name) || name.starts_with(RETRY_PREFIX);
    let limit = if derived { DERIVED_TOPIC_CHARS_MAX } else { TOPIC_CHARS_MAX };
    let reserved = RESERVED_TOPICS.contains(&name) || name.starts_with(RESERVED_TOPIC_PREFIX);
    check(name, limit, reserved).map_err(|fault| Invalid::Topic { name: shortened(name), fault })
}

/// Checks the whole name of a consumer group.
pub fn check_group(name: &str) -> Result<(), Invalid> {
    // The dead letters of a group are found by its name, and those topics have other ones' names.
    let reserved = name.starts_with(RESERVED_GROUP_PREFIX) || is_dead_letter_topic(name);
    check(name, GROUP_CHARS_MAX, reserved).map_err(|fault| Invalid::Group { name: shortened(name), fault })
}

/// The checked name of a topic.
pub fn topic(resource: Option<&Resource>) -> Result<Name, Invalid> {
    let (namespace, name) = parts(resource);
    let whole = match name.strip_prefix(DEAD_LETTER_PREFIX) {
        Some(group) if !namespace.is_empty() => format!("{DEAD_LETTER_PREFIX}{namespace}%{group}").into(),
        _ => joined(namespace, name),
    };
    check_topic(&whole)?;
    Ok(whole)
}

/// The checked name of a topic to send to.
pub fn topic_to_send_to(resource: Option<&Resource>) -> Result<Name, Invalid> {
    let name = topic(resource)?;
    if is_dead_letter_topic(&name) {
        return Err(Invalid::DeadLetterTopic { name: name.as_ref().to_owned() });
    }
    Ok(name)
}

/// The checked name of a consumer group. Some clients give the namespace only in the metadata `x-mq-namespace`.
pub fn group(resource: Option<&Resource>, metadata_namespace: &str) -> Result<Name, Invalid> {
    let (namespace, name) = parts(resource);
    let namespace = if namespace.is_empty() { metadata_namespace } else { namespace };
    let whole = if name.trim().is_empty() { joined("", name) } else { joined(namespace, name) };
    check_group(&whole)?;
    Ok(whole)
}

fn parts(resource: Option<&Resource>) -> (&str, &str) {
    resource.map_or(("", ""), |resource| (&resource.resource_namespace, &resource.name))
}

fn joined(namespace: &str, name: &str) -> Name {
    // A blank name stays blank, so that it is refused as such.
    if namespace.is_empty() || name.trim().is_empty() {
        Arc::from(name)
    } else {
        format!("{namespace}%{name}").into()
    }
}

fn check(name: &str, limit: usize, reserved: bool) -> Result<(), NameFault> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-');
    if name.trim().is_empty() {
        Err(NameFault::Blank)
    } else if !name.bytes().all(allowed) {
        Err(NameFault::Character)
    } else if name.len() > limit {
        Err(NameFault::TooLong { limit })
    } else if reserved {
        Err(NameFault::Reserved)
    } else {
        Ok(())
    }
}

/// Foreign text in an error message is cut, so that a huge name does not come back whole.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN_CHARS: usize = 128;
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(namespace: &str, name: &str) -> Resource {
        Resource { resource_namespace: namespace.into(), name: name.into() }
    }

    fn fault(result: Result<Name, Invalid>) -> Option<NameFault> {
        match result {
            Ok(_) => None,
            Err(Invalid::Topic { fault, .. } | Invalid::Group { fault, .. }) => Some(fault),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn each_rule_for_topic_names_holds() {
        let rows = [
            ("a", None),
            ("%RETRY%g_t", None),
            ("A|b_c-9%", None),
            ("", Some(NameFault::Blank)),
            (" ", Some(NameFault::Blank)),
            ("a b", Some(NameFault::Character)),
            ("a.b", Some(NameFault::Character)),
            ("é", Some(NameFault::Character)),
            ("TBW102", Some(NameFault::Reserved)),
            ("rmq_sys_x", Some(NameFault::Reserved)),
        ];
        for (name, expected) in rows {
            assert_eq!(fault(topic(Some(&resource("", name)))), expected, "{name:?}");
        }
        assert_eq!(fault(topic(None)), Some(NameFault::Blank));
        assert_eq!(fault(topic(Some(&resource("", &"a".repeat(127))))), None);
        let limit = TOPIC_CHARS_MAX;
        assert_eq!(fault(topic(Some(&resource("", &"a".repeat(128))))), Some(NameFault::TooLong { limit }));
        assert_eq!(fault(topic(Some(&resource("", &format!("%DLQ%{}", "a".repeat(120)))))), None);
    }

    #[test]
    fn each_rule_for_group_names_holds() {
        let limit = GROUP_CHARS_MAX;
        let rows = [
            ("g".repeat(120), None),
            ("g".repeat(121), Some(NameFault::TooLong { limit })),
            (String::new(), Some(NameFault::Blank)),
            ("a/b".to_owned(), Some(NameFault::Character)),
            ("CID_RMQ_SYS_X".to_owned(), Some(NameFault::Reserved)),
            ("TRANS_CHECK_MAX_TIME_TOPIC".to_owned(), Some(NameFault::Reserved)),
            ("%DLQ%g".to_owned(), Some(NameFault::Reserved)),
        ];
        for (name, expected) in rows {
            assert_eq!(fault(group(Some(&resource("", &name)), "")), expected, "{name:?}");
        }
    }

    #[test]
    fn a_namespace_is_joined_and_a_groups_may_come_from_the_metadata() {
        assert_eq!(&*topic(Some(&resource("ns", "t"))).unwrap(), "ns%t");
        assert_eq!(&*topic(Some(&resource("ns", "%DLQ%g"))).unwrap(), "%DLQ%ns%g");
        assert_eq!(&*group(Some(&resource("", "g")), "ns").unwrap(), "ns%g");
        assert_eq!(&*group(Some(&resource("a", "g")), "ns").unwrap(), "a%g");
        assert!(group(Some(&resource("", " ")), "ns").is_err());
    }

    #[test]
    fn nobody_sends_to_a_dead_letter_topic() {
        assert!(topic(Some(&resource("", "%DLQ%g"))).is_ok());
        let refused = topic_to_send_to(Some(&resource("", "%DLQ%g")));
        assert!(matches!(refused, Err(Invalid::DeadLetterTopic { .. })));
    }
}
