//! SQL filters, compiled: once for each text, not with every receive.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rq_core::codec::Malformed;
use rq_core::hash;
use rq_core::message::MessageContent;
use rq_core::record::StoredMessage;
use rq_filter::{Expression, Properties};
use rq_proto::rocketmq::FilterExpression;

use crate::wire::Invalid;
use crate::wire::receive::{self, ReceiveLimits, Selector};

/// Most compiled expressions kept. With their longest texts they are some 16 MiB.
const FILTERS_MAX: usize = 1_000;

/// An expression over the properties of a message.
pub(super) struct SqlFilter {
    expression: Expression,
    /// Hash of its canonical form.
    pub(super) hash: u64,
    judged: AtomicU64,
    wanted: AtomicU64,
}

/// With so many verdicts, the older ones count half: what a filter wants changes with what is sent.
const VERDICTS_COUNTED: u64 = 8_192;

/// The compiled expressions of late, by their texts.
#[derive(Default)]
pub(super) struct Filters(Mutex<HashMap<String, Arc<SqlFilter>>>);

impl Filters {
    /// The compiled form of an expression.
    pub(super) fn compiled(&self, text: &str) -> Result<Arc<SqlFilter>, Invalid> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(filter) = lock().get(text) {
            return Ok(Arc::clone(filter));
        }
        let expression = Expression::parse(text)?;
        let hash = hash::expression(&expression.to_string());
        let filter =
            Arc::new(SqlFilter { expression, hash, judged: AtomicU64::new(0), wanted: AtomicU64::new(0) });
        let mut filters = lock();
        if filters.len() >= FILTERS_MAX {
            filters.clear();
        }
        filters.insert(text.to_owned(), Arc::clone(&filter));
        Ok(filter)
    }

    /// Whether a subscription's filter can be received by.
    pub(super) fn check(
        &self,
        filter: Option<&FilterExpression>,
        limits: &ReceiveLimits,
    ) -> Result<(), Invalid> {
        match receive::selector(filter, limits)? {
            Selector::Tags(_) => Ok(()),
            Selector::Sql(text) => self.compiled(text).map(drop),
        }
    }
}

impl SqlFilter {
    /// So many were judged of late, and so many of them wanted.
    pub(super) fn note(&self, judged: u64, wanted: u64) {
        let judged = self.judged.fetch_add(judged, Ordering::Relaxed) + judged;
        let wanted = self.wanted.fetch_add(wanted, Ordering::Relaxed) + wanted;
        // Two at once may both do so: the figures need not be exact.
        if judged > VERDICTS_COUNTED {
            self.judged.store(judged / 2, Ordering::Relaxed);
            self.wanted.store(wanted / 2, Ordering::Relaxed);
        }
    }

    /// Among how many messages a batch of wanted ones is likely found, with as much again to spare. All that may be, while
    /// nothing is known.
    pub(super) fn likely_holds(&self, batch: u32) -> u32 {
        let (judged, wanted) = (self.judged.load(Ordering::Relaxed), self.wanted.load(Ordering::Relaxed));
        let likely = (2 * u64::from(batch) * judged).checked_div(wanted).unwrap_or(u64::MAX);
        u32::try_from(likely).unwrap_or(u32::MAX).max(batch)
    }

    /// Whether it is true of a message. An error where the message is damaged.
    pub(super) fn wants(&self, stored: &StoredMessage) -> Result<bool, Malformed> {
        let content = MessageContent::decode(&stored.content)?;
        Ok(self.expression.matches(&Seen { content: &content, keys: OnceCell::new() }))
    }
}

/// A message as expressions see it, by the names that RocketMQ gives: the user's properties, the tag as `TAGS`, and the keys,
/// with blanks between them, as `KEYS`. No user's property has these names.
struct Seen<'a> {
    content: &'a MessageContent<'a>,
    keys: OnceCell<String>,
}

impl Properties for Seen<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match (name, self.content.keys.as_slice()) {
            ("TAGS", _) => self.content.tag,
            ("KEYS", []) => None,
            ("KEYS", [key]) => Some(key),
            ("KEYS", keys) => Some(self.keys.get_or_init(|| keys.join(" "))),
            _ => self.content.properties.iter().find(|(key, _)| *key == name).map(|(_, value)| *value),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rq_core::ids::{LogTime, QueueId, TopicId};
    use rq_core::queue::settings::TopicKind;

    use super::*;

    fn stored(content: Bytes) -> StoredMessage {
        StoredMessage {
            topic: TopicId(1),
            queue: QueueId(0),
            kind: TopicKind::Normal,
            stored_at: LogTime(1),
            deliver_at: LogTime(0),
            content,
        }
    }

    #[test]
    fn an_expression_sees_properties_tag_and_keys() {
        let content = MessageContent {
            tag: Some("paid"),
            keys: vec!["k1", "k2"],
            properties: vec![("amount", "7")],
            ..MessageContent::default()
        };
        let wants =
            |text: &str| Filters::default().compiled(text).unwrap().wants(&stored(content.encode())).unwrap();
        assert!(wants("TAGS = 'paid' AND KEYS = 'k1 k2' AND amount > 6.5"));
        assert!(!wants("amount > 7"));
        assert!(wants("region IS NULL"));
    }

    #[test]
    fn an_expression_is_compiled_once_and_equal_ones_hash_alike() {
        let filters = Filters::default();
        let first = filters.compiled("a = 1").unwrap();
        assert!(Arc::ptr_eq(&first, &filters.compiled("a = 1").unwrap()));
        assert_eq!(first.hash, filters.compiled("(a  = 1)").unwrap().hash);
        assert_ne!(first.hash, filters.compiled("a = 2").unwrap().hash);
        assert!(filters.compiled("a ==").is_err());
        for number in 0..2 * FILTERS_MAX {
            filters.compiled(&format!("a = {number}")).unwrap();
        }
        assert!(filters.0.lock().unwrap().len() <= FILTERS_MAX);
    }

    #[test]
    fn the_fewer_an_expression_wants_the_more_messages_are_judged_for_a_batch() {
        let filter = Filters::default().compiled("a = 1").unwrap();
        assert_eq!(filter.likely_holds(32), u32::MAX, "nothing is known yet");
        filter.note(100, 100);
        assert_eq!(filter.likely_holds(32), 64);
        filter.note(900, 0);
        assert_eq!(filter.likely_holds(32), 640);
        for _ in 0..100 {
            filter.note(1_000, 0);
        }
        assert!(filter.likely_holds(1) > 10_000, "what was wanted long ago counts ever less");
    }

    #[test]
    fn a_damaged_message_is_neither_wanted_nor_unwanted() {
        let mut content = MessageContent { tag: Some("a"), ..MessageContent::default() }.encode().to_vec();
        content[9] ^= 1;
        let filter = Filters::default().compiled("TAGS = 'a'").unwrap();
        assert!(filter.wants(&stored(content.into())).is_err());
    }
}
