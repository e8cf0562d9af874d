//! The compiled expression.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::condition::Condition;
use crate::error::SyntaxError;
use crate::{Properties, parser};

/// A filter, compiled: see [the language](crate). It is cheap to evaluate, from any number of threads.
///
/// Two expressions are equal if they have the same canonical form, which [`Display`](fmt::Display) prints:
/// blanks, comments, the case of words and needless parentheses make no difference.
#[derive(Clone)]
pub struct Expression {
    condition: Condition,
    /// The canonical form.
    canonical: Box<str>,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// [`SyntaxError`] if it is no expression, compares what can never be compared, or is over a limit
    /// ([`MAX_BYTES`](crate::MAX_BYTES), [`MAX_DEPTH`](crate::MAX_DEPTH),
    /// [`MAX_CONDITIONS`](crate::MAX_CONDITIONS)).
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let condition = parser::parse(text)?;
        let canonical = condition.to_string().into();
        Ok(Self { condition, canonical })
    }

    /// Whether a message passes. One of which the expression is UNKNOWN does not.
    ///
    /// Asks for each property as often as the expression names it, at most, and takes time in proportion to
    /// [`MAX_CONDITIONS`](crate::MAX_CONDITIONS) and the length of the properties.
    pub fn matches(&self, properties: &impl Properties) -> bool {
        self.condition.truth(properties) == Some(true)
    }
}

impl fmt::Display for Expression {
    /// Writes the canonical form. It parses to an equal expression, unless it is longer than
    /// [`MAX_BYTES`](crate::MAX_BYTES), which its source need not have been.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.canonical).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}
