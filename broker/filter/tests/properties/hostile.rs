//! Texts that are no expressions, or were made to hurt.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rq_filter::{Expression, MAX_BYTES, MAX_CONDITIONS, MAX_DEPTH, Properties};

use crate::message::{Message, message};
use crate::print::{Dialect, tokens};
use crate::tree::tree;

/// Far more than is needed, on a machine with much else to do.
const QUICK: Duration = Duration::from_secs(5);

/// Pieces of which hardly any sequence is an expression.
const PIECES: [&str; 45] = [
    "a",
    "b",
    "like",
    "escape",
    "'x'",
    "''",
    "'",
    "1",
    "-1",
    "1.5",
    "1e3",
    "1e",
    ".",
    "9223372036854775808",
    "(",
    ")",
    ",",
    "+",
    "-",
    "--",
    "/*",
    "*/",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "==",
    "!",
    "NOT",
    "AND",
    "OR",
    "BETWEEN",
    "IN",
    "TRUE",
    "FALSE",
    "NULL",
    "IS",
    "CONTAINS",
    "STARTSWITH",
    "ENDSWITH",
    "LIKE '%_%'",
    "ESCAPE '_'",
    "é",
];

/// Parses, and evaluates what is an expression after all. Gives where it is refused if it is not.
fn try_out(text: &str, message: &Message) -> Option<usize> {
    match Expression::parse(text) {
        Ok(expression) => {
            expression.matches(message);
            let again = Expression::parse(&expression.to_string());
            assert!(again.is_ok_and(|again| again == expression), "{text} prints as {expression}");
            None
        }
        Err(error) => Some(error.position.character),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200), message in message()) {
        try_out(&String::from_utf8_lossy(&bytes), &message);
    }

    #[test]
    fn any_text_is_read_or_refused_within_it(text in any::<String>(), message in message()) {
        let refused_at = try_out(&text, &message);
        prop_assert!(refused_at.is_none_or(|at| (1..=text.chars().count() + 1).contains(&at)));
    }

    #[test]
    fn any_sequence_of_words_is_read_or_refused(
        pieces in vec(select(&PIECES[..]), 0..20),
        blank in select(&["", " "][..]),
        message in message(),
    ) {
        try_out(&pieces.join(blank), &message);
    }

    #[test]
    fn a_spoiled_expression_is_read_or_refused(
        tree in tree(),
        spoils in vec((any::<Index>(), 0..3usize, select(&PIECES[..])), 1..4),
        message in message(),
    ) {
        let mut characters: Vec<char> = tokens(&tree, Dialect::Filter).join(" ").chars().collect();
        for (at, removed, inserted) in spoils {
            let at = at.index(characters.len() + 1);
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, inserted.chars());
        }
        try_out(&characters.iter().collect::<String>(), &message);
    }
}

/// Every property has the same value.
struct Everywhere(String);

impl Properties for Everywhere {
    fn get(&self, _: &str) -> Option<&str> {
        Some(&self.0)
    }
}

#[expect(clippy::disallowed_types, reason = "the test has a clock, the crate has none")]
fn is_quick(what: &str, does: impl FnOnce()) {
    let start = std::time::Instant::now();
    does();
    let took = start.elapsed();
    assert!(took < QUICK, "{what} took {took:?}");
}

#[test]
fn a_text_of_the_greatest_length_is_read_or_refused_quickly() {
    for piece in [
        "(", "NOT ", "-", "'", "''", "a ", "a=1 OR ", "/*", "/**/", "--\n", "1", "a IN (", "é", "NULL IS ",
        ".5",
    ] {
        let text = piece.repeat(MAX_BYTES / piece.len());
        is_quick(piece, || drop(Expression::parse(&text)));
    }
    is_quick("a text far too long", || assert!(Expression::parse(&"a".repeat(64 << 20)).is_err()));
}

#[test]
fn the_costliest_expressions_are_evaluated_quickly() {
    let most = MAX_CONDITIONS - 2;
    let nested = format!("{}a{} = TRUE", "(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH));
    let costly = [
        ("numbers", vec!["a>1"; most].join(" OR "), "1".repeat(1 << 16)),
        ("searches", vec!["a CONTAINS'xy'"; 900].join(" OR "), "x".repeat(1 << 16)),
        (
            "a pattern tried everywhere",
            format!("a LIKE '%{}y%'", "x_".repeat(most / 2 - 1)),
            "x".repeat(1 << 16),
        ),
        ("patterns", vec!["a LIKE '%x%y'"; most / 2].join(" OR "), "x".repeat(1 << 16)),
        (
            "a list",
            format!("a IN ({})", (1..2_500).map(|n| n.to_string()).collect::<Vec<_>>().join(",")),
            "0".repeat(1 << 16),
        ),
        ("the deepest", nested, "true".into()),
    ];
    for (what, text, value) in costly {
        let expression = Expression::parse(&text).unwrap_or_else(|error| panic!("{what}: {error}"));
        is_quick(what, || _ = expression.matches(&Everywhere(value)));
    }
}

#[test]
fn fuzzed_texts_are_read_or_refused_in_words() {
    let seeds = [
        "a = 1 AND (b <> 'x''y' OR NOT c IS NULL)",
        "a BETWEEN 1 AND 2.5e3 AND b NOT IN ('x', 'y') AND c LIKE 'x!%_' ESCAPE '!'",
        "a CONTAINS 'x' OR b STARTSWITH 'y' OR c NOT ENDSWITH 'z' OR TRUE = FALSE",
    ];
    rq_fuzz::fuzz(seeds.map(|seed| seed.as_bytes().to_vec()), |input| {
        let Ok(text) = std::str::from_utf8(input) else { return String::new() };
        match Expression::parse(text) {
            Ok(expression) => {
                let printed = expression.to_string();
                let again = Expression::parse(&printed).map(|again| again == expression);
                assert!(printed.len() > MAX_BYTES || again == Ok(true), "{text} is printed as {printed}");
                expression.matches(&Everywhere("5".to_owned())).to_string()
            }
            // The found text is another one each time.
            Err(error) => error.to_string().rsplit("expected").next().unwrap_or_default().to_owned(),
        }
    });
}
