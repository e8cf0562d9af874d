//! What the commands print: tables for people, JSON for programs. The only place that writes to standard output.

use std::cmp::Ordering;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// How to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Output {
    /// Tables and sentences
    #[default]
    Table,
    /// One JSON value; a list command prints one array, a stream one object a line
    Json,
}

/// Writes one line.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(stream)
}

/// Writes one value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(value).map_err(|error| stream(error.into()))?)
}

/// Writes one value as a line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string(value).map_err(|error| stream(error.into()))?)
}

/// Writes a table; without rows its header alone, so that emptiness is seen.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<(), Failure> {
    line(&columns(header, rows, io::stdout().is_terminal()))
}

/// A table as text; fitted to the width of the terminal if there is one.
pub(crate) fn columns(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>, fitted: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if fitted {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(header.iter().copied());
    table.add_rows(rows);
    let text = table.to_string();
    let lines: Vec<&str> =
        text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n")
}

/// Says that a list ends early, on standard error: it is no part of the list. There `are` more, or `may be`.
pub(crate) fn cut(shown: usize, what: &str, there: &str) {
    eprintln!("rq: these are the first {shown} {what}; there {there} more: --limit N shows up to N");
}

/// Writes names with their values, one a line.
pub(crate) fn fields(fields: &[(&str, String)]) -> Result<(), Failure> {
    line(&pairs(fields))
}

/// Names with their values, one a line, as text.
pub(crate) fn pairs(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
    lines.join("\n")
}

fn stream(source: io::Error) -> Failure {
    Failure::Stream { doing: "write to standard output", source }
}

/// A bar on standard error where that is a terminal, else nothing. Without a length it only counts.
pub(crate) fn progress(length: Option<u64>, what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{bar:30} {pos}/{len} {msg}  {per_sec}  {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {pos} {msg}  {per_sec}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// A line on standard error that says what is waited for, where that is a terminal; else nothing.
pub(crate) fn waiting(what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.set_message(what);
    bar
}

/// The order of names that end in a number: `r2` before `r10`.
pub(crate) fn by_name(one: &str, other: &str) -> Ordering {
    let key = |name: &str| {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        (name[..stem].to_owned(), name[stem..].parse::<u64>().ok())
    };
    key(one).cmp(&key(other)).then_with(|| one.cmp(other))
}

/// A while as people read it; in days rather than in months, which are no round number of days.
pub(crate) fn span(duration: Duration) -> String {
    const DAY_SECS: u64 = 24 * 60 * 60;
    let days = duration.as_secs() / DAY_SECS;
    let rest = duration.saturating_sub(Duration::from_secs(days * DAY_SECS));
    let day = if days == 1 { "day" } else { "days" };
    match (days, rest.is_zero()) {
        (0, _) => humantime::format_duration(rest).to_string(),
        (_, true) => format!("{days}{day}"),
        (_, false) => format!("{days}{day} {}", humantime::format_duration(rest)),
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A time in milliseconds since 1970 as people read it, in UTC.
pub(crate) fn time(millis: i64) -> String {
    match u64::try_from(millis) {
        Ok(millis) if millis > 0 => {
            let time = std::time::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
            time.map_or_else(|| "-".to_owned(), |time| humantime::format_rfc3339_millis(time).to_string())
        }
        _ => "-".to_owned(),
    }
}

/// The text, or a dash where there is none.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A body on one line: characters that are not seen escaped, what is no UTF-8 replaced, cut after `limit` characters.
pub(crate) fn body(body: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(body);
    let mut shown: String = text.chars().take(limit).flat_map(escape).collect();
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

fn escape(character: char) -> impl Iterator<Item = char> {
    let escaped = if is_unseen(character) { Some(character.escape_default()) } else { None };
    let plain = escaped.is_none().then_some(character);
    escaped.into_iter().flatten().chain(plain)
}

/// Control characters, and what the standard library does not print in `Debug` output: among it are characters that turn the
/// direction of writing, and so may show another body than there is. Spaces of whatever width are seen.
fn is_unseen(character: char) -> bool {
    let is_space = character.is_whitespace() && !matches!(character, '\u{2028}' | '\u{2029}');
    // Behind another one: marks that belong to the character before them are seen there.
    let hides = || String::from_iter(['.', character]).escape_debug().nth(2) == Some('u');
    character.is_control() || !(character.is_ascii() || is_space) && hides()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_carry_the_largest_unit_that_fits() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn a_while_is_told_in_days_not_in_months() {
        assert_eq!(span(Duration::from_hours(40 * 24)), "40days");
        assert_eq!(span(Duration::from_hours(24)), "1day");
        assert_eq!(span(Duration::from_hours(25)), "1day 1h");
        assert_eq!(span(Duration::from_hours(49)), "2days 1h");
        assert_eq!(
            (span(Duration::from_millis(1_500)), span(Duration::ZERO)),
            ("1s 500ms".to_owned(), "0s".to_owned())
        );
    }

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let mut names = ["r10", "r2", "a", "r", "b-1-0", "r1"];
        names.sort_by(|one, other| by_name(one, other));
        assert_eq!(names, ["a", "b-1-0", "r", "r1", "r2", "r10"]);
    }

    #[test]
    fn a_body_never_breaks_the_line_or_the_terminal() {
        assert_eq!(body(b"a\nb\x1b[31m", 100), "a\\nb\\u{1b}[31m");
        assert_eq!(body("a\u{202e}b\u{2028}".as_bytes(), 100), "a\\u{202e}b\\u{2028}");
        assert_eq!(body("10\u{202f}000\u{a0}€".as_bytes(), 100), "10\u{202f}000\u{a0}€");
        assert_eq!(body("höher".as_bytes(), 2), "hö…");
        assert_eq!(body(&[b'a', 0xff], 10), "a\u{fffd}");
    }

    #[test]
    fn times_are_in_utc_and_absent_ones_a_dash() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(0), "-");
        assert_eq!(time(-5), "-");
    }
}
