//! `rq log`: a look into the log of a data directory. Offline and read only: it takes no lock and changes nothing, so
//! it may also be used beside a running broker.

mod records;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rq_core::ids::Lsn;
use rq_log::inspect::{FrameMark, InspectError, SegmentReport, SegmentState};
use rq_log::{Inspection, inspect};
use serde::Serialize;

use crate::args::Global;
use crate::failure::Failure;
use crate::output::{self, Output};

const AFTER_HELP: &str = "\
inspect reads the whole log and ends with code 1 if it is damaged where it was durable. A broker refuses to start on
damage behind its newest checkpoint; before that it starts, and does not deliver the messages that are damaged. A torn
write at the very end is no damage: nothing of it was acknowledged, and the next start cuts it off.

Examples:
  rq log inspect /var/lib/reliablequeue
  rq log inspect /var/lib/reliablequeue -o json
  rq log records /var/lib/reliablequeue --from 268435456 --limit 20";

/// `rq log …`.
#[derive(Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(crate) enum LogCommand {
    /// Show identity, checkpoints and segments with their frames and records, and the first damage
    Inspect(Directory),
    /// List records
    Records(records::Records),
}

/// Which data directory.
#[derive(Args)]
pub(crate) struct Directory {
    /// Data directory of a broker
    dir: PathBuf,
}

impl Directory {
    fn open(&self) -> Result<Inspection, Failure> {
        inspect(&self.dir).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &InspectError) -> Failure {
        Failure::Inspect { path: self.dir.clone(), reason: error.to_string() }
    }
}

/// All that is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    cluster: String,
    shard: u16,
    store_id: String,
    format_version: u32,
    segment_bytes: u64,
    promised_epoch: u32,
    closed_cleanly: bool,
    log_start_lsn: u64,
    log_end_lsn: u64,
    /// A copy of the master's log is under way, with a checkpoint of this position.
    copying_to_lsn: Option<u64>,
    checkpoints: Vec<ShownCheckpoint>,
    epochs: Vec<ShownEpoch>,
    segments: Vec<ShownSegment>,
    frames: u64,
    records: u64,
    /// Behind the newest checkpoint the broker refuses to start on it.
    damage: Option<ShownDamage>,
    /// What a crash left behind the end; the next start cuts it off.
    torn_write: Option<ShownDamage>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownCheckpoint {
    lsn: u64,
    state_bytes: u64,
    newer_format: Option<u32>,
    damage: Option<String>,
}

/// A mastership, as far as the log still has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownEpoch {
    epoch: u32,
    start_lsn: u64,
    log_time_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownSegment {
    base_lsn: u64,
    end_lsn: u64,
    state: &'static str,
    frames: u64,
    records: u64,
    first: Option<Mark>,
    last: Option<Mark>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    epoch: u32,
    log_time_ms: u64,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownDamage {
    file: PathBuf,
    lsn: u64,
    reason: String,
}

/// Runs the command.
pub(crate) fn run(global: &Global, command: LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Inspect(directory) => inspect_all(global.output, &directory),
        LogCommand::Records(records) => records::run(global.output, &records),
    }
}

fn inspect_all(output: Output, directory: &Directory) -> Result<(), Failure> {
    let inspection = directory.open()?;
    let length: u64 = inspection.segments.iter().map(|segment| segment.length).sum();
    let bar = output::progress(Some(length), "bytes read");
    let mut reports = Vec::with_capacity(inspection.segments.len());
    for segment in &inspection.segments {
        reports.push(inspection.examine(segment).map_err(|error| directory.failed(&error))?);
        bar.inc(segment.length);
    }
    bar.finish_and_clear();
    let shown = Shown::of(&inspection, &reports);
    match output {
        Output::Json => output::json(&shown)?,
        Output::Table => shown.print(&directory.dir)?,
    }
    match shown.damage {
        None => Ok(()),
        Some(ShownDamage { file, lsn, reason }) => Err(Failure::DamagedLog { file, lsn, reason }),
    }
}

