//! What a consumer asks for: filters, invisible durations, how long to wait.

use std::time::Duration;

use rq_core::hash;
use rq_core::queue::request::Filter;
use rq_proto::rocketmq::{FilterExpression, FilterType, ReceiveMessageRequest};

use super::invalid::Invalid;
use super::names::shortened;
use super::time;

/// Longest attempt id, in bytes. The official clients send a UUID.
pub const ATTEMPT_ID_BYTES_MAX: usize = 255;
/// Lease of a delivery that the broker renews: a client that nobody vouches for is gone after it.
pub const RENEWED_INVISIBLE_MS: u64 = 45_000;
/// A poll ends so long before the deadline of its call, so that its answer arrives in time.
pub const DEADLINE_MARGIN: Duration = Duration::from_millis(500);
/// The same where the client did not say how long to wait: half of the clients' usual request timeout, which
/// they add to the waiting time to get their deadline.
pub const DERIVED_DEADLINE_MARGIN: Duration = Duration::from_millis(1_500);

/// Limits of a receive that can be configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveLimits {
    /// Most messages in a receive; who asks for more gets this many.
    pub batch: u32,
    /// Longest wait.
    pub long_poll: Duration,
    /// Invisible duration of a receive that names none, in milliseconds.
    pub default_invisible_ms: u64,
    /// Shortest invisible duration of a receive, in milliseconds.
    pub min_invisible_ms: u64,
    /// Longest invisible duration, in milliseconds.
    pub max_invisible_ms: u64,
    /// Most tags in a filter.
    pub filter_tags: usize,
}

/// What a filter expression asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Selector<'a> {
    /// All messages, or those with certain tags.
    Tags(Filter),
    /// Those of which an expression in SQL is true. It is still to be compiled.
    Sql(&'a str),
}

/// What a filter expression asks for. None and an unset type are TAG filters.
pub fn selector<'a>(
    expression: Option<&'a FilterExpression>,
    limits: &ReceiveLimits,
) -> Result<Selector<'a>, Invalid> {
    match expression {
        None => Ok(Selector::Tags(Filter::All)),
        Some(filter) if filter.r#type() == FilterType::Sql => Ok(Selector::Sql(&filter.expression)),
        Some(filter) => tags(filter.expression.trim(), limits).map(Selector::Tags),
    }
}

