//! SQLite's opinion.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rq_filter::Expression;
use rusqlite::types::{ToSqlOutput, Value as Sql};
use rusqlite::{Connection, params_from_iter};

use crate::message::{Message, NAMES, Number, Value, message};
use crate::print::{Dialect, tokens};
use crate::tree::tree;

/// The three columns of each property, see [`crate::print`].
fn columns(message: &Message) -> Vec<ToSqlOutput<'static>> {
    let columns = message.0.iter().flat_map(|property| match property {
        None => [Sql::Null, Sql::Null, Sql::Null],
        Some((value, text)) => {
            let number = match value {
                Value::Number(Number::Integer(integer)) => Sql::Integer(*integer),
                Value::Number(Number::Quarters(quarters)) => Sql::Real(f64::from(*quarters) / 4.0),
                Value::Text(_) => Sql::Null,
            };
            let is_true = text.eq_ignore_ascii_case("true");
            [Sql::Text(text.clone()), number, Sql::Integer(is_true.into())]
        }
    });
    columns.map(ToSqlOutput::Owned).collect()
}

/// A query that has the properties of a message as its parameters, and for its only value the expression.
fn query(expression: &str) -> String {
    let columns = |name: &&str| format!("? AS \"{name}\", ? AS \"{name}_number\", ? AS \"{name}_true\"");
    let message = NAMES.iter().map(columns).collect::<Vec<_>>().join(", ");
    format!("SELECT {expression} FROM (SELECT {message})")
}

#[test]
fn sqlite_finds_every_expression_true_false_or_unknown_as_we_do() {
    let database = Connection::open_in_memory().unwrap();
    database.execute_batch("PRAGMA case_sensitive_like = ON").unwrap();
    TestRunner::new(Config::with_source_file(file!()))
        .run(&(tree(), vec(message(), 8)), |(tree, messages)| {
            let text = tokens(&tree, Dialect::Filter).join(" ");
            let expression =
                Expression::parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
            let negated = Expression::parse(&format!("NOT ({text})")).unwrap();
            let query = query(&tokens(&tree, Dialect::Sqlite).join(" "));
            let mut statement =
                database.prepare(&query).map_err(|error| TestCaseError::fail(format!("{query}: {error}")))?;
            for message in &messages {
                let truth: Option<bool> =
                    statement.query_row(params_from_iter(columns(message)), |row| row.get(0)).unwrap();
                let expected = (truth == Some(true), truth == Some(false));
                let found = (expression.matches(message), negated.matches(message));
                prop_assert_eq!(found, expected, "{} of {:?}; {} gives {:?}", text, message, query, truth);
            }
            Ok(())
        })
        .unwrap();
}
