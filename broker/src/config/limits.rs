//! Every limit of the broker, each with its default and range: a flag, an environment variable and a key under
//! `[limits]` in the configuration file.

use serde::Deserialize;

use super::ConfigError;
use super::inactive::{Inactive, SHORTEST_INACTIVE};
use super::units::{Size, Span, Unit};

/// A number of things.
pub type Count = u64;

/// Under what the limits are listed in the help.
pub(super) const HEADING: &str = "Limits";

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident $env:literal: $unit:ty = $default:expr, $min:expr => $max:expr;)*) => {
        /// The limits in force.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
        #[serde(deny_unknown_fields, default, rename_all = "kebab-case", expecting = "a table: write [limits], and each limit below it")]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: $unit,)*
        }

        /// The limits as flags and environment variables give them.
        #[derive(Clone, Debug, Default, clap::Args)]
        pub struct LimitArgs {
            $(
                #[arg(long, env = $env, value_name = <$unit as Unit>::VALUE_NAME, help_heading = HEADING,
                    help = format!("{} [default: {}; {} to {}]", concat!($($doc),+).trim(), $default, $min, $max))]
                $name: Option<$unit>,
            )*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// What was given goes over what is there.
            pub(super) fn overlay(&mut self, given: &LimitArgs) {
                $(self.$name = given.$name.unwrap_or(self.$name);)*
            }

            /// Checks that each limit is in its range.
            pub(super) fn check(&self) -> Result<(), ConfigError> {
                $(
                    if !($min..=$max).contains(&self.$name) {
                        return Err(ConfigError::OutOfRange {
                            limit: stringify!($name).replace('_', "-"),
                            value: self.$name.to_string(),
                            min: $min.to_string(),
                            max: $max.to_string(),
                        });
                    }
                )*
                Ok(())
            }
        }
    };
}

