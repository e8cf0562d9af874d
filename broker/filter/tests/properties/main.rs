//! What is true of every expression: SQLite thinks of it as we do, it survives being printed, and no text
//! brings the parser or the evaluation down.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this crate is a test, its helpers too")]

mod canonical;
mod hostile;
mod message;
mod print;
mod sqlite;
mod tree;
