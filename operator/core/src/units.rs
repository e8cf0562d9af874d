//! Time spans and sizes as the resources spell them: `500ms`, `2s`, `10Gi`. The text stays as the user wrote it; the rules of
//! the CRD refuse what these types could not read.

use std::time::Duration;

use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::quantity;

/// Digits of a span or a size: what is longer would overflow.
const DIGITS_MAX: usize = 9;
const SPAN: &str = "^[0-9]{1,9}(ms|s|m|h)$";
const SIZE: &str = "^[0-9]{1,9}(Ki|Mi|Gi|Ti|k|M|G|T)$";
const MILLISECONDS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
/// Of all units of a quantity, those that a size may have.
const SIZES: [&str; 8] = ["Ki", "Mi", "Gi", "Ti", "k", "M", "G", "T"];

/// A text that is no span or size.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{text:?} is no {what}: write a whole number with one of the units {units}")]
pub struct Unreadable {
    text: String,
    what: &'static str,
    units: &'static str,
}

/// A time span: a whole number of `ms`, `s`, `m` or `h`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(transparent)]
pub struct Span(#[schemars(length(max = 16))] pub String);

impl Span {
    /// It as a duration.
    pub fn duration(&self) -> Result<Duration, Unreadable> {
        self.milliseconds().map(Duration::from_millis).ok_or_else(|| Unreadable {
            text: self.0.clone(),
            what: "time span",
            units: "ms, s, m, h",
        })
    }

    fn milliseconds(&self) -> Option<u64> {
        let unit = self.0.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = self.0.strip_suffix(unit).filter(|digits| digits.len() <= DIGITS_MAX)?;
        let (_, factor) = MILLISECONDS.iter().find(|(name, _)| *name == unit)?;
        digits.parse::<u64>().ok()?.checked_mul(*factor)
    }

    /// The rule that it lies within these, and what the user is told otherwise.
    pub(crate) fn within(least: &str, most: &str) -> Rule {
        let bounds = format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')");
        Rule::new(format!("self.matches('{SPAN}') && {bounds}"))
            .message(format!("write a time span of {least} to {most} in ms, s, m or h, such as 1s").as_str())
    }
}

impl From<&str> for Span {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A number of bytes: a whole number of `Ki`, `Mi`, `Gi`, `Ti`, `k`, `M`, `G` or `T`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(transparent)]
pub struct Size(#[schemars(length(max = 16))] pub String);

impl Size {
    /// It in bytes.
    pub fn bytes(&self) -> Result<u64, Unreadable> {
        let unit = self.0.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = self.0.len() - unit.len();
        let is_size = (1..=DIGITS_MAX).contains(&digits) && SIZES.contains(&unit);
        quantity::bytes(&self.0).filter(|_| is_size).ok_or_else(|| Unreadable {
            text: self.0.clone(),
            what: "size",
            units: "Ki, Mi, Gi, Ti, k, M, G, T",
        })
    }

    /// The rule that it lies within these, and what the user is told otherwise.
    pub(crate) fn within(least: &str, most: &str) -> Rule {
        let compared = |bound: &str| format!("quantity(self).compareTo(quantity('{bound}'))");
        let bounds = format!("{} >= 0 && {} <= 0", compared(least), compared(most));
        Rule::new(format!("self.matches('{SIZE}') && {bounds}"))
            .message(format!("write a size of {least} to {most} in Ki, Mi, Gi or Ti, such as 10Gi").as_str())
    }
}

impl From<&str> for Size {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_span_is_a_whole_number_and_a_unit() {
        for (text, ms) in [("500ms", 500), ("2s", 2_000), ("1m", 60_000), ("3h", 10_800_000), ("0s", 0)] {
            assert_eq!(Span::from(text).duration(), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1h30m", "2 s", "2S", "9999999999s"] {
            let told = Span::from(text).duration().unwrap_err().to_string();
            assert!(told.contains("write a whole number with one of the units ms, s, m, h"), "{told}");
        }
    }

    #[test]
    fn a_size_is_a_whole_number_and_a_unit_and_never_overflows() {
        for (text, bytes) in [("4Mi", 4 << 20), ("10Gi", 10 << 30), ("2G", 2_000_000_000), ("1k", 1_000)] {
            assert_eq!(Size::from(text).bytes(), Ok(bytes), "{text}");
        }
        for text in ["", "10", "1.5Gi", "10GB", "999999999Ti", "10gi"] {
            assert!(Size::from(text).bytes().is_err(), "{text}");
        }
    }
}
