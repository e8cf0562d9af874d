//! What a refused expression's author reads.

use rq_filter::Position;

use super::refused;

/// Checks pairs of lines: an expression, and below the character where it is refused a `^` and what is said. Tells
/// all that fail, as they should stand in the table if the new message is right.
fn are_refused(table: &str) {
    let mut wrong = Vec::new();
    let lines: Vec<&str> = table.trim_matches('\n').lines().collect();
    for pair in lines.chunks(2) {
        let error = refused(pair[0]);
        let said = error.to_string();
        let (_, said) = said.split_once(": ").unwrap();
        let marked = format!("{}^ {said}", " ".repeat(error.position.character - 1));
        if pair[1] != marked {
            wrong.push(format!("{}\n{marked}", pair[0]));
        }
    }
    assert!(wrong.is_empty(), "refused differently:\n{}", wrong.join("\n"));
}

#[test]
fn what_is_no_expression_is_refused_where_it_goes_wrong() {
    are_refused(
        r"
*
^ found `*`, expected a property, a value or a comparison; for every message write TRUE; there is no arithmetic
a =
   ^ found the end, expected a property, a value or `(`; complete the expression
a = 'x' AND
           ^ found the end, expected a property, a value, NOT or `(`; complete the expression
AND a = 'x'
^ found `AND`, expected a property, a value, NOT or `(`; a reserved word names no property
= 'x'
^ found `=`, expected a property, a value, NOT or `(`; put a property or a value before it
a = = 1
    ^ found `=`, expected a property, a value or `(`; put a property or a value before it
(a = 'x'
        ^ found the end, expected AND, OR or `)`; close the parenthesis
(a
  ^ found the end, expected a comparison, AND, OR or `)`; close the parenthesis
a = 'x')
       ^ found `)`, expected AND, OR or the end; remove it, or open a parenthesis for it
()
 ^ found `)`, expected a property, a value, NOT or `(`; put a property or a value before it
a = 'x' b = 'y'
        ^ found `b`, expected AND, OR or the end; join conditions with AND or OR
color 'red'
      ^ found `'red'`, expected a comparison, AND, OR or the end; compare a property with a value, such as color = 'red'
a b
  ^ found `b`, expected a comparison, AND, OR or the end; compare a property with a value, such as color = 'red'
a = 1, 2
     ^ found `,`, expected AND, OR or the end; only IN takes a list
order-id = 3
     ^ found `-`, expected a comparison, AND, OR or the end; there is no arithmetic, and a name has letters, digits, _ and $ only
a + 1 > 2
  ^ found `+`, expected a comparison, AND, OR or the end; there is no arithmetic, and a name has letters, digits, _ and $ only
a.b = 1
 ^ found `.`, expected a property, a value or a comparison; the name of a property has letters, digits, _ and $ only
in = 'x'
^ found `in`, expected a property, a value, NOT or `(`; a reserved word names no property
a = NOT b
    ^ found `NOT`, expected a property, a value or `(`; put a condition that is compared into parentheses
a NOT = 1
      ^ found `=`, expected IN, BETWEEN, LIKE, CONTAINS, STARTSWITH or ENDSWITH; write NOT before the property, or <> for not equal
a NOT b
      ^ found `b`, expected IN, BETWEEN, LIKE, CONTAINS, STARTSWITH or ENDSWITH; write NOT before the property, or <> for not equal
",
    );
}

#[test]
fn a_comparison_that_is_not_complete_is_refused_where_it_breaks_off() {
    are_refused(
        r"
a IS 5
     ^ found `5`, expected NULL or NOT NULL; use = or <> to compare with a value
a IS NOT 5
         ^ found `5`, expected NULL; use = or <> to compare with a value
a BETWEEN 1 10
            ^ found `10`, expected AND; give both bounds: BETWEEN 1 AND 10
a BETWEEN 1 OR 10
            ^ found `OR`, expected AND; give both bounds: BETWEEN 1 AND 10
a IN 'x'
     ^ found `'x'`, expected `(`; put the list in parentheses: IN ('a', 'b')
a IN ()
      ^ found `)`, expected a string or a number; list strings in single quotes, or numbers; ask for a missing property with IS NULL
a IN ('x' 'y')
          ^ found `'y'`, expected `,` or `)`; separate the constants with commas, and end the list with )
a IN ('x',)
          ^ found `)`, expected a string or a number; list strings in single quotes, or numbers; ask for a missing property with IS NULL
a IN ('x', NULL)
           ^ found `NULL`, expected a string or a number; list strings in single quotes, or numbers; ask for a missing property with IS NULL
a IN (b)
      ^ found `b`, expected a string or a number; list strings in single quotes, or numbers; ask for a missing property with IS NULL
a IN ('x'
         ^ found the end, expected `,` or `)`; separate the constants with commas, and end the list with )
a LIKE b
       ^ found `b`, expected a string; put the pattern in single quotes
a CONTAINS 5
           ^ found `5`, expected a string; put what to look for in single quotes
a NOT STARTSWITH
                ^ found the end, expected a string; put what to look for in single quotes
a LIKE 'x' ESCAPE
                 ^ found the end, expected a string of one character; name one escape character, such as ESCAPE '!'
1 < a < 5
      ^ found `<`, expected AND, OR or the end; comparisons do not chain: join two with AND
a = b = c
      ^ found `=`, expected AND, OR or the end; comparisons do not chain: join two with AND
a IS NULL IS NULL
          ^ found `IS`, expected AND, OR or the end; comparisons do not chain: join two with AND
",
    );
}

