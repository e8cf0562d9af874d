//! The two clocks of the operator: one that only goes forward, for decisions, and the time of day, for people.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

/// A clock that only goes forward, in ms since the operator started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
}

impl Clock {
    /// From now on.
    pub(crate) fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// Now, in ms.
    pub(crate) fn now(self) -> u64 {
        self.at(Instant::now())
    }

    /// That moment, in ms.
    pub(crate) fn at(self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.began).as_millis() as u64
    }

    /// The time of day when it showed this.
    pub(crate) fn time_of_day(self, ms: u64) -> MicroTime {
        let ago = self.now().saturating_sub(ms);
        micro_time(Timestamp::now() - SignedDuration::from_millis(i64::try_from(ago).unwrap_or(i64::MAX)))
    }
}

/// As Kubernetes keeps it: what is read back is equal.
fn micro_time(time: Timestamp) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_read_back_as_it_was_written() {
        let clock = Clock::start();
        let time = clock.time_of_day(0);
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(serde_json::from_str::<MicroTime>(&text).unwrap(), time);
    }
}
