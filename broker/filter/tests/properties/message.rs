//! Random messages.

use std::fmt;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rq_filter::Properties;

/// The properties that expressions name.
pub(crate) const NAMES: [&str; 4] = ["a", "b", "like", "$d_4"];

/// A number and how it is written.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Number {
    Integer(i64),
    /// In quarters, which decimals and floats both hold exactly.
    Quarters(i32),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Quarters(quarters) => write!(f, "{:?}", f64::from(*quarters) / 4.0),
        }
    }
}

/// A property's value: a number written as text, or text that is no number.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Number(Number),
    Text(String),
}

/// The properties in the order of [`NAMES`]: the value and its text.
#[derive(Clone, Debug)]
pub(crate) struct Message(pub(crate) Vec<Option<(Value, String)>>);

impl Properties for Message {
    fn get(&self, name: &str) -> Option<&str> {
        let at = NAMES.iter().position(|known| *known == name)?;
        self.0.get(at)?.as_ref().map(|(_, text)| text.as_str())
    }
}

/// Few small numbers, so that many are equal, and some where floats have no more digits.
pub(crate) fn number() -> impl Strategy<Value = Number> {
    let edge = prop_oneof![Just(i64::MIN), Just(i64::MAX), (0..4i64).prop_map(|more| (1 << 53) + more)];
    prop_oneof![
        6 => (-3..=3i64).prop_map(Number::Integer),
        6 => (-12..=12i32).prop_map(Number::Quarters),
        1 => edge.prop_map(Number::Integer),
        1 => any::<i64>().prop_map(Number::Integer),
        1 => any::<i32>().prop_map(Number::Quarters),
    ]
}

/// Few short texts, so that many are equal or parts of others. None is a number, and none has a NUL, which
/// SQLite takes for the end.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => "[ab]{0,4}",
        2 => "[ab%_'é日!]{0,4}",
        1 => prop_oneof![Just("true"), Just("TRUE"), Just("false"), Just("NULL"), Just("x 1")].prop_map_into(),
    ]
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    let value = prop_oneof![number().prop_map(Value::Number), text().prop_map(Value::Text)];
    let written = value.prop_map(|value| {
        let text = match &value {
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text.clone(),
        };
        (value, text)
    });
    vec(option::weighted(0.8, written), NAMES.len()).prop_map(Message)
}