#[test]
fn signs_of_other_languages_are_refused_with_the_right_one() {
    are_refused(
        r#"
a == 1
  ^ found `==`, expected `=`; write one = to compare
a != 1
  ^ found `!=`, expected `<>`; write <> for not equal
!a
^ found `!`, expected `NOT`; write NOT for not
a = 1 && b = 2
      ^ found `&`, expected `AND`; write AND between conditions
a = 'x' || b = 'y'
        ^ found `|`, expected `OR`; write OR between conditions
a = "x"
    ^ found `"`, expected `'`; write strings in single quotes, and properties in none
`a` = 1
^ found ```, expected a property, a value or a comparison; the name of a property has letters, digits, _ and $ only
a = ‘x’
    ^ found `‘`, expected `'`; write strings in straight single quotes: '
a * 2 = 4
  ^ found `*`, expected a property, a value or a comparison; for every message write TRUE; there is no arithmetic
a = 1;
     ^ found `;`, expected the end; leave the ; out
a = #1
    ^ found `#`, expected a property, a value or a comparison; the name of a property has letters, digits, _ and $ only
größe = 1
  ^ found `ö` (U+00F6), expected a property, a value or a comparison; outside strings use ASCII only; the name of a property has letters, digits, _ and $
"#,
    );
}

#[test]
fn strings_comments_and_numbers_are_refused_where_they_begin() {
    are_refused(
        r"
a = 'x
    ^ found a string without an end, expected a closing `'`; end the string with ', and write '' for a ' inside it
a = 'x''
    ^ found a string without an end, expected a closing `'`; end the string with ', and write '' for a ' inside it
a = '
    ^ found a string without an end, expected a closing `'`; end the string with ', and write '' for a ' inside it
a = 1 /* b
      ^ found a comment without an end, expected `*/`; end the comment with */
a = 1 /*/
      ^ found a comment without an end, expected `*/`; end the comment with */
a = 12abc
    ^ found `12abc`, expected a number such as 42, 0.5 or 1e3; put a blank behind a number, and quotes around what is none
a=1and b=2
  ^ found `1and`, expected a number such as 42, 0.5 or 1e3; put a blank behind a number, and quotes around what is none
a = 1.2.3
    ^ found `1.2.3`, expected a number such as 42, 0.5 or 1e3; put a blank behind a number, and quotes around what is none
a = 1e
    ^ found `1e`, expected a number such as 42, 0.5 or 1e3; put a blank behind a number, and quotes around what is none
a = 1.5L
    ^ found `1.5L`, expected a number such as 42, 0.5 or 1e3; put a blank behind a number, and quotes around what is none
a = 0x1F
    ^ found `0x1F`, expected a number such as 42, 0.5 or 1e3; put a blank behind a number, and quotes around what is none
a = 9223372036854775808
    ^ found `9223372036854775808`, expected an integer of 64 bits; write it with an exponent, such as 1e20, if it need not be exact
a = -9223372036854775809
    ^ found `-9223372036854775809`, expected an integer of 64 bits; write it with an exponent, such as 1e20, if it need not be exact
a > 100000000000000000000000
    ^ found `100000000000000000000000`, expected an integer of 64 bits; write it with an exponent, such as 1e20, if it need not be exact
a = 1e999
    ^ found `1e999`, expected a number of at most 1.7976931348623157e308; use a smaller one
a = -x
     ^ found `x`, expected a number; only numbers take a sign; there is no arithmetic
a = - - 1
      ^ found `-`, expected a number; only numbers take a sign; there is no arithmetic
a = -(1)
     ^ found `(`, expected a number; only numbers take a sign; there is no arithmetic
",
    );
}

#[test]
fn what_could_never_be_true_is_refused() {
    are_refused(
        r"
a = NULL
    ^ found `NULL`, expected a property or a value; nothing equals NULL: write IS NULL or IS NOT NULL
NULL <> a
^ found `NULL`, expected a property or a value; nothing equals NULL: write IS NULL or IS NOT NULL
a = (NULL)
    ^ found `(NULL)`, expected a property or a value; nothing equals NULL: write IS NULL or IS NOT NULL
'1' = 1
      ^ found `1`, expected a property or a string; values of different types are never equal
1 <> 'x'
     ^ found `'x'`, expected a property or a number; values of different types are never equal
TRUE = 'true'
       ^ found `'true'`, expected a property or a condition; values of different types are never equal
(a = 1) = 1
          ^ found `1`, expected a property or a condition; values of different types are never equal
a > 'x'
    ^ found `'x'`, expected a property or a number; strings have no order: compare them with =, <>, IN or LIKE
'x' <= a
^ found `'x'`, expected a property or a number; strings have no order: compare them with =, <>, IN or LIKE
a < TRUE
    ^ found `TRUE`, expected a property or a number; TRUE, FALSE, NULL and conditions have no order
NULL < 1
^ found `NULL`, expected a property or a number; TRUE, FALSE, NULL and conditions have no order
(a = 1) > 2
^ found `(a = 1)`, expected a property or a number; TRUE, FALSE, NULL and conditions have no order
a BETWEEN 'a' AND 'z'
          ^ found `'a'`, expected a property or a number; strings have no order: compare them with =, <>, IN or LIKE
'm' BETWEEN a AND b
^ found `'m'`, expected a property or a number; strings have no order: compare them with =, <>, IN or LIKE
a BETWEEN 10 AND 0
          ^ found `10 AND 0`, expected the lower bound first; swap the bounds
a NOT BETWEEN 10 AND 0
              ^ found `10 AND 0`, expected the lower bound first; swap the bounds
a BETWEEN NULL AND 1
          ^ found `NULL`, expected a property or a number; TRUE, FALSE, NULL and conditions have no order
'x' IN ('x')
^ found `'x'`, expected a property; write property IN (list)
(a = 1) IN ('x')
^ found `(a = 1)`, expected a property; write property IN (list)
3 CONTAINS 'x'
^ found `3`, expected a property or a string; only the text of a property or string can be searched
NULL LIKE 'x'
^ found `NULL`, expected a property or a string; only the text of a property or string can be searched
(a AND b) ENDSWITH 'x'
^ found `(a AND b)`, expected a property or a string; only the text of a property or string can be searched
'x'
^ found `'x'`, expected a condition; compare a property with the value
5
^ found `5`, expected a condition; compare a property with the value
a AND 'x'
      ^ found `'x'`, expected a condition; compare a property with the value
1 OR a
^ found `1`, expected a condition; compare a property with the value
NOT 'x'
    ^ found `'x'`, expected a condition; compare a property with the value
a LIKE 'x!y' ESCAPE '!'
         ^ found `!y`, expected %, _ or the escape character itself after it; write the escape character twice where it means itself
a LIKE 'it''s!' ESCAPE '!'
             ^ found `!`, expected %, _ or the escape character itself after it; write the escape character twice where it means itself
a LIKE 'x' ESCAPE ''
                  ^ found `''`, expected a string of one character; name one escape character, such as ESCAPE '!'
a LIKE 'x' ESCAPE '!!'
                  ^ found `'!!'`, expected a string of one character; name one escape character, such as ESCAPE '!'
",
    );
}

#[test]
fn a_refusal_names_the_line_of_a_long_expression() {
    let error = refused("TAGS = 'größe' -- the tag\r\n  AND amount >> 100");
    assert_eq!(error.position, Position { character: 42, line: 2, column: 15 });
    assert!(
        error
            .to_string()
            .starts_with("illegal filter expression at character 42 (line 2, column 15): found `>`"),
        "{error}"
    );
}

#[test]
fn a_refusal_quotes_a_long_or_strange_piece_short_and_on_one_line() {
    let error = refused(&format!("a > '{}'", "x\n".repeat(100)));
    assert!(error.found.chars().count() < 70 && error.found.ends_with("…`"), "{}", error.found);
    assert!(!error.found.contains('\n'));
}

#[test]
fn an_expression_without_content_is_refused_at_its_end() {
    for (nothing, character) in [("", 1), ("  \n ", 5), ("/* nothing */", 14)] {
        let error = refused(nothing);
        assert_eq!((error.position.character, error.found.as_str()), (character, "the end"));
        assert_eq!(error.advice, "write TRUE for every message");
    }
}

#[test]
fn a_character_that_cannot_be_seen_is_named() {
    let nbsp = refused("a =\u{a0}1");
    assert_eq!((nbsp.position.character, nbsp.found.as_str()), (4, r"`\u{a0}` (U+00A0)"));
    let nul = refused("a = 1\0");
    assert_eq!((nul.position.character, nul.found.as_str()), (6, "`\\u{0}` (U+0000)"));
}
