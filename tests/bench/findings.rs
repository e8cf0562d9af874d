//! What was found: a figure with its bar, from which values, and whether it was reached. The table for people and the JSON
//! for programs say the same.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// A figure that has a bar to reach.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// What was loaded.
    pub(crate) scenario: String,
    /// What was measured.
    pub(crate) figure: String,
    pub(crate) bar: Bar,
    pub(crate) measured: Spread,
    pub(crate) reached: bool,
    /// Why the figure says nothing about the broker; then it counts as neither reached nor missed.
    pub(crate) void: Option<String>,
    /// What the figure was made from.
    pub(crate) made_from: Vec<Part>,
}

/// An absolute figure: noisy, for orientation only.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) spread: Spread,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    AtLeast(f64, Unit),
    AtMost(f64, Unit),
}

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Percent,
    Times,
    Microseconds,
    Milliseconds,
    Seconds,
    PerSecond,
    Bytes,
}

/// Values of the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: Vec<f64>,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let rounds: Vec<f64> = values.into_iter().collect();
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self { median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), min: at(0), max: at(last), rounds }
    }

    /// The median with the smallest and the largest.
    pub(crate) fn shown(&self, unit: Unit) -> String {
        let median = unit.show(self.median);
        if self.rounds.len() < 2 {
            return median;
        }
        format!("{median} ({}–{})", unit.show(self.min), unit.show(self.max))
    }
}

impl Bar {
    fn is_reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bar, _) => value >= bar,
            Self::AtMost(bar, _) => value <= bar,
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::AtLeast(_, unit) | Self::AtMost(_, unit) => unit,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtLeast(bar, unit) => format!("≥ {}", unit.show(bar)),
            Self::AtMost(bar, unit) => format!("≤ {}", unit.show(bar)),
        }
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        const MIB: f64 = 1024.0 * 1024.0;
        match self {
            Self::Percent => format!("{:.0} %", value * 100.0),
            Self::Times => format!("{value:.2} ×"),
            Self::Microseconds => format!("{value:.0} µs"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::PerSecond => format!("{value:.0}/s"),
            Self::Bytes if value.abs() >= MIB => format!("{:.0} MiB", value / MIB),
            Self::Bytes => format!("{value:.0} B"),
        }
    }
}

impl Finding {
    pub(crate) fn new(scenario: &str, figure: &str, bar: Bar, measured: Spread) -> Self {
        Self {
            scenario: scenario.to_owned(),
            figure: figure.to_owned(),
            bar,
            reached: bar.is_reached(measured.median),
            measured,
            void: None,
            made_from: Vec::new(),
        }
    }

    /// The yardstick itself was disturbed: there is no verdict.
    pub(crate) fn void(mut self, why: String) -> Self {
        self.reached = false;
        self.void = Some(why);
        self
    }

    /// Adds what the figure was made from.
    pub(crate) fn from(mut self, name: &str, unit: Unit, values: impl IntoIterator<Item = f64>) -> Self {
        self.made_from.push(Part { name: name.to_owned(), unit, spread: Spread::of(values) });
        self
    }
}

/// Prints the table.
pub(crate) fn print(findings: &[Finding]) -> Result<()> {
    let mut table = String::from(
        "| load | figure | bar | measured: median (min–max) | | made from (medians) |\n|---|---|---|---|---|---|\n",
    );
    for finding in findings {
        let Finding { scenario, figure, bar, measured, reached, void, made_from } = finding;
        let parts: Vec<String> = made_from
            .iter()
            .map(|part| format!("{} {}", part.name, part.unit.show(part.spread.median)))
            .collect();
        let (bar, measured) = (bar.shown(), measured.shown(finding.bar.unit()));
        let verdict = match void {
            Some(why) => format!("**not measured**: {why}"),
            None if *reached => "reached".to_owned(),
            None => "**missed**".to_owned(),
        };
        writeln!(table, "| {scenario} | {figure} | {bar} | {measured} | {verdict} | {} |", parts.join(", "))?;
    }
    std::io::stdout().write_all(table.as_bytes()).context("print the table")
}

/// Writes all there is into a file.
pub(crate) fn write_json(file: &Path, findings: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(findings).context("encode the findings")?;
    std::fs::write(file, text).with_context(|| format!("write {}", file.display()))
}