fn tags(text: &str, limits: &ReceiveLimits) -> Result<Filter, Invalid> {
    if text.is_empty() || text == "*" {
        return Ok(Filter::All);
    }
    let illegal = || Invalid::Filter { expression: shortened(text), limit: limits.filter_tags };
    let mut tags = Vec::new();
    for tag in text.split("||").map(str::trim).filter(|tag| !tag.is_empty()) {
        if tag == "*" {
            return Ok(Filter::All);
        }
        if tag.contains('|') || tag.chars().any(char::is_control) || tags.len() == limits.filter_tags {
            return Err(illegal());
        }
        tags.push(hash::tag(tag));
    }
    if tags.is_empty() {
        return Err(illegal());
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(Filter::Tags(tags))
}

/// How long a receive hides its messages, in milliseconds.
pub fn invisible_ms(request: &ReceiveMessageRequest, limits: &ReceiveLimits) -> Result<u64, Invalid> {
    if request.auto_renew {
        return Ok(RENEWED_INVISIBLE_MS);
    }
    let Some(duration) = &request.invisible_duration else { return Ok(limits.default_invisible_ms) };
    in_range(time::millis(duration), limits.min_invisible_ms, limits.max_invisible_ms)
}

/// When a message is to come back, in milliseconds from now. 0 is at once.
pub fn changed_invisible_ms(
    duration: Option<&prost_types::Duration>,
    limits: &ReceiveLimits,
) -> Result<u64, Invalid> {
    in_range(time::millis(duration.ok_or(Invalid::InvisibleTimeMissing)?), 0, limits.max_invisible_ms)
}

fn in_range(ms: i64, min_ms: u64, max_ms: u64) -> Result<u64, Invalid> {
    u64::try_from(ms).ok().filter(|ms| (min_ms..=max_ms).contains(ms)).ok_or(Invalid::InvisibleTime {
        ms,
        min_ms,
        max_ms,
    })
}

/// How long a receive may wait: never longer than the call lives, and never an error for a short deadline.
pub fn wait(
    requested: Option<&prost_types::Duration>,
    waited: Duration,
    left: Option<Duration>,
    limits: &ReceiveLimits,
) -> Duration {
    let asked =
        requested.map(|duration| Duration::from_millis(time::millis(duration).max(0).cast_unsigned()));
    let margin = if asked.is_some() { DEADLINE_MARGIN } else { DERIVED_DEADLINE_MARGIN };
    let left = left.map_or(Duration::MAX, |left| left.saturating_sub(margin));
    asked.unwrap_or(Duration::MAX).min(limits.long_poll).saturating_sub(waited).min(left)
}

/// How many messages a receive takes.
pub fn batch(requested: i32, limits: &ReceiveLimits) -> u32 {
    u32::try_from(requested).unwrap_or(1).clamp(1, limits.batch)
}

/// The attempt id of a receive; a blank one is none.
pub fn attempt_id(request: &ReceiveMessageRequest) -> Result<Option<&str>, Invalid> {
    let id = request.attempt_id.as_deref().filter(|id| !id.is_empty());
    match id {
        Some(id) if id.len() > ATTEMPT_ID_BYTES_MAX => {
            Err(Invalid::AttemptId { len: id.len(), limit: ATTEMPT_ID_BYTES_MAX })
        }
        id => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use rq_proto::rocketmq::Code;

    use super::*;

    const LIMITS: ReceiveLimits = ReceiveLimits {
        batch: 32,
        long_poll: Duration::from_secs(20),
        default_invisible_ms: 60_000,
        min_invisible_ms: 1_000,
        max_invisible_ms: 43_200_000,
        filter_tags: 128,
    };

    fn tags(expression: &str) -> Result<Filter, Code> {
        let filter = FilterExpression { r#type: 0, expression: expression.into() };
        match selector(Some(&filter), &LIMITS) {
            Ok(Selector::Tags(filter)) => Ok(filter),
            Ok(Selector::Sql(sql)) => panic!("a TAG filter, taken for {sql}"),
            Err(invalid) => Err(invalid.code()),
        }
    }

    #[test]
    fn tag_filters_are_split_trimmed_and_sorted() {
        let mut expected = vec![hash::tag("a"), hash::tag("b c")];
        expected.sort_unstable();
        assert_eq!(tags(" a ||b c|| a||"), Ok(Filter::Tags(expected)));
        for all in ["", "*", " * ", "a || *"] {
            assert_eq!(tags(all), Ok(Filter::All), "{all:?}");
        }
        assert_eq!(selector(None, &LIMITS), Ok(Selector::Tags(Filter::All)));
        let sql = FilterExpression { r#type: FilterType::Sql.into(), expression: " a > 1".into() };
        assert_eq!(
            selector(Some(&sql), &LIMITS),
            Ok(Selector::Sql(" a > 1")),
            "positions count from its begin"
        );
    }

    #[test]
    fn a_filter_that_does_not_compile_is_refused() {
        for bad in ["||", "a|b", "a\u{1}"] {
            assert_eq!(tags(bad), Err(Code::IllegalFilterExpression), "{bad:?}");
        }
        let many = (0..=LIMITS.filter_tags).map(|n| n.to_string()).collect::<Vec<_>>().join("||");
        assert_eq!(tags(&many), Err(Code::IllegalFilterExpression));
    }

    #[test]
    fn the_invisible_duration_of_a_receive_has_bounds() {
        let asked = |ms: Option<i64>, auto_renew| {
            let invisible_duration = ms.map(|ms| prost_types::Duration {
                seconds: ms / 1_000,
                nanos: (ms % 1_000 * 1_000_000) as i32,
            });
            let request = ReceiveMessageRequest { invisible_duration, auto_renew, ..Default::default() };
            invisible_ms(&request, &LIMITS).map_err(|invalid| invalid.code())
        };
        assert_eq!(asked(Some(1_000), false), Ok(1_000));
        assert_eq!(asked(Some(43_200_000), false), Ok(43_200_000));
        assert_eq!(asked(None, false), Ok(60_000));
        assert_eq!(asked(Some(5), true), Ok(RENEWED_INVISIBLE_MS));
        for bad in [0, 999, -1_000, 43_200_001] {
            assert_eq!(asked(Some(bad), false), Err(Code::IllegalInvisibleTime), "{bad} ms");
        }
    }

    #[test]
    fn a_changed_invisible_duration_may_be_zero() {
        let asked = |duration: Option<prost_types::Duration>| {
            changed_invisible_ms(duration.as_ref(), &LIMITS).map_err(|invalid| invalid.code())
        };
        assert_eq!(asked(Some(time::duration(0))), Ok(0));
        assert_eq!(asked(Some(time::duration(43_200_000))), Ok(43_200_000));
        assert_eq!(asked(Some(time::duration(43_200_001))), Err(Code::IllegalInvisibleTime));
        let negative = prost_types::Duration { seconds: -1, nanos: 0 };
        assert_eq!(asked(Some(negative)), Err(Code::IllegalInvisibleTime));
        assert_eq!(asked(None), Err(Code::IllegalInvisibleTime));
    }

    #[test]
    fn a_poll_ends_before_its_deadline_and_after_the_longest_wait() {
        let wait = |asked: Option<u64>, left: Option<u64>| {
            let left = left.map(Duration::from_millis);
            super::wait(asked.map(time::duration).as_ref(), Duration::ZERO, left, &LIMITS).as_millis()
        };
        assert_eq!(wait(Some(5_000), Some(8_000)), 5_000);
        assert_eq!(wait(Some(40_000), Some(40_000)), 20_000, "Rust: the poll is as long as the deadline");
        assert_eq!(wait(Some(10_000), Some(10_000)), 9_500);
        assert_eq!(wait(None, Some(8_000)), 6_500, "Go sends no polling time");
        assert_eq!(wait(None, None), 20_000);
        assert_eq!(wait(Some(2_000), Some(300)), 0);
        assert_eq!(wait(Some(0), None), 0);
    }

    #[test]
    fn a_batch_is_clamped_rather_than_refused() {
        assert_eq!([-1, 0, 1, 32, 33, i32::MAX].map(|asked| batch(asked, &LIMITS)), [1, 1, 1, 32, 32, 32]);
    }

    #[test]
    fn fuzzed_receives_are_refused_or_ask_for_what_a_broker_allows() {
        use prost::Message as _;
        use rq_proto::rocketmq::{MessageQueue, Resource};

        use crate::wire::names;
        let named = |name: &str| Some(Resource { resource_namespace: "ns".into(), name: name.into() });
        let filtered = |kind: FilterType, expression: &str| ReceiveMessageRequest {
            group: named("g"),
            message_queue: Some(MessageQueue { topic: named("t"), ..Default::default() }),
            filter_expression: Some(FilterExpression { r#type: kind.into(), expression: expression.into() }),
            batch_size: 32,
            invisible_duration: Some(time::duration(60_000)),
            long_polling_timeout: Some(time::duration(20_000)),
            attempt_id: Some("attempt".into()),
            ..Default::default()
        };
        let seeds = [filtered(FilterType::Tag, "a || b"), filtered(FilterType::Sql, "a > 1")];
        rq_fuzz::fuzz(seeds.map(|request| request.encode_to_vec()), |input| {
            let request = ReceiveMessageRequest::decode(input).map_err(|error| error.to_string())?;
            let refused = |invalid: Invalid| format!("{:?}", invalid.code());
            let topic = request.message_queue.as_ref().and_then(|queue| queue.topic.as_ref());
            let topic = names::topic(topic).map_err(refused)?;
            let group = names::group(request.group.as_ref(), "").map_err(refused)?;
            assert!(!topic.trim().is_empty() && !group.trim().is_empty());
            let asks = selector(request.filter_expression.as_ref(), &LIMITS).map_err(refused)?;
            if let Selector::Tags(Filter::Tags(tags)) = &asks {
                assert!(tags.is_sorted() && (1..=LIMITS.filter_tags).contains(&tags.len()));
            }
            let hidden = invisible_ms(&request, &LIMITS).map_err(refused)?;
            assert!(
                request.auto_renew || (LIMITS.min_invisible_ms..=LIMITS.max_invisible_ms).contains(&hidden)
            );
            let wait = wait(request.long_polling_timeout.as_ref(), Duration::ZERO, None, &LIMITS);
            assert!(
                wait <= LIMITS.long_poll && (1..=LIMITS.batch).contains(&batch(request.batch_size, &LIMITS))
            );
            let attempt = attempt_id(&request).map_err(refused)?.is_some();
            Ok::<_, String>((matches!(asks, Selector::Sql(_)), attempt, request.auto_renew))
        });
    }
}
