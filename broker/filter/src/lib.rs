//! The filters of RocketMQ's filter type SQL: a condition over the properties of a message, written as in the
//! WHERE of a query, compiled once and evaluated for each message.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use rq_filter::{Expression, Properties};
//!
//! struct Message(BTreeMap<&'static str, &'static str>);
//!
//! impl Properties for Message {
//!     fn get(&self, name: &str) -> Option<&str> {
//!         self.0.get(name).copied()
//!     }
//! }
//!
//! let filter = Expression::parse("TAGS = 'order' AND (amount >= 100 OR region IN ('eu', 'uk'))")?;
//! assert!(filter.matches(&Message(BTreeMap::from([("TAGS", "order"), ("region", "uk")]))));
//! assert!(!filter.matches(&Message(BTreeMap::from([("TAGS", "order"), ("amount", "9.50")]))));
//!
//! let refused = Expression::parse("amount == 100").unwrap_err();
//! assert_eq!(
//!     refused.to_string(),
//!     "illegal filter expression at character 8: found `==`, expected `=`; write one = to compare"
//! );
//! # Ok::<(), rq_filter::SyntaxError>(())
//! ```
//!
//! # Grammar
//!
//! ```text
//! any        = all { OR all }
//! all        = not { AND not }
//! not        = NOT not | predicate
//! predicate  = operand [ comparison ]
//! comparison = ( = | <> ) operand
//!            | ( < | <= | > | >= ) operand
//!            | IS [ NOT ] NULL
//!            | [ NOT ] BETWEEN operand AND operand
//!            | [ NOT ] IN ( constant { , constant } )
//!            | [ NOT ] LIKE string [ ESCAPE string ]
//!            | [ NOT ] ( CONTAINS | STARTSWITH | ENDSWITH ) string
//! operand    = name | constant | TRUE | FALSE | NULL | ( any )
//! constant   = string | [ + | - ] number
//! name       = a letter, _ or $, and then letters, digits, _ and $
//! string     = ' characters, with '' for one ' '
//! number     = 42, 42L, 0.5, .5, 5., 1.5e-3
//! ```
//!
//! Letters are those of ASCII; a string may hold any characters. The words of the language may be written in
//! any case, the names of properties are as the sender wrote them. Blanks and comments (`-- to the end of the
//! line`, `/* like this */`) may stand between any two tokens. The words NOT, AND, OR, BETWEEN, IN, TRUE, FALSE,
//! NULL, IS, CONTAINS, STARTSWITH and ENDSWITH name no property; LIKE and ESCAPE do where they are no operator.
//!
//! The property `TAGS` is the message's tag, if [`Properties`] gives it.
//!
//! # Values
//!
//! A property is text, or missing. What it is compared with decides what it is read as:
//!
//! | a property and | is read as |
//! |---|---|
//! | a string, or with `=`, `<>` another property | itself: letter case counts, and so does every blank |
//! | a number, or with `<`, `<=`, `>`, `>=`, BETWEEN another property | a number: `42`, `-1`, `+0.5`, `.5`, `1.5e-3`, without blanks; other text is no number |
//! | TRUE, FALSE, a condition, or nothing (`urgent AND …`) | TRUE for `true` in any case, FALSE for other text |
//!
//! Numbers are 64-bit integers and double-precision floats, compared exactly. Strings have no order. LIKE,
//! CONTAINS, STARTSWITH and ENDSWITH take the text of a property as it is. In a LIKE, `%` stands for any run of
//! characters and `_` for any one (Unicode scalar value); after the character that ESCAPE names, both stand for
//! themselves.
//!
//! # TRUE, FALSE and UNKNOWN
//!
//! A comparison with a missing property, or of a number with text that is none, is UNKNOWN. A message passes
//! only if the whole expression is TRUE, so UNKNOWN does not pass, and neither does NOT of it:
//!
//! | | |
//! |---|---|
//! | `NOT UNKNOWN` | UNKNOWN |
//! | `UNKNOWN AND FALSE` | FALSE |
//! | `UNKNOWN AND TRUE`, `UNKNOWN AND UNKNOWN` | UNKNOWN |
//! | `UNKNOWN OR TRUE` | TRUE |
//! | `UNKNOWN OR FALSE`, `UNKNOWN OR UNKNOWN` | UNKNOWN |
//! | `UNKNOWN IS NULL` | TRUE |
//!
//! So `color <> 'red'` does not pass messages without a color; `color <> 'red' OR color IS NULL` does. NULL is
//! UNKNOWN written down. To look for an empty string with CONTAINS, STARTSWITH or ENDSWITH is UNKNOWN.
//!
//! # What is refused
//!
//! [`SyntaxError`] says where, what was found, what was expected and what to do. Refused is also what could not
//! be TRUE of any message: `= NULL`, a constant compared with one of another type, an order of anything but
//! properties and numbers, BETWEEN with its bounds swapped. Limits: [`MAX_BYTES`], [`MAX_DEPTH`],
//! [`MAX_CONDITIONS`]. They also bound the time that a message takes.
//!
//! # Where Apache RocketMQ differs
//!
//! It has neither LIKE nor numbers in IN, and:
//!
//! | expression | there | here |
//! |---|---|---|
//! | `NOT a IS NULL`, `NOT a = 'x'` | NOT goes with `a` alone: the first asks whether `a` is missing, the second never passes | as in SQL92, NOT goes with the comparison |
//! | `a > 5 OR b = 'x'` where `a` is `abc` | never passes: the conversion ends the evaluation | UNKNOWN for `a`, so `b` decides |
//! | `b <> a`, `'x' <> a`, `NOT (a CONTAINS 'x')` where `a` is missing | TRUE | UNKNOWN, as `a <> 'x'` is there too |
//! | `a = b` where both are missing | TRUE | UNKNOWN |
//! | `a > 3` where `a` is `3.5` | never passes: compared with an integer, only integers are numbers | TRUE |
//! | `a` where it is `true`; `TRUE = a` | FALSE; never passes | as `a = TRUE` |
//! | `a = b = c`, `-a > 3`, `'1' = 1`, `3 CONTAINS 'x'`, `a NOT BETWEEN 2 AND 1`, `a=1and b=2` | taken, mostly without sense | refused |
//! | `a = 0.0`, `a = -9223372036854775808` | refused | taken |
//! | `a = 'x' b`, `a LIKE 'x'`, `a = 007` | what cannot be read is left out: `a = 'x'`, `a`, `a = 0` | refused; LIKE; 7 |

mod condition;
mod error;
mod evaluate;
mod expression;
mod lexer;
mod like;
mod parser;
mod print;
mod value;

pub use error::{Position, SyntaxError};
pub use expression::Expression;

/// Longest expression, in bytes of UTF-8.
pub const MAX_BYTES: usize = 16 * 1024;

/// Most parentheses and NOTs that may be open at one place.
pub const MAX_DEPTH: usize = 64;

/// Most conditions of an expression: comparisons, and each AND, OR and NOT (`<>` and NOT IN have one inside). An
/// IN is one, however many constants it lists.
///
/// Each reads a property once or a few times, so this bounds the time that a message takes. Where a LIKE may read
/// it more often, it counts accordingly: a piece with `_` between two `%` counts once more for each of its
/// characters.
pub const MAX_CONDITIONS: usize = 1024;

/// The properties of a message.
pub trait Properties {
    /// The value of a property, or `None` if the message has none of this name. Names differ by case.
    fn get(&self, name: &str) -> Option<&str>;
}
