//! Sizes and time spans as people write them: `4MiB`, `20s`. Whole bytes and milliseconds inside.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

/// A text that is no size or span.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{text:?} is no {what}: write {example}")]
pub struct Unreadable {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Size(pub u64);

/// A time span in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub u64);

/// In a file: a text with a unit, or a number of bytes.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write a size such as '4MiB', or a number of bytes")]
enum Written {
    Bytes(u64),
    Text(String),
}

/// What a limit is measured in.
pub(super) trait Unit {
    /// What stands for a value of it in the help.
    const VALUE_NAME: &'static str;
}

impl Unit for u64 {
    const VALUE_NAME: &'static str = "NUMBER";
}

impl Unit for Size {
    const VALUE_NAME: &'static str = "SIZE";
}

impl Unit for Span {
    const VALUE_NAME: &'static str = "DURATION";
}

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const UNLIMITED: &str = "unlimited";
const DAY_SECS: u64 = 24 * 60 * 60;

impl Size {
    /// So many KiB.
    pub const fn kib(number: u64) -> Self {
        Self(number << 10)
    }
    /// So many MiB.
    pub const fn mib(number: u64) -> Self {
        Self(number << 20)
    }
    /// So many GiB.
    pub const fn gib(number: u64) -> Self {
        Self(number << 30)
    }
    /// As an index of memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Span {
    /// So many milliseconds.
    pub const fn millis(number: u64) -> Self {
        Self(number)
    }
    /// So many seconds.
    pub const fn secs(number: u64) -> Self {
        Self(number * 1_000)
    }
    /// So many hours.
    pub const fn hours(number: u64) -> Self {
        Self::secs(number * 3_600)
    }
    /// As a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Size {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let unreadable = || Unreadable {
            text: text.to_owned(),
            what: "size",
            example: "bytes, or a number with KiB, MiB, GiB or TiB",
        };
        if text == UNLIMITED {
            return Ok(Self(u64::MAX));
        }
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(name, bytes)| text.strip_suffix(name).map(|digits| (digits, *bytes)))
            .unwrap_or((text, 1));
        let number: u64 = digits.trim().parse().map_err(|_| unreadable())?;
        number.checked_mul(unit).map(Self).ok_or_else(unreadable)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == u64::MAX {
            return f.write_str(UNLIMITED);
        }
        let whole = UNITS.iter().find(|(_, bytes)| self.0 > 0 && self.0.is_multiple_of(*bytes));
        let (name, bytes) = whole.copied().unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / bytes)
    }
}

impl FromStr for Span {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let span = humantime::parse_duration(text).ok().and_then(|span| u64::try_from(span.as_millis()).ok());
        let unreadable =
            || Unreadable { text: text.to_owned(), what: "time", example: "20s, 5m, 72h or 14days" };
        span.map(Self).ok_or_else(unreadable)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not in months and years, which are no round number of days.
        let whole = self.duration();
        let days = whole.as_secs() / DAY_SECS;
        let rest = whole.saturating_sub(Duration::from_secs(days * DAY_SECS));
        let day = if days == 1 { "day" } else { "days" };
        match (days, rest.is_zero()) {
            (0, _) => humantime::format_duration(rest).fmt(f),
            (_, true) => write!(f, "{days}{day}"),
            (_, false) => write!(f, "{days}{day} {}", humantime::format_duration(rest)),
        }
    }
}

impl TryFrom<Written> for Size {
    type Error = Unreadable;

    fn try_from(written: Written) -> Result<Self, Unreadable> {
        match written {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = Unreadable;

    fn try_from(text: String) -> Result<Self, Unreadable> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_read_back_as_written() {
        for text in ["0B", "4MiB", "1KiB", "1536KiB", "7B", "2TiB", "unlimited"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("4096".parse(), Ok(Size::kib(4)));
        for text in
            ["20s", "1m", "12h", "1day", "1day 2h", "14days", "40days", "365days", "40days 1h 5s", "1ms"]
        {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "MiB", "4MB", "-1", "99999999999TiB"] {
            assert!(text.parse::<Size>().unwrap_err().to_string().contains("KiB"), "{text:?}");
        }
        for text in ["", "20", "soon"] {
            assert!(text.parse::<Span>().unwrap_err().to_string().contains("20s"), "{text:?}");
        }
    }
}
