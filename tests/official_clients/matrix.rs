//! The feature matrix: Markdown made of what ran, kept in the README between two markers.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::features::FEATURES;
use crate::program::{Findings, Verdict};

const BEGIN: &str = "<!-- clients:begin -->\n";
const END: &str = "<!-- clients:end -->";
/// The file that a run leaves in the build directory.
const FILE: &str = "clients.md";

/// The matrix as Markdown, with a note for each feature that a client does not have.
pub(crate) fn render(findings: &[Findings]) -> String {
    let mut table = String::from("| feature |");
    for findings in findings {
        let _ = write!(table, " {} {} |", findings.language.label, findings.language.version);
    }
    table.push_str("\n|---|");
    table.push_str(&":-:|".repeat(findings.len()));
    let mut notes: Vec<String> = Vec::new();
    for feature in &FEATURES {
        let _ = write!(table, "\n| {} |", feature.label);
        for findings in findings {
            let report = findings.report(feature.name);
            let cell = match report.result {
                Verdict::Pass => "✓".to_string(),
                Verdict::Fail => "✗".to_string(),
                Verdict::Absent => {
                    let note = format!(
                        "{} {}: {}",
                        findings.language.label, findings.language.version, report.detail
                    );
                    format!("n/a <sup>{}</sup>", number(&mut notes, note))
                }
            };
            let _ = write!(table, " {cell} |");
        }
    }
    table.push('\n');
    for (index, note) in notes.iter().enumerate() {
        let _ = write!(table, "\n<sup>{}</sup> {note}  ", index + 1);
    }
    table.truncate(table.trim_end().len());
    table.push('\n');
    table
}

/// The number of a note, which is added unless it is there.
fn number(notes: &mut Vec<String>, note: String) -> usize {
    let place = notes.iter().position(|known| *known == note).unwrap_or_else(|| {
        notes.push(note);
        notes.len() - 1
    });
    place + 1
}

/// Leaves the matrix in the build directory.
pub(crate) fn save(matrix: &str) -> Result<()> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).context("the test program lies in no build directory")?;
    Ok(std::fs::write(target.join(FILE), matrix)?)
}

/// Holds the README against the matrix, or writes it there if `RQ_UPDATE_README=1`.
pub(crate) fn check_readme(readme: &Path, matrix: &str) -> Result<()> {
    let text = std::fs::read_to_string(readme).context("read README.md")?;
    let markers = "README.md has no lines `<!-- clients:begin -->` and `<!-- clients:end -->` for the matrix";
    let (before, rest) = text.split_once(BEGIN).context(markers)?;
    let (shown, after) = rest.split_once(END).context(markers)?;
    if std::env::var("RQ_UPDATE_README").is_ok_and(|update| update == "1") {
        return Ok(std::fs::write(readme, format!("{before}{BEGIN}{matrix}{END}{after}"))?);
    }
    ensure!(
        shown == matrix,
        "the client matrix of README.md is not what ran (RQ_UPDATE_README=1 writes it):\n{matrix}"
    );
    Ok(())
}