limits! {
    /// Largest message body.
    max_body "RQ_MAX_BODY": Size = Size::mib(4), Size::kib(1) => Size::mib(16);
    /// Largest request of a client.
    max_request "RQ_MAX_REQUEST": Size = Size::mib(16), Size::mib(1) => Size::mib(128);
    /// Most user properties of a message.
    max_properties "RQ_MAX_PROPERTIES": Count = 128, 0 => 1_024;
    /// Most bytes of a message's user properties, tag and keys.
    max_properties_size "RQ_MAX_PROPERTIES_SIZE": Size = Size::kib(16), Size(0) => Size::mib(1);
    /// Longest delay of a message.
    max_delay "RQ_MAX_DELAY": Span = Span::hours(960), Span::secs(1) => Span::hours(8_760);
    /// Most delayed messages that wait at once; each takes some 30 bytes of memory, with a tag 40.
    max_delayed "RQ_MAX_DELAYED": Count = 20_000_000, 1 => 1_000_000_000;
    /// Most transactions that are open at once.
    max_transactions "RQ_MAX_TRANSACTIONS": Count = 1_000_000, 1 => 100_000_000;
    /// A producer is first asked how a transaction ended after this time; a message may say otherwise.
    transaction_immunity "RQ_TRANSACTION_IMMUNITY": Span = Span::secs(6), Span::millis(100) => Span::hours(1);
    /// From one such check to the next.
    transaction_check_interval "RQ_TRANSACTION_CHECK_INTERVAL": Span = Span::secs(30), Span::secs(1) => Span::hours(1);
    /// After so many checks in vain the message is a dead letter of `TRANS_CHECK_MAX_TIME_TOPIC`.
    max_transaction_checks "RQ_MAX_TRANSACTION_CHECKS": Count = 15, 1 => 1_000;
    /// A message that its consumer wants back at once, delivery after delivery, comes back no sooner than this.
    retry_floor "RQ_RETRY_FLOOR": Span = Span::secs(1), Span(0) => Span::secs(60);
    /// Most messages in a receive.
    max_receive_batch "RQ_MAX_RECEIVE_BATCH": Count = 32, 1 => 1_024;
    /// Most tags in the filter of a receive.
    max_filter_tags "RQ_MAX_FILTER_TAGS": Count = 128, 1 => 1_024;
    /// Most receipt handles in an ack.
    max_ack_entries "RQ_MAX_ACK_ENTRIES": Count = 1_024, 1 => 16_384;
    /// Longest wait of a receive.
    long_poll "RQ_LONG_POLL": Span = Span::secs(20), Span::secs(1) => Span::secs(29);
    /// Invisible duration of a receive that names none.
    default_invisible "RQ_DEFAULT_INVISIBLE": Span = Span::secs(60), Span::secs(1) => Span::hours(12);
    /// Shortest invisible duration of a receive.
    min_invisible "RQ_MIN_INVISIBLE": Span = Span::secs(1), Span::millis(1) => Span::secs(60);
    /// Longest invisible duration.
    max_invisible "RQ_MAX_INVISIBLE": Span = Span::hours(12), Span::secs(60) => Span::hours(12);
    /// Most client connections.
    max_connections "RQ_MAX_CONNECTIONS": Count = 10_000, 1 => 1_000_000;
    /// Most receives that wait at once.
    max_polls "RQ_MAX_POLLS": Count = 100_000, 1 => 10_000_000;
    /// Most topics.
    max_topics "RQ_MAX_TOPICS": Count = 100_000, 1 => 10_000_000;
    /// Most consumer groups.
    max_groups "RQ_MAX_GROUPS": Count = 100_000, 1 => 10_000_000;
    /// Message queues of a topic made without a number.
    default_queues "RQ_DEFAULT_QUEUES": Count = 8, 1 => 256;
    /// Most messages of a queue that a group has in flight.
    max_in_flight "RQ_MAX_IN_FLIGHT": Count = 20_000, 1 => 1_000_000;
    /// Most messages of a queue that wait behind their message group for a group.
    max_parked "RQ_MAX_PARKED": Count = 10_000, 1 => 1_000_000;
    /// Most messages of a queue that a group got and has not done, those waiting out a back-off included.
    max_pending "RQ_MAX_PENDING": Count = 100_000, 1 => 10_000_000;
    /// Bytes of requests that may wait for the disk.
    max_waiting "RQ_MAX_WAITING": Size = Size::mib(64), Size::mib(1) => Size::gib(4);
    /// New messages are refused while less than this is free on the disk.
    min_free "RQ_MIN_FREE": Size = Size::mib(64), Size(0) => Size::gib(1 << 10);
    /// Bytes of sends, of all clients, that may wait for an answer; more are refused.
    max_sends "RQ_MAX_SENDS": Size = Size::mib(256), Size::mib(1) => Size::gib(64);
    /// Bytes of a log segment; fixed when a data directory is formatted.
    segment "RQ_SEGMENT": Size = Size::mib(256), Size::mib(1) => Size::gib(1);
    /// Log segments prepared ahead.
    prepared_segments "RQ_PREPARED_SEGMENTS": Count = 2, 1 => 16;
    /// Bytes of the newest messages kept in memory.
    tail_cache "RQ_TAIL_CACHE": Size = Size::mib(128), Size::mib(1) => Size::gib(64);
    /// A checkpoint is written after so many bytes of log.
    checkpoint_size "RQ_CHECKPOINT_SIZE": Size = Size::mib(256), Size::mib(1) => Size::gib(64);
    /// A checkpoint is written after this time.
    checkpoint_interval "RQ_CHECKPOINT_INTERVAL": Span = Span::secs(60), Span::secs(1) => Span::hours(1);
    /// Every full segment of the log is read again and checked once in this time.
    scrub_interval "RQ_SCRUB_INTERVAL": Span = Span::hours(168), Span::secs(1) => Span::hours(8_760);
    /// A slave in sync that takes longer to flush what it was sent goes out of the in-sync set.
    ack_timeout "RQ_ACK_TIMEOUT": Span = Span::secs(3), Span::millis(500) => Span::secs(60);
    /// A slave that has all that is committed and lags at most so much behind the end of the log goes into the in-sync set.
    rejoin_lag "RQ_REJOIN_LAG": Size = Size::mib(4), Size::kib(64) => Size::gib(1);
    /// A stop that takes longer is given up: the process ends as if it was killed. Half of it is for open calls. A master
    /// hands over before, for which it has 5s.
    stop_timeout "RQ_STOP_TIMEOUT": Span = Span::secs(20), Span::secs(1) => Span::hours(1);
    /// Messages that no group owes are kept this long.
    keep "RQ_KEEP": Span = Span::hours(72), Span::secs(1) => Span::hours(87_600);
    /// They go earlier once the log is larger than this.
    keep_size "RQ_KEEP_SIZE": Size = Size(u64::MAX), Size::mib(1) => Size(u64::MAX);
    /// A group that owes messages and has not consumed for this long is reported; a day or more.
    report_inactive "RQ_REPORT_INACTIVE": Span = Span::hours(168), SHORTEST_INACTIVE => Span::hours(87_660);
    /// What becomes of messages that such a group owes: kept, or dropped and counted after this time,
    /// a day or more, and no less than report-inactive.
    retention_inactive_group "RQ_RETENTION_INACTIVE_GROUP": Inactive = Inactive::Keep, Inactive::SHORTEST => Inactive::Keep;
    /// Dead letters are kept this long.
    keep_dead_letters "RQ_KEEP_DEAD_LETTERS": Span = Span::hours(336), Span::secs(1) => Span::hours(87_600);
}
