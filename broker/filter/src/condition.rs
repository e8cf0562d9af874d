//! What an expression is once it is compiled. That a tree makes sense (an order between numbers only, say) is
//! the parser's to see; its depth and size are within the crate's limits.

use crate::like::Pattern;
use crate::value::{Number, Truth};

/// Something that is TRUE, FALSE or UNKNOWN of a message.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    /// TRUE, FALSE, NULL.
    Constant(Truth),
    /// A property by itself: whether it reads as TRUE.
    Property(Name),
    Not(Box<Condition>),
    /// AND of two or more, none of which is an AND itself.
    All(Vec<Condition>),
    /// OR of two or more, none of which is an OR itself.
    Any(Vec<Condition>),
    Equal(Operand, Operand),
    Ordered(Operand, Order, Operand),
    Between {
        value: Operand,
        low: Operand,
        high: Operand,
    },
    IsNull(Operand),
    In(Name, List),
    Text(Operand, Search),
}

/// The name of a property.
pub(crate) type Name = Box<str>;

/// What a condition is about.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    Property(Name),
    Text(Box<str>),
    Number(Number),
    /// A condition in parentheses, or TRUE, FALSE or NULL.
    Condition(Box<Condition>),
}

/// How the left of two numbers stands to the right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The constants of an IN, in ascending order and each once.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(crate) texts: Box<[Box<str>]>,
    pub(crate) numbers: Box<[Number]>,
}

/// What is looked for in a text.
#[derive(Clone, Debug)]
pub(crate) enum Search {
    Contains(Box<str>),
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Like {
        /// The pattern and its escape character as they were given.
        source: Box<str>,
        escape: Option<char>,
        pattern: Pattern,
    },
}

impl List {
    pub(crate) fn new(mut texts: Vec<Box<str>>, mut numbers: Vec<Number>) -> Self {
        texts.sort_unstable();
        texts.dedup();
        numbers.sort_unstable_by(|left, right| left.compare(*right));
        numbers.dedup_by(|left, right| left.compare(*right).is_eq());
        Self { texts: texts.into(), numbers: numbers.into() }
    }
}
