//! What becomes of messages that a consumer group owes and does not consume, as people write it: `keep` or a time.

use std::fmt;
use std::str::FromStr;

use rq_core::queue::retention::InactiveGroup;
use serde::Deserialize;
use thiserror::Error;

use super::units::{Span, Unit};

/// What becomes of what an inactive group owes. Ordered by how soon it may go, "never" last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum Inactive {
    /// It may be dropped, and is counted, after this time.
    ExpireAfter(Span),
    /// It is kept for as long as it takes.
    Keep,
}

const KEEP: &str = "keep";

/// A text that says neither.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is neither `keep` nor a time: write keep, or a time such as 7days")]
pub struct NeitherKeepNorTime(String);

/// Shorter than this a group may simply be at work: leases and back-offs last up to 12 h.
pub const SHORTEST_INACTIVE: Span = Span::hours(24);

impl Inactive {
    /// The shortest time after which messages may be dropped.
    pub const SHORTEST: Self = Self::ExpireAfter(SHORTEST_INACTIVE);

    /// For the retention run.
    pub const fn policy(self) -> InactiveGroup {
        match self {
            Self::ExpireAfter(span) => InactiveGroup::ExpireAfter(span.0),
            Self::Keep => InactiveGroup::Keep,
        }
    }
}

impl Unit for Inactive {
    const VALUE_NAME: &'static str = "keep|DURATION";
}

impl FromStr for Inactive {
    type Err = NeitherKeepNorTime;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == KEEP {
            return Ok(Self::Keep);
        }
        text.parse().map(Self::ExpireAfter).map_err(|_| NeitherKeepNorTime(text.to_owned()))
    }
}

impl TryFrom<String> for Inactive {
    type Error = NeitherKeepNorTime;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Inactive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExpireAfter(span) => span.fmt(f),
            Self::Keep => f.write_str(KEEP),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_and_times_read_back_as_written_and_nonsense_is_refused_with_an_example() {
        for text in ["keep", "7days", "30days"] {
            assert_eq!(text.parse::<Inactive>().map(|inactive| inactive.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "Keep", "never", "7"] {
            assert!(text.parse::<Inactive>().unwrap_err().to_string().contains("7days"), "{text:?}");
        }
    }

    #[test]
    fn to_keep_is_longer_than_any_time() {
        assert!(Inactive::SHORTEST < Inactive::ExpireAfter(Span::hours(25)));
        assert!(Inactive::ExpireAfter(Span::hours(u64::MAX / 3_600_000)) < Inactive::Keep);
    }
}
