//! A moment as people write it: a time, or how long ago.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;

use crate::args::duration;

/// What can be written for a moment.
pub(crate) const FORMS: &str =
    "give a time as in 2026-05-04T12:00:00Z or 2026-05-04T14:00:00+02:00, or `1h ago`";

/// The same where a time that has passed is of no use.
const COMING_FORMS: &str = "give a time as in 2026-05-04T12:00:00Z or 2026-05-04T14:00:00+02:00; from now on counts `--delay`, as in 30s";

/// Of a time that is written well.
const OUT_OF_RANGE: &str =
    "give a time from 1970 to 9999-12-30T22:00:00Z: times that are further off cannot be told";

/// Reads a moment as milliseconds since 1970.
pub(crate) fn moment(text: &str) -> Result<i64, &'static str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    moment_at(text, now)
}

/// A moment before which there may be something. 0 and what is before it would tell a broker that there is no bound.
pub(crate) fn bound(text: &str) -> Result<i64, &'static str> {
    match moment(text)? {
        ..=0 => Err("nothing is older than 1970: give a later time"),
        millis => Ok(millis),
    }
}

/// A moment to wait for. One that has passed is taken: it may have been to come when it was written.
pub(crate) fn coming(text: &str) -> Result<i64, &'static str> {
    bound(text).map_err(|fault| if fault == FORMS { COMING_FORMS } else { fault })
}

fn moment_at(text: &str, now: Duration) -> Result<i64, &'static str> {
    if let Some(span) = text.trim().strip_suffix("ago") {
        let span = duration(span.trim()).map_err(|_| FORMS)?;
        return Ok(now.saturating_sub(span).as_millis() as i64);
    }
    let time: Timestamp = text.trim().parse().map_err(|_| fault(text.trim()))?;
    Ok(time.as_millisecond())
}

/// Why a text is no moment. A time may be one, and lie where there are none.
fn fault(text: &str) -> &'static str {
    let is_time = |pieces: &Pieces<'_>| pieces.time().is_some() && pieces.to_numeric_offset().is_some();
    if Pieces::parse(text).as_ref().is_ok_and(is_time) { OUT_OF_RANGE } else { FORMS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_with_its_zone_or_a_while_ago() {
        let now = Duration::from_secs(10_000);
        let at = |text: &str| moment_at(text, now);
        assert_eq!(at("1h ago"), Ok(6_400_000));
        assert_eq!(at("1h 30m ago"), Ok(4_600_000));
        assert_eq!(at("99days ago"), Ok(0), "there was nothing before 1970");
        assert_eq!(at("1970-01-01T00:00:01.5Z"), Ok(1_500));
        assert_eq!(at("1970-01-01T02:00:01+02:00"), Ok(1_000));
        for bad in ["", "ago", "yesterday", "1h", "1970-01-01T00:00:01", "12:00"] {
            assert_eq!(at(bad), Err(FORMS), "{bad:?}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_told_is_one_all_the_same() {
        for far in ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59+02:00", "-009999-01-01T00:00:00+23:00"] {
            assert_eq!(moment_at(far, Duration::ZERO), Err(OUT_OF_RANGE), "{far}");
        }
        assert!(moment_at("9999-12-30T22:00:00Z", Duration::ZERO).is_ok());
        assert_eq!(moment_at("9999-13-31T23:59:59Z", Duration::ZERO), Err(FORMS));
    }

    #[test]
    fn a_moment_to_wait_for_is_not_offered_as_one_that_has_passed() {
        assert_eq!(coming("1970-01-01T00:00:01Z"), Ok(1_000));
        assert_eq!(coming("9999-12-31T23:59:59Z"), Err(OUT_OF_RANGE));
        let fault = coming("tomorrow").unwrap_err();
        assert!(!fault.contains("ago") && fault.contains("--delay"), "{fault}");
    }

    #[test]
    fn a_bound_lies_after_the_beginning_of_time() {
        assert_eq!(bound("1970-01-01T00:00:00.001Z"), Ok(1));
        for early in ["1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "99999days ago"] {
            assert!(bound(early).unwrap_err().contains("give a later time"), "{early}");
        }
    }
}
