//! Values while a message is looked at, and how one is compared with another.
//!
//! A property is always text. What it is compared with decides what it is read as: [`Value::equal`] and
//! [`Value::number`] are the only places where a text becomes something else.

use std::cmp::Ordering;

/// TRUE, FALSE, or `None` for UNKNOWN: the truth values of SQL.
pub(crate) type Truth = Option<bool>;

/// A value. That of a missing property, and of a condition that is UNKNOWN, is none: `Option<Value>`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// A property's text, or a string of the expression.
    Text(&'a str),
    /// A number of the expression.
    Number(Number),
    /// What a condition came to.
    Boolean(bool),
}

impl Value<'_> {
    /// Whether two values are equal. UNKNOWN where they have no type in common.
    pub(crate) fn equal(self, other: Self) -> Truth {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Some(left == right),
            (Self::Number(left), Self::Number(right)) => Some(left.compare(right).is_eq()),
            (Self::Boolean(left), Self::Boolean(right)) => Some(left == right),
            (Self::Text(text), Self::Number(number)) | (Self::Number(number), Self::Text(text)) => {
                Some(Number::read(text)?.compare(number).is_eq())
            }
            (Self::Text(text), Self::Boolean(boolean)) | (Self::Boolean(boolean), Self::Text(text)) => {
                Some(read_boolean(text) == boolean)
            }
            (Self::Number(_), Self::Boolean(_)) | (Self::Boolean(_), Self::Number(_)) => None,
        }
    }

    /// The value as a number, if it is one.
    pub(crate) fn number(self) -> Option<Number> {
        match self {
            Self::Text(text) => Number::read(text),
            Self::Number(number) => Some(number),
            Self::Boolean(_) => None,
        }
    }
}

/// A text as a boolean: TRUE for `true` in any case, and FALSE for every other text, as the reference has it.
pub(crate) fn read_boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

/// A number: an integer where it can be one, so that 64-bit ids keep all their digits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    /// A whole number without fraction or exponent.
    Integer(i64),
    /// Any other number. Finite, and no negative zero.
    Float(f64),
}

impl Number {
    /// Reads `42`, `-1`, `+0.5`, `.5`, `5.` or `1.5e-3`. Nothing else is a number: no blanks, no `NaN`, no
    /// infinity, no suffix, no digits but ASCII ones. An integer that needs more than 64 bits is read as a
    /// float.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let numeric = |byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        if !text.bytes().all(numeric) {
            return None;
        }
        match text.parse() {
            Ok(integer) => Some(Self::Integer(integer)),
            Err(_) => Self::float(text.parse().ok()?),
        }
    }

    /// A float, unless it is infinite or not a number.
    pub(crate) fn float(float: f64) -> Option<Self> {
        // Adding zero makes a negative zero positive, so that there is one zero only.
        float.is_finite().then_some(Self::Float(float + 0.0))
    }

    /// Compares exactly: an integer is not rounded to meet a float.
    pub(crate) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(&right),
            (Self::Float(left), Self::Float(right)) => left.total_cmp(&right),
            (Self::Integer(left), Self::Float(right)) => compare_exactly(left, right),
            (Self::Float(left), Self::Integer(right)) => compare_exactly(right, left).reverse(),
        }
    }
}

/// Compares an integer with a finite float.
fn compare_exactly(integer: i64, float: f64) -> Ordering {
    /// 2^63: every `i64` is below it, and none is below its negative.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if float >= BEYOND {
        return Ordering::Less;
    }
    if float < -BEYOND {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    integer.cmp(&(whole as i64)).then_with(|| 0.0_f64.total_cmp(&(float - whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Number {
        Number::read(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn a_number_is_read_from_its_usual_forms_only() {
        for number in
            ["0", "-0", "+7", "007", "5.", ".5", "-.5", "1e3", "1.5E-3", "9223372036854775808", "1e308"]
        {
            assert!(Number::read(number).is_some(), "{number}");
        }
        let others = [
            "", " 1", "1 ", "-", "+-1", ".", "e5", "1e", "1e+", "1.2.3", "1L", "0x1F", "NaN", "inf", "1e999",
            "١",
        ];
        for other in others {
            assert!(Number::read(other).is_none(), "{other}");
        }
    }

    #[test]
    fn integers_and_floats_are_compared_without_rounding() {
        let ascending = [
            "-1e300",
            "-9223372036854775809.0e3",
            "-9223372036854775808",
            "-2.5",
            "-2",
            "-0.5",
            "0",
            "0.5",
            "2",
            "2.5",
            "9007199254740992.0",
            "9007199254740993",
            "9223372036854775807",
            "9223372036854775808.0",
            "1e300",
        ];
        for (left, small) in ascending.iter().enumerate() {
            for (right, large) in ascending.iter().enumerate() {
                assert_eq!(read(small).compare(read(large)), left.cmp(&right), "{small} and {large}");
            }
        }
    }

    #[test]
    fn a_number_equals_itself_in_every_form() {
        for (one, other) in [
            ("2", "2.0"),
            ("-0.0", "0"),
            ("-0", "0.0"),
            ("1e3", "1000"),
            ("-9223372036854775808", "-9223372036854775808.0"),
        ] {
            assert_eq!(read(one).compare(read(other)), Ordering::Equal, "{one} and {other}");
        }
    }
}
