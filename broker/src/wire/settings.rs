//! The settings that a client gets back on its telemetry stream: what it sent, with the broker's values over it.
//! Each official client demands something else of them; this is the one place that knows.

use std::time::Duration;

use rq_core::queue::settings::{Backoff, GroupSettings};
use rq_proto::rocketmq::retry_policy::Strategy;
use rq_proto::rocketmq::settings::PubSub;
use rq_proto::rocketmq::{ClientType, CustomizedBackoff, ExponentialBackoff, Metric, RetryPolicy, Settings};

use super::invalid::Invalid;
use super::language::Language;
use super::names::shortened;
use super::time;

/// Attempts of a producer that follows the broker's settings.
const PRODUCER_ATTEMPTS: i32 = 3;
const PRODUCER_BACKOFF_INITIAL_MS: u64 = 10;
const PRODUCER_BACKOFF_MAX_MS: u64 = 1_000;
const PRODUCER_BACKOFF_MULTIPLIER: f32 = 2.0;
/// Longest list of delays for a client that takes no exponential back-off; the last one is repeated.
const CUSTOMIZED_DELAYS_MAX: usize = 32;

const CLIENT_PROPERTIES_MAX: usize = 32;
const CLIENT_PROPERTY_KEY_CHARS_MAX: usize = 64;
const CLIENT_PROPERTY_VALUE_CHARS_MAX: usize = 256;
const CLIENT_PROPERTIES_BYTES_MAX: usize = 4_096;
const CLIENT_PROPERTY_RESERVED_PREFIX: &str = "rocketmq.";

/// What settings carry that can be configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SettingsLimits {
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Most messages in a receive.
    pub batch: u32,
    /// Longest wait of a receive.
    pub long_poll: Duration,
}

/// Checks what holds for any client's settings.
pub fn check(settings: &Settings) -> Result<(), Invalid> {
    if let Some(client_type) = settings.client_type {
        match ClientType::try_from(client_type) {
            Ok(ClientType::Unspecified) | Err(_) => return Err(Invalid::ClientType { client_type }),
            Ok(ClientType::LitePushConsumer | ClientType::LiteSimpleConsumer) => {
                return Err(Invalid::NotImplemented {
                    what: "lite consumers are",
                    instead: "use a push or simple consumer",
                });
            }
            Ok(_) => {}
        }
    }
    check_client_properties(settings)
}

fn check_client_properties(settings: &Settings) -> Result<(), Invalid> {
    let properties = &settings.client_properties;
    let fault = |key: &str, rule| Err(Invalid::ClientProperty { key: shortened(key), rule });
    if properties.len() > CLIENT_PROPERTIES_MAX {
        return fault("", "at most 32 are allowed");
    }
    if properties.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
        > CLIENT_PROPERTIES_BYTES_MAX
    {
        return fault("", "all together may have at most 4096 bytes");
    }
    for (key, value) in properties {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if !key.starts_with(|first: char| first.is_ascii_alphabetic())
            || !key.bytes().all(allowed)
            || key.len() > CLIENT_PROPERTY_KEY_CHARS_MAX
        {
            return fault(key, "a key is a letter and up to 63 letters, digits, '_', '.' or '-'");
        }
        if key.starts_with(CLIENT_PROPERTY_RESERVED_PREFIX) {
            return fault(key, "keys that begin with 'rocketmq.' are reserved");
        }
        if value.chars().count() > CLIENT_PROPERTY_VALUE_CHARS_MAX {
            return fault(key, "a value has at most 256 characters");
        }
    }
    Ok(())
}

/// The settings for a producer.
pub fn for_producer(sent: Settings, limits: &SettingsLimits) -> Settings {
    let mut settings = sent;
    settings.backoff_policy = Some(RetryPolicy {
        max_attempts: PRODUCER_ATTEMPTS,
        strategy: Some(Strategy::ExponentialBackoff(ExponentialBackoff {
            initial: Some(time::duration(PRODUCER_BACKOFF_INITIAL_MS)),
            max: Some(time::duration(PRODUCER_BACKOFF_MAX_MS)),
            multiplier: PRODUCER_BACKOFF_MULTIPLIER,
        })),
    });
    if let Some(PubSub::Publishing(publishing)) = &mut settings.pub_sub {
        publishing.max_body_size = i32::try_from(limits.body_bytes).unwrap_or(i32::MAX);
        publishing.validate_message_type = true;
    }
    without_metric(settings)
}

/// The settings for a consumer of a group.
pub fn for_consumer(
    sent: Settings,
    group: &GroupSettings,
    language: Language,
    limits: &SettingsLimits,
) -> Settings {
    let mut settings = sent;
    settings.backoff_policy = Some(RetryPolicy {
        max_attempts: i32::try_from(group.max_attempts).unwrap_or(i32::MAX),
        strategy: Some(strategy(group, language)),
    });
    if let Some(PubSub::Subscription(subscription)) = &mut settings.pub_sub {
        subscription.fifo = Some(group.ordered);
        subscription.receive_batch_size = Some(i32::try_from(limits.batch).unwrap_or(i32::MAX));
        // Whole seconds: Python cuts off the rest, and 0 would make it poll without a pause.
        subscription.long_polling_timeout = Some(time::duration(limits.long_poll.as_secs().max(1) * 1_000));
    }
    without_metric(settings)
}

fn without_metric(mut settings: Settings) -> Settings {
    settings.metric = Some(Metric { on: false, endpoints: None });
    settings
}

fn strategy(group: &GroupSettings, language: Language) -> Strategy {
    match (language, &group.backoff) {
        (Language::Python, _) => Strategy::CustomizedBackoff(CustomizedBackoff {
            next: delays(group)
                .into_iter()
                .map(|ms| time::duration(ms.div_ceil(1_000).max(1) * 1_000))
                .collect(),
        }),
        (Language::Node, Backoff::Customized(delays)) => {
            let initial = delays.first().copied().unwrap_or_default();
            let max = delays.iter().copied().max().unwrap_or_default();
            exponential(initial, max, if max > initial { 2.0 } else { 1.0 })
        }
        (Language::Rust | Language::Other, Backoff::Customized(delays)) => {
            Strategy::CustomizedBackoff(CustomizedBackoff {
                next: delays.iter().copied().map(time::duration).collect(),
            })
        }
        (_, Backoff::Exponential { initial_ms, max_ms, multiplier_milli }) => {
            exponential(*initial_ms, *max_ms, *multiplier_milli as f32 / 1_000.0)
        }
    }
}

fn exponential(initial_ms: u64, max_ms: u64, multiplier: f32) -> Strategy {
    Strategy::ExponentialBackoff(ExponentialBackoff {
        initial: Some(time::duration(initial_ms)),
        max: Some(time::duration(max_ms)),
        multiplier,
    })
}

/// The delay after each failure in turn, as far as they differ.
fn delays(group: &GroupSettings) -> Vec<u64> {
    match &group.backoff {
        Backoff::Customized(delays) => delays.clone(),
        Backoff::Exponential { initial_ms, max_ms, multiplier_milli } => {
            let next = |delay: &u64| {
                let grown = delay.saturating_mul(u64::from(*multiplier_milli)) / 1_000;
                (grown.min(*max_ms) > *delay).then(|| grown.min(*max_ms))
            };
            let failures = (group.max_attempts.saturating_sub(1) as usize).clamp(1, CUSTOMIZED_DELAYS_MAX);
            std::iter::successors(Some((*initial_ms).min(*max_ms)), next).take(failures).collect()
        }
    }
}

#[cfg(test)]
mod tests;
