//! What a condition is of one message. Recursion goes as deep as the expression is nested, which is bounded,
//! and nothing is allocated.

use std::cmp::Ordering;

use crate::Properties;
use crate::condition::{Condition, List, Operand, Order, Search};
use crate::value::{Number, Truth, Value, read_boolean};

impl Condition {
    pub(crate) fn truth(&self, message: &impl Properties) -> Truth {
        match self {
            Self::Constant(truth) => *truth,
            Self::Property(name) => message.get(name).map(read_boolean),
            Self::Not(condition) => condition.truth(message).map(|truth| !truth),
            Self::All(conditions) => unless(false, conditions, message),
            Self::Any(conditions) => unless(true, conditions, message),
            Self::Equal(left, right) => left.value(message)?.equal(right.value(message)?),
            Self::Ordered(left, order, right) => {
                Some(order.holds(left.number(message)?.compare(right.number(message)?)))
            }
            Self::Between { value, low, high } => between(value, low, high, message),
            Self::IsNull(operand) => Some(operand.value(message).is_none()),
            Self::In(name, list) => list.contains(message.get(name)?),
            Self::Text(operand, search) => match operand.value(message)? {
                Value::Text(text) => search.finds(text),
                Value::Number(_) | Value::Boolean(_) => None,
            },
        }
    }
}

/// `decisive` if one of the conditions is, however unknown the others are; else UNKNOWN if one is; else the
/// opposite. With `false` this is AND, with `true` it is OR.
fn unless(decisive: bool, conditions: &[Condition], message: &impl Properties) -> Truth {
    let mut result = Some(!decisive);
    for condition in conditions {
        match condition.truth(message) {
            Some(truth) if truth == decisive => return Some(decisive),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

/// `value >= low AND value <= high`, so that one bound can decide while the other is unknown.
fn between(value: &Operand, low: &Operand, high: &Operand, message: &impl Properties) -> Truth {
    let value = value.number(message)?;
    let above = low.number(message).map(|low| value.compare(low).is_ge());
    let below = high.number(message).map(|high| value.compare(high).is_le());
    match (above, below) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        (None, _) | (_, None) => None,
    }
}

impl Operand {
    fn value<'a>(&'a self, message: &'a impl Properties) -> Option<Value<'a>> {
        match self {
            Self::Property(name) => message.get(name).map(Value::Text),
            Self::Text(text) => Some(Value::Text(text)),
            Self::Number(number) => Some(Value::Number(*number)),
            Self::Condition(condition) => condition.truth(message).map(Value::Boolean),
        }
    }

    fn number(&self, message: &impl Properties) -> Option<Number> {
        self.value(message)?.number()
    }
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl List {
    /// Whether a text equals one of the constants. UNKNOWN if it does not, and some are numbers while it is
    /// none.
    fn contains(&self, text: &str) -> Truth {
        if self.texts.binary_search_by(|other| (**other).cmp(text)).is_ok() {
            return Some(true);
        }
        if self.numbers.is_empty() {
            return Some(false);
        }
        let number = Number::read(text)?;
        Some(self.numbers.binary_search_by(|other| other.compare(number)).is_ok())
    }
}

impl Search {
    /// Whether a text has what is looked for. To look for an empty string is UNKNOWN, so that neither CONTAINS
    /// nor NOT CONTAINS matches, as in the reference.
    fn finds(&self, text: &str) -> Truth {
        let (needle, found): (&str, fn(&str, &str) -> bool) = match self {
            Self::Contains(needle) => (needle, |text, needle| text.contains(needle)),
            Self::StartsWith(needle) => (needle, |text, needle| text.starts_with(needle)),
            Self::EndsWith(needle) => (needle, |text, needle| text.ends_with(needle)),
            Self::Like { pattern, .. } => return Some(pattern.matches(text)),
        };
        if needle.is_empty() { None } else { Some(found(text, needle)) }
    }
}