impl Shown {
    fn of(inspection: &Inspection, reports: &[SegmentReport]) -> Self {
        let (identity, superblock) = (&inspection.identity, &inspection.superblock);
        let checkpoints = inspection.checkpoints.iter().map(|checkpoint| ShownCheckpoint {
            lsn: checkpoint.lsn.0,
            state_bytes: checkpoint.state_bytes,
            newer_format: checkpoint.newer_format,
            damage: checkpoint.damage.clone(),
        });
        let (damage, torn_write) = verdict(reports);
        // A whole checkpoint stands for the log below it, whatever damage hides there.
        let whole = inspection.checkpoints.iter().filter(|found| found.damage.is_none());
        let checkpointed = whole.map(|found| found.lsn).max().unwrap_or_default();
        Self {
            cluster: identity.cluster.clone(),
            shard: identity.shard.0,
            store_id: identity.store_id.to_string(),
            format_version: identity.format_version,
            segment_bytes: identity.segment_bytes,
            promised_epoch: superblock.promised_epoch.0,
            closed_cleanly: superblock.clean,
            log_start_lsn: superblock.log_start.0,
            log_end_lsn: end(reports).max(superblock.log_start).max(checkpointed).0,
            copying_to_lsn: superblock.installing.map(|lsn| lsn.0),
            checkpoints: checkpoints.collect(),
            epochs: epochs(reports),
            segments: reports.iter().map(ShownSegment::from).collect(),
            frames: reports.iter().map(|report| report.frames).sum(),
            records: reports.iter().map(|report| report.records).sum(),
            damage,
            torn_write,
        }
    }

    fn print(&self, dir: &Path) -> Result<(), Failure> {
        let closed = if self.closed_cleanly { "cleanly" } else { "no: in use, or the broker died" };
        let log = output::bytes(self.log_end_lsn.saturating_sub(self.log_start_lsn));
        let mut fields = vec![
            ("directory", dir.display().to_string()),
            ("cluster", self.cluster.clone()),
            ("shard", format!("{}, store {}", self.shard, self.store_id)),
            ("format", format!("{}, segments of {}", self.format_version, output::bytes(self.segment_bytes))),
            ("promised epoch", self.promised_epoch.to_string()),
            ("closed", closed.to_owned()),
            ("log", format!("{log}, {} to {}", self.log_start_lsn, self.log_end_lsn)),
            ("frames", self.frames.to_string()),
            ("records", self.records.to_string()),
        ];
        fields.extend(self.copying_to_lsn.map(|lsn| ("copy under way", format!("whole from {lsn} on"))));
        output::fields(&fields)?;
        output::line("")?;
        let rows = self.checkpoints.iter().map(|checkpoint| {
            let state = match (&checkpoint.damage, checkpoint.newer_format) {
                (Some(damage), _) => damage.clone(),
                (None, Some(version)) => format!("newer format {version}: use the release that wrote it"),
                (None, None) => "whole".to_owned(),
            };
            vec![checkpoint.lsn.to_string(), output::bytes(checkpoint.state_bytes), state]
        });
        output::table(&["CHECKPOINT", "SIZE", "STATE"], rows)?;
        output::line("")?;
        output::table(&["EPOCH", "BEGINS AT", "LOG TIME"], self.epochs.iter().map(ShownEpoch::row))?;
        output::line("")?;
        let header = ["SEGMENT", "STATE", "END", "FRAMES", "RECORDS", "EPOCHS", "FROM", "TO"];
        output::table(&header, self.segments.iter().map(ShownSegment::row))?;
        if let Some(torn) = &self.torn_write {
            output::line(&format!(
                "\ntorn write behind the end, at {}: {}; harmless",
                torn.lsn, torn.reason
            ))?;
        }
        Ok(())
    }
}

/// The first damage of what was durable, and the torn write at the end if there is one.
fn verdict(reports: &[SegmentReport]) -> (Option<ShownDamage>, Option<ShownDamage>) {
    let shown = |report: &SegmentReport| {
        report.damage.as_ref().map(|damage| ShownDamage {
            file: damage.file.clone(),
            lsn: damage.position.0,
            reason: damage.reason.clone(),
        })
    };
    let mut torn = None;
    for (at, report) in reports.iter().enumerate() {
        if report.state == SegmentState::Damaged {
            return (shown(report), None);
        }
        let goes_on = reports[at + 1..].iter().any(|later| later.frames > 0);
        if report.state != SegmentState::Full && goes_on {
            let reason = "the log breaks off here, but a later segment has frames".to_owned();
            let gap = ShownDamage { file: report.file.path.clone(), lsn: report.end.0, reason };
            return (Some(shown(report).unwrap_or(gap)), None);
        }
        torn = torn.or_else(|| shown(report));
    }
    (None, torn)
}

/// Every epoch of the log, where it begins or where the log does.
fn epochs(reports: &[SegmentReport]) -> Vec<ShownEpoch> {
    let marks = reports.iter().flat_map(|report| &report.epochs);
    let mut epochs: Vec<_> = marks
        .map(|mark| ShownEpoch { epoch: mark.epoch.0, start_lsn: mark.start.0, log_time_ms: mark.log_time.0 })
        .collect();
    epochs.dedup_by_key(|shown| shown.epoch);
    epochs
}

