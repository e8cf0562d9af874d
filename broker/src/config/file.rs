//! Reading the configuration file. Every error names the file, the line and the key, and says what to write instead.

use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::names::{LIMITS, keys, nearest};

/// Why a configuration file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("the configuration file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no TOML.
    #[error("{}, line {line}: this is no TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A key that means nothing.
    #[error("{}, line {line}: the key {key:?} is unknown here: {instead}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// A known one that is much like it and where it belongs, or where to look.
        instead: String,
    },
    /// A value of another kind than its key takes.
    #[error("{}, line {line}: {key}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong with its value.
        reason: String,
    },
}

/// Reads a file; what it does not name has its default.
pub(super) fn read(path: &Path) -> Result<Config, FileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    let table = DeTable::parse(&text).map_err(|error| FileError::Syntax {
        path: path.to_owned(),
        line: line(&text, error.span()),
        reason: error.message().to_owned(),
    })?;
    let table = table.get_ref();
    check_keys(path, &text, table)?;
    toml::from_str(&text).map_err(|error| FileError::Value {
        path: path.to_owned(),
        line: line(&text, error.span()),
        key: error.span().and_then(|span| key_at(table, span.start)).unwrap_or_default(),
        reason: error.message().to_owned(),
    })
}

fn check_keys(path: &Path, text: &str, table: &DeTable<'_>) -> Result<(), FileError> {
    let (outside, limits) = ([keys(false), vec![LIMITS.to_owned()]].concat(), keys(true));
    for (section, known) in [(Some(table), &outside), (limits_of(table), &limits)] {
        for key in section.into_iter().flat_map(|section| section.keys()) {
            let name: &str = key.get_ref();
            if known.iter().any(|known| known == name) {
                continue;
            }
            let every = outside.iter().chain(&limits).map(String::as_str);
            let instead = match nearest(name, every) {
                Some(near) if limits.iter().any(|limit| limit == near) => {
                    format!("use {near:?} under [limits]")
                }
                Some(near) => format!("use {near:?}"),
                None => "remove it, or look for the right name in `rq-broker --help`".to_owned(),
            };
            return Err(FileError::UnknownKey {
                path: path.to_owned(),
                line: line(text, Some(key.span())),
                key: name.to_owned(),
                instead,
            });
        }
    }
    Ok(())
}

fn limits_of<'t, 'i>(table: &'t DeTable<'i>) -> Option<&'t DeTable<'i>> {
    match table.get(LIMITS)?.get_ref() {
        DeValue::Table(limits) => Some(limits),
        _ => None,
    }
}

/// The key whose value holds the byte at `position`.
fn key_at(table: &DeTable<'_>, position: usize) -> Option<String> {
    let (key, value) = table.iter().find(|(_, value)| {
        value.span().contains(&position)
            || matches!(value.get_ref(), DeValue::Table(inner) if key_at(inner, position).is_some())
    })?;
    match value.get_ref() {
        DeValue::Table(inner) => key_at(inner, position).or_else(|| Some(key.get_ref().to_string())),
        _ => Some(key.get_ref().to_string()),
    }
}

/// The line in which a span begins, from 1.
fn line(text: &str, span: Option<Range<usize>>) -> usize {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    before.matches('\n').count() + 1
}
