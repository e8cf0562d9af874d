//! Log time: what the records say of when they happened. Follows the monotonic clock within an epoch and is drawn
//! towards wall time by at most a tenth of what has passed; it never goes back.

use crate::ids::LogTime;

/// The clocks of the machine at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Microseconds on a clock that only goes forward.
    pub monotonic_us: u64,
    /// Microseconds since 1970 on the wall clock, which may be set.
    pub wall_us: u64,
}

/// Makes log time out of readings.
#[derive(Clone, Debug)]
pub struct LogClock {
    now_us: u64,
    last: Reading,
}

/// Share of the time passed by which log time may be faster or slower than the monotonic clock.
const SLEW: u64 = 10;

impl LogClock {
    /// Begins an epoch: at wall time, or at the newest record's time where that lies ahead.
    #[must_use]
    pub fn start(newest: LogTime, reading: Reading) -> Self {
        Self { now_us: reading.wall_us.max(newest.0.saturating_mul(1000)), last: reading }
    }

    /// Log time at a reading.
    pub fn advance(&mut self, reading: Reading) -> LogTime {
        let passed = reading.monotonic_us.saturating_sub(self.last.monotonic_us);
        let slew = passed / SLEW;
        let followed = self.now_us + passed;
        self.now_us = reading.wall_us.clamp(followed - slew, followed + slew);
        // Below a slew of one microsecond nothing would ever be corrected: time is kept until it adds up.
        if passed >= SLEW || passed == 0 {
            self.last = Reading { monotonic_us: self.last.monotonic_us + passed, ..reading };
        } else {
            self.now_us = followed - passed;
        }
        self.time()
    }

    /// Log time at the newest reading.
    pub fn time(&self) -> LogTime {
        LogTime(self.now_us / 1000)
    }

    /// How far log time is ahead of the wall clock (negative: behind), in milliseconds.
    pub fn skew_ms(&self) -> i64 {
        (self.now_us.cast_signed() - self.last.wall_us.cast_signed()) / 1000
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(monotonic_ms: u64, wall_ms: u64) -> Reading {
        Reading { monotonic_us: monotonic_ms * 1000, wall_us: wall_ms * 1000 }
    }

    #[test]
    fn an_epoch_begins_at_wall_time_but_never_before_the_newest_record() {
        assert_eq!(LogClock::start(LogTime(500), at(0, 1000)).time(), LogTime(1000));
        assert_eq!(LogClock::start(LogTime(2000), at(0, 1000)).time(), LogTime(2000));
    }

    #[test]
    fn a_wall_clock_that_was_set_is_approached_by_a_tenth() {
        let mut clock = LogClock::start(LogTime(0), at(0, 10_000));
        assert_eq!(clock.advance(at(1000, 50_000)), LogTime(11_100), "set forward");
        assert_eq!(clock.advance(at(2000, 0)), LogTime(12_000), "set back");
        assert_eq!(clock.skew_ms(), 12_000);
    }

    proptest! {
        #[test]
        fn log_time_never_goes_back_and_keeps_step(steps in proptest::collection::vec((0_u64..50, any::<u32>()), 1..200)) {
            let mut clock = LogClock::start(LogTime(1_000_000), at(0, 1_000_000));
            let (mut monotonic_us, mut before) = (0, clock.time());
            for (passed_us, wall_us) in steps {
                monotonic_us += passed_us;
                let now = clock.advance(Reading { monotonic_us, wall_us: u64::from(wall_us) });
                prop_assert!(now >= before);
                before = now;
            }
            let passed = before.since(LogTime(1_000_000)) * 1000;
            prop_assert!(passed <= monotonic_us + monotonic_us / 10);
        }
    }
}
