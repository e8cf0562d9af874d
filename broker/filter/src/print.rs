//! The canonical form of an expression: one space between words, words in capitals, only the parentheses that
//! are needed, the constants of an IN in ascending order. It parses to the same condition.

use std::fmt::{self, Display, Formatter, Write};

use crate::condition::{Condition, Operand, Order, Search};
use crate::value::Number;

/// How tightly a condition holds together; what it is part of puts it into parentheses if that is tighter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
    Predicate,
}

impl Condition {
    fn binding(&self) -> Binding {
        match self {
            Self::Any(_) => Binding::Or,
            Self::All(_) => Binding::And,
            Self::Not(inner) if inner.takes_not_inside() => Binding::Predicate,
            Self::Not(_) => Binding::Not,
            _ => Binding::Predicate,
        }
    }

    /// Whether its negation is written inside: `a <> b`, `a NOT IN (…)`.
    fn takes_not_inside(&self) -> bool {
        matches!(
            self,
            Self::Equal(..) | Self::Between { .. } | Self::IsNull(_) | Self::In(..) | Self::Text(..)
        )
    }

    fn print(&self, f: &mut Formatter<'_>, within: Binding) -> fmt::Result {
        if self.binding() < within {
            return write!(f, "({self})");
        }
        write!(f, "{self}")
    }

    /// A predicate, or its negation with the NOT inside.
    fn print_predicate(&self, f: &mut Formatter<'_>, negated: bool) -> fmt::Result {
        let not = if negated { "NOT " } else { "" };
        match self {
            Self::Constant(Some(true)) => f.write_str("TRUE"),
            Self::Constant(Some(false)) => f.write_str("FALSE"),
            Self::Constant(None) => f.write_str("NULL"),
            Self::Property(name) => f.write_str(name),
            Self::Equal(left, right) => write!(f, "{left} {} {right}", if negated { "<>" } else { "=" }),
            Self::Ordered(left, order, right) => write!(f, "{left} {order} {right}"),
            Self::Between { value, low, high } => write!(f, "{value} {not}BETWEEN {low} AND {high}"),
            Self::IsNull(operand) => write!(f, "{operand} IS {not}NULL"),
            Self::In(name, list) => {
                write!(f, "{name} {not}IN (")?;
                print_joined(f, ", ", &list.texts, |text, f| print_text(f, text))?;
                f.write_str(if list.texts.is_empty() || list.numbers.is_empty() { "" } else { ", " })?;
                print_joined(f, ", ", &list.numbers, Number::fmt)?;
                f.write_char(')')
            }
            Self::Text(operand, search) => write!(f, "{operand} {not}{search}"),
            Self::Not(_) | Self::All(_) | Self::Any(_) => write!(f, "({self})"),
        }
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(parts) => print_joined(f, " AND ", parts, |part, f| part.print(f, Binding::Not)),
            Self::Any(parts) => print_joined(f, " OR ", parts, |part, f| part.print(f, Binding::And)),
            Self::Not(inner) if inner.takes_not_inside() => inner.print_predicate(f, true),
            Self::Not(inner) => {
                f.write_str("NOT ")?;
                inner.print(f, Binding::Not)
            }
            predicate => predicate.print_predicate(f, false),
        }
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Property(name) => f.write_str(name),
            Self::Text(text) => print_text(f, text),
            Self::Number(number) => number.fmt(f),
            Self::Condition(condition) => match **condition {
                Condition::Constant(_) => condition.fmt(f),
                _ => write!(f, "({condition})"),
            },
        }
    }
}

impl Display for Search {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (word, text, escape) = match self {
            Self::Contains(text) => ("CONTAINS", text, None),
            Self::StartsWith(text) => ("STARTSWITH", text, None),
            Self::EndsWith(text) => ("ENDSWITH", text, None),
            Self::Like { source, escape, .. } => ("LIKE", source, *escape),
        };
        write!(f, "{word} ")?;
        print_text(f, text)?;
        let Some(escape) = escape else { return Ok(()) };
        f.write_str(" ESCAPE ")?;
        print_text(f, escape.encode_utf8(&mut [0; 4]))
    }
}

impl Display for Order {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(f, "{integer}"),
            // The debug form always has a point or an exponent, so that it is read as a float again.
            Self::Float(float) => write!(f, "{float:?}"),
        }
    }
}

/// A string as it is written in an expression.
fn print_text(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('\'')?;
    for character in text.chars() {
        if character == '\'' {
            f.write_char('\'')?;
        }
        f.write_char(character)?;
    }
    f.write_char('\'')
}

fn print_joined<T>(
    f: &mut Formatter<'_>,
    separator: &str,
    parts: &[T],
    print: impl Fn(&T, &mut Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        print(part, f)?;
    }
    Ok(())
}
