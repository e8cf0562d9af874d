//! When two expressions are the same.

use rq_filter::Expression;

#[test]
fn expressions_are_equal_if_only_blanks_case_and_needless_parentheses_differ() {
    let parse = |text: &str| Expression::parse(text).unwrap();
    for (one, other) in [
        ("a=3 and b<>4", "a = 3 /* and */ AND (b <> 4)"),
        ("NOT (a = 1)", "a <> 1"),
        ("a AND (b AND c)", "(a AND b) AND c"),
        ("a IN ('y', 'x', 2, 'y')", "(a) in (2, 'x', 'y')"),
        ("NOT (a LIKE 'x')", "a NOT LIKE 'x'"),
    ] {
        assert_eq!(parse(one), parse(other));
    }
    for (one, other) in
        [("a = 3", "A = 3"), ("a = 'x'", "a = 'X'"), ("a AND b OR c", "a AND (b OR c)"), ("a = '3'", "a = 3")]
    {
        assert_ne!(parse(one), parse(other));
    }
    for canonical in [
        "NOT (a OR b) AND c >= -1.5e300 AND d NOT IN ('it''s', 2) AND (e LIKE '!%' ESCAPE '!') = TRUE",
        "a AND (b OR NOT c) OR NOT NOT d",
        "NOT a > 5 OR a IS NOT NULL AND a <> b OR a NOT BETWEEN -1 AND 2.0",
        "(a IS NULL) IS NULL AND a NOT CONTAINS 'x' AND NULL",
    ] {
        assert_eq!(parse(canonical).to_string(), canonical);
        assert_eq!(parse(&canonical.to_lowercase()).to_string(), canonical);
        assert_eq!(parse(&format!("({canonical})")).to_string(), canonical);
    }
}
