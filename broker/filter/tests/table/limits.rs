//! How large an expression may be.

use rq_filter::{Expression, MAX_BYTES, MAX_CONDITIONS, MAX_DEPTH};

use super::refused;

#[test]
fn an_expression_has_a_longest_length() {
    let longest = format!("a = '{}'", "x".repeat(MAX_BYTES - 6));
    assert!(Expression::parse(&longest).is_ok());
    let error = refused(&format!("{longest} "));
    assert_eq!(error.position.character, MAX_BYTES + 1);
    assert_eq!(error.expected, format!("at most {MAX_BYTES} bytes"));
}

#[test]
fn an_expression_has_a_greatest_depth() {
    let nested = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Expression::parse(&nested(MAX_DEPTH)).is_ok());
    let error = refused(&nested(MAX_DEPTH + 1));
    assert_eq!(error.position.character, MAX_DEPTH + 1);
    assert_eq!(error.expected, format!("an expression of at most {MAX_DEPTH} levels"));
    assert!(Expression::parse(&format!("{} a", "NOT ".repeat(MAX_DEPTH))).is_ok());
    assert_eq!(refused(&format!("{} a", "NOT ".repeat(MAX_DEPTH + 1))).position.character, 4 * MAX_DEPTH + 1);
    // Depth is what is open at one place, not what was open before.
    assert!(Expression::parse(&["((a))"; 300].join(" AND ")).is_ok());
}

#[test]
fn an_expression_has_a_greatest_number_of_conditions() {
    let any = |count: usize| vec!["a = 1"; count].join(" OR ");
    assert!(Expression::parse(&any(MAX_CONDITIONS - 1)).is_ok());
    assert_eq!(refused(&any(MAX_CONDITIONS)).expected, format!("at most {MAX_CONDITIONS} conditions"));
    // The constants of a list are looked up and cost nothing; a pattern that is tried at every place does.
    assert!(Expression::parse(&format!("a IN ({})", vec!["'b'"; 3_000].join(","))).is_ok());
    let like = |piece: &str| format!("a LIKE '%{}%'", piece.repeat(MAX_CONDITIONS / 2));
    assert!(Expression::parse(&like("xx")).is_ok());
    assert_eq!(refused(&like("x_")).expected, format!("at most {MAX_CONDITIONS} conditions"));
}