/// Where the last frame ends.
fn end(reports: &[SegmentReport]) -> Lsn {
    let written = reports.iter().filter(|report| report.end > report.file.base);
    written.map(|report| report.end).max().unwrap_or_default()
}

impl From<&SegmentReport> for ShownSegment {
    fn from(report: &SegmentReport) -> Self {
        let mark = |mark: &FrameMark| Mark { epoch: mark.epoch.0, log_time_ms: mark.log_time.0 };
        Self {
            base_lsn: report.file.base.0,
            end_lsn: report.end.0,
            state: match report.state {
                SegmentState::Full => "full",
                SegmentState::Active => "active",
                SegmentState::Prepared => "prepared",
                SegmentState::Damaged => "DAMAGED",
            },
            frames: report.frames,
            records: report.records,
            first: report.first.as_ref().map(mark),
            last: report.last.as_ref().map(mark),
        }
    }
}

impl ShownEpoch {
    fn row(&self) -> Vec<String> {
        let time = output::time(self.log_time_ms.cast_signed());
        vec![self.epoch.to_string(), self.start_lsn.to_string(), time]
    }
}

impl ShownSegment {
    fn row(&self) -> Vec<String> {
        let figures = [self.end_lsn, self.frames, self.records].map(|figure| figure.to_string());
        let epochs = match (&self.first, &self.last) {
            (Some(first), Some(last)) if first.epoch == last.epoch => first.epoch.to_string(),
            (Some(first), Some(last)) => format!("{} to {}", first.epoch, last.epoch),
            _ => "-".to_owned(),
        };
        let time = |mark: &Option<Mark>| {
            mark.as_ref().map_or_else(|| "-".to_owned(), |mark| output::time(mark.log_time_ms.cast_signed()))
        };
        let head = [self.base_lsn.to_string(), self.state.to_owned()];
        head.into_iter().chain(figures).chain([epochs, time(&self.first), time(&self.last)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use rq_core::ids::{Epoch, LogTime};
    use rq_log::Damaged;
    use rq_log::inspect::{EpochMark, SegmentFile};

    use super::*;

    fn report(base: u64, state: SegmentState, frames: u64, damage: Option<&str>) -> SegmentReport {
        let path = PathBuf::from(format!("log/{base:020}"));
        SegmentReport {
            file: SegmentFile { base: Lsn(base), path: path.clone(), length: 100 },
            state,
            frames,
            records: frames,
            end: Lsn(base + frames),
            first: None,
            last: None,
            epochs: Vec::new(),
            damage: damage.map(|reason| Damaged {
                file: path,
                position: Lsn(base),
                reason: reason.to_owned(),
            }),
            known_durable: Lsn(0),
        }
    }

    #[test]
    fn a_torn_write_at_the_end_is_no_damage() {
        let reports = [
            report(0, SegmentState::Full, 5, None),
            report(100, SegmentState::Active, 3, Some("checksum")),
            report(200, SegmentState::Prepared, 0, None),
        ];
        let (damage, torn) = verdict(&reports);
        assert!(damage.is_none());
        assert_eq!(torn.unwrap().reason, "checksum");
        assert_eq!(end(&reports), Lsn(103));
    }

    #[test]
    fn an_epoch_is_told_once_and_where_it_begins() {
        let mark = |epoch, start| EpochMark { epoch: Epoch(epoch), start: Lsn(start), log_time: LogTime(0) };
        let with = |base, epochs| SegmentReport { epochs, ..report(base, SegmentState::Full, 9, None) };
        let reports = [with(0, vec![mark(1, 0), mark(2, 50)]), with(100, vec![mark(2, 100), mark(4, 130)])];
        let told: Vec<_> = epochs(&reports).iter().map(|shown| (shown.epoch, shown.start_lsn)).collect();
        assert_eq!(told, [(1, 0), (2, 50), (4, 130)]);
    }

    #[test]
    fn the_first_damage_is_told() {
        let reports = [
            report(0, SegmentState::Full, 5, None),
            report(100, SegmentState::Damaged, 3, Some("first")),
            report(200, SegmentState::Damaged, 0, Some("second")),
        ];
        assert_eq!(verdict(&reports).0.unwrap().reason, "first");
    }

    #[test]
    fn frames_behind_a_gap_prove_that_something_is_missing() {
        let reports = [report(0, SegmentState::Active, 5, None), report(100, SegmentState::Active, 3, None)];
        let (damage, torn) = verdict(&reports);
        assert_eq!(damage.unwrap().lsn, 5);
        assert!(torn.is_none());
    }
}
