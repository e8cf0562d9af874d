//! Random expressions, as trees. Every one is valid.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::message::{NAMES, Number, number, text};

#[derive(Clone, Debug)]
pub(crate) enum Tree {
    Constant(Option<bool>),
    Property(&'static str),
    Not(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
    /// Both sides and whether it is `<>`.
    Equal(Operand, Operand, bool),
    Ordered(Operand, &'static str, Operand),
    /// From here on the last says whether there is a NOT inside.
    Between([Operand; 3], bool),
    IsNull(Operand, bool),
    In(&'static str, Vec<Operand>, bool),
    Like(Operand, String, bool),
    Search(Operand, &'static str, String, bool),
}

#[derive(Clone, Debug)]
pub(crate) enum Operand {
    Property(&'static str),
    Text(String),
    Number(Number),
    Condition(Box<Tree>),
}

fn name() -> impl Strategy<Value = &'static str> + Clone {
    select(&NAMES[..])
}

fn property() -> impl Strategy<Value = Operand> + Clone {
    name().prop_map(Operand::Property)
}

fn text_constant() -> impl Strategy<Value = Operand> {
    text().prop_map(Operand::Text)
}

fn number_constant() -> impl Strategy<Value = Operand> {
    number().prop_map(Operand::Number)
}

/// What has an order.
fn ordered() -> impl Strategy<Value = Operand> {
    prop_oneof![3 => property(), 1 => number_constant()]
}

/// What can be searched.
fn textual() -> impl Strategy<Value = Operand> {
    prop_oneof![5 => property(), 1 => text_constant()]
}

/// A pattern whose escape character is `!`.
fn pattern() -> impl Strategy<Value = String> {
    let parts = select(&["%", "%", "a", "a", "b", "b", "_", "é", "'", "!%", "!_", "!!"][..]);
    vec(parts, 0..6).prop_map(|parts| parts.concat())
}

fn leaf() -> impl Strategy<Value = Tree> {
    let constant = select(&[None, Some(true), Some(false)][..]).prop_map(Tree::Constant);
    let equal = (property(), prop_oneof![property(), text_constant(), number_constant()], any::<bool>())
        .prop_map(|(left, right, negated)| Tree::Equal(left, right, negated));
    let constants = (number_constant(), number_constant(), any::<bool>())
        .prop_map(|(left, right, negated)| Tree::Equal(left, right, negated));
    let order = (ordered(), select(&["<", "<=", ">", ">="][..]), ordered())
        .prop_map(|(left, order, right)| Tree::Ordered(left, order, right));
    let between = ([ordered(), ordered(), ordered()], any::<bool>())
        .prop_filter_map("bounds are in order", |(operands, negated)| in_order(operands, negated));
    let member = prop_oneof![2 => text_constant(), 1 => number_constant()];
    let list = (name(), vec(member, 1..5), any::<bool>())
        .prop_map(|(name, list, negated)| Tree::In(name, list, negated));
    let like = (textual(), pattern(), any::<bool>())
        .prop_map(|(operand, pattern, negated)| Tree::Like(operand, pattern, negated));
    let word = select(&["CONTAINS", "STARTSWITH", "ENDSWITH"][..]);
    let needle = text().prop_filter("looks for something", |needle| !needle.is_empty());
    let search = (textual(), word, needle, any::<bool>())
        .prop_map(|(operand, word, needle, negated)| Tree::Search(operand, word, needle, negated));
    prop_oneof![
        1 => constant,
        1 => name().prop_map(Tree::Property),
        4 => equal,
        1 => constants,
        4 => order,
        3 => between,
        2 => (property(), any::<bool>()).prop_map(|(operand, negated)| Tree::IsNull(operand, negated)),
        3 => list,
        3 => like,
        3 => search,
    ]
}

/// A BETWEEN, unless its bounds are constants with the higher one first, which is refused.
fn in_order(operands: [Operand; 3], negated: bool) -> Option<Tree> {
    let value = |number: &Number| match number {
        Number::Integer(integer) => *integer as f64,
        Number::Quarters(quarters) => f64::from(*quarters) / 4.0,
    };
    match &operands {
        [_, Operand::Number(low), Operand::Number(high)] if low != high && value(low) >= value(high) => None,
        _ => Some(Tree::Between(operands, negated)),
    }
}

/// A tree of up to five levels of AND, OR, NOT and conditions that are compared.
pub(crate) fn tree() -> impl Strategy<Value = Tree> {
    leaf().prop_recursive(5, 32, 3, |inner| {
        let condition = inner.clone().prop_map(|tree| match tree {
            // A property in parentheses is a property.
            Tree::Property(name) => Operand::Property(name),
            other => Operand::Condition(other.into()),
        });
        let comparable = condition.clone().prop_filter("nothing equals NULL", |operand| match operand {
            Operand::Condition(tree) => !matches!(**tree, Tree::Constant(None)),
            _ => true,
        });
        let equal = (comparable.clone(), prop_oneof![comparable, property()], any::<bool>());
        prop_oneof![
            2 => inner.clone().prop_map(|tree| Tree::Not(tree.into())),
            3 => vec(inner.clone(), 2..4).prop_map(Tree::And),
            3 => vec(inner, 2..4).prop_map(Tree::Or),
            1 => equal.prop_map(|(left, right, negated)| Tree::Equal(left, right, negated)),
            1 => (condition, any::<bool>()).prop_map(|(operand, negated)| Tree::IsNull(operand, negated)),
        ]
    })
}
