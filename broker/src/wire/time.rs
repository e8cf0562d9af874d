//! Durations and timestamps of protobuf as whole milliseconds.

use prost_types::{Duration, Timestamp};

const MILLIS_A_SECOND: i64 = 1_000;
const NANOS_A_MILLI: i64 = 1_000_000;

/// Milliseconds of a duration, negative where it is; a fraction counts as a whole one, so that what is not 0 does
/// not become 0. Saturates.
pub fn millis(duration: &Duration) -> i64 {
    let nanos = i64::from(duration.nanos);
    let fraction = nanos.div_euclid(NANOS_A_MILLI) + i64::from(nanos.rem_euclid(NANOS_A_MILLI) != 0);
    duration.seconds.saturating_mul(MILLIS_A_SECOND).saturating_add(fraction)
}

/// A duration of so many milliseconds.
pub fn duration(millis: u64) -> Duration {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    Duration { seconds: millis / MILLIS_A_SECOND, nanos: (millis % MILLIS_A_SECOND * NANOS_A_MILLI) as i32 }
}

/// Milliseconds since 1970. Saturates.
pub fn timestamp_millis(timestamp: &Timestamp) -> i64 {
    timestamp
        .seconds
        .saturating_mul(MILLIS_A_SECOND)
        .saturating_add(i64::from(timestamp.nanos).div_euclid(NANOS_A_MILLI))
}

/// The same, with a fraction counted as a whole one.
pub fn timestamp_millis_up(timestamp: &Timestamp) -> i64 {
    let fraction = i64::from(timestamp.nanos).rem_euclid(NANOS_A_MILLI) != 0;
    timestamp_millis(timestamp).saturating_add(i64::from(fraction))
}

/// The timestamp so many milliseconds after 1970.
pub fn timestamp(millis: i64) -> Timestamp {
    Timestamp {
        seconds: millis.div_euclid(MILLIS_A_SECOND),
        nanos: (millis.rem_euclid(MILLIS_A_SECOND) * NANOS_A_MILLI) as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_rounded_up_and_keeps_its_sign() {
        assert_eq!(millis(&Duration { seconds: 1, nanos: 500_000_000 }), 1_500);
        assert_eq!(millis(&Duration { seconds: 0, nanos: 1 }), 1);
        assert_eq!(millis(&Duration { seconds: 0, nanos: 0 }), 0);
        assert_eq!(millis(&Duration { seconds: -1, nanos: 0 }), -1_000);
        assert_eq!(millis(&Duration { seconds: i64::MAX, nanos: 1 }), i64::MAX);
        assert_eq!(duration(1_500), Duration { seconds: 1, nanos: 500_000_000 });
    }

    #[test]
    fn a_timestamp_reads_back_before_and_after_1970() {
        for at in [0, 1, -1, 1_700_000_000_123, -1_001] {
            assert_eq!(timestamp_millis(&timestamp(at)), at);
            assert!(timestamp(at).nanos >= 0);
            assert_eq!(timestamp_millis_up(&timestamp(at)), at);
        }
        assert_eq!(timestamp_millis_up(&Timestamp { seconds: 1, nanos: 1 }), 1_001);
    }
}
