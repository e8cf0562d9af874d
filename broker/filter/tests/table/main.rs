//! The language as tables: what each expression is of a message, why each bad one is refused, how large one may
//! be, and when two are the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this crate is a test, its helpers too")]

mod canonical;
mod limits;
mod refusals;
mod truth;

use rq_filter::{Expression, SyntaxError};

/// The error of an expression that must have one.
fn refused(expression: &str) -> SyntaxError {
    match Expression::parse(expression) {
        Ok(accepted) => panic!("{expression} is taken as {accepted}"),
        Err(error) => error,
    }
}
