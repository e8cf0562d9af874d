//! What comparing the copies has shown, for people and for programs.

use std::collections::BTreeMap;

use rq_proto::reliablequeue as pb;
use serde::Serialize;

use crate::failure::Failure;
use crate::output;

/// What the system says of a file that is not there.
const NOT_FOUND: &str = "No such file or directory";
/// Said of segments without a file.
const MISSING: &str = "missing";

/// What one replica said.
pub(super) struct Copy {
    name: String,
    store_id: String,
    address: String,
    master: bool,
    pub(super) segments: Vec<pb::CheckedSegment>,
    pub(super) state_hash: Option<String>,
    /// Why it did not say all.
    pub(super) error: Option<String>,
}

impl Copy {
    pub(super) fn new(member: &pb::Member) -> Self {
        Self {
            name: member.name.clone(),
            store_id: member.store_id.clone(),
            address: member.address.clone(),
            master: member.master,
            segments: Vec::new(),
            state_hash: None,
            error: None,
        }
    }

    /// The whole segments by where they begin.
    fn sums(&self) -> BTreeMap<u64, u32> {
        let whole = self.segments.iter().filter(|segment| segment.damage.is_empty());
        whole.map(|segment| (segment.base, segment.sum)).collect()
    }
}

/// The comparison.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// All copies were read, are whole and the same.
    same: bool,
    /// Position of the log as of which the states were hashed.
    mark_lsn: u64,
    replicas: Vec<Shown>,
}

/// One replica.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    name: String,
    store_id: String,
    address: String,
    master: bool,
    /// Full segments that were read.
    segments: usize,
    /// Of the full segments.
    start_lsn: Option<u64>,
    end_lsn: Option<u64>,
    damaged: Vec<Damaged>,
    /// Bases of whole segments that the master has otherwise.
    different: Vec<u64>,
    state_hash: Option<String>,
    /// Absent where it, or that of the master, is not known.
    same_state: Option<bool>,
    /// Why it was not compared, or not all of it.
    error: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Damaged {
    lsn: u64,
    #[serde(skip)]
    end: u64,
    reason: String,
}

/// Segments in a row of which the same is to be said.
#[derive(PartialEq, Eq, Debug)]
struct Range<'r> {
    from: u64,
    to: u64,
    segments: usize,
    damage: &'r str,
}

impl Report {
    pub(super) fn new(mark_lsn: u64, copies: Vec<Copy>) -> Self {
        let master = copies.iter().find(|copy| copy.master);
        let (sums, hash) =
            master.map(|master| (master.sums(), master.state_hash.clone())).unwrap_or_default();
        let mut replicas: Vec<_> =
            copies.into_iter().map(|copy| Shown::of(copy, &sums, hash.as_ref())).collect();
        replicas.sort_by(|one, other| output::by_name(&one.name, &other.name));
        let same = !replicas.is_empty() && replicas.iter().all(|replica| replica.troubles().is_empty());
        Self { same, mark_lsn, replicas }
    }

    /// How much is wrong.
    pub(super) fn troubles(&self) -> usize {
        self.replicas.iter().map(|replica| replica.troubles().len()).sum()
    }

    pub(super) fn print(&self, check_only: bool) -> Result<(), Failure> {
        let header = ["REPLICA", "ROLE", "SEGMENTS", "FROM", "TO", "DAMAGED", "DIFFERENT", "STATE"];
        output::table(&header, self.replicas.iter().map(Shown::row))?;
        for replica in &self.replicas {
            for trouble in replica.troubles() {
                output::line(&format!("{}: {trouble}", replica.name))?;
            }
        }
        if self.same {
            let copies = self.replicas.len();
            let sentence = match copies {
                1 => "the only copy is whole".to_owned(),
                copies => {
                    format!(
                        "all {copies} copies are whole and the same, as of {} of the log: in state, and in every full \
                         segment (the one that is being written is not read)",
                        self.mark_lsn
                    )
                }
            };
            return output::line(&sentence);
        }
        let damaged = self.replicas.iter().any(|replica| !replica.damaged.is_empty());
        if damaged && !check_only && self.replicas.len() > 1 {
            output::line("damaged segments are being replaced by another replica's copy: verify again")?;
        }
        Ok(())
    }
}

impl Shown {
    fn of(copy: Copy, sums: &BTreeMap<u64, u32>, hash: Option<&String>) -> Self {
        let differs = |(base, sum): &(u64, u32)| sums.get(base).is_some_and(|other| other != sum);
        let different = copy.sums().into_iter().filter(differs).map(|(base, _)| base).collect();
        let damaged = copy.segments.iter().filter(|segment| !segment.damage.is_empty());
        Self {
            segments: copy.segments.len(),
            start_lsn: copy.segments.first().map(|segment| segment.base),
            end_lsn: copy.segments.last().map(|segment| segment.end),
            damaged: damaged
                .map(|segment| Damaged {
                    lsn: segment.base,
                    end: segment.end,
                    reason: segment.damage.clone(),
                })
                .collect(),
            different,
            same_state: hash.zip(copy.state_hash.as_ref()).map(|(master, own)| master == own),
            name: copy.name,
            store_id: copy.store_id,
            address: copy.address,
            master: copy.master,
            state_hash: copy.state_hash,
            error: copy.error,
        }
    }

    fn troubles(&self) -> Vec<String> {
        let ranges = ranges(&self.damaged);
        let damaged = ranges.iter().map(Range::told);
        let different = self.different.iter();
        let different = different.map(|base| format!("the segment at {base} is whole and not the master's"));
        let state = (self.same_state == Some(false)).then(|| "its state is not the master's".to_owned());
        let error = self.error.as_ref().map(|error| format!("not compared: {error}"));
        damaged.chain(different).chain(state).chain(error).collect()
    }

    fn row(&self) -> Vec<String> {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let state = match self.same_state {
            Some(true) if self.master => "the master's",
            Some(true) => "same",
            Some(false) => "DIFFERENT",
            None => "-",
        };
        vec![
            self.name.clone(),
            if self.master { "master" } else { "slave" }.to_owned(),
            self.segments.to_string(),
            number(self.start_lsn),
            number(self.end_lsn),
            self.damaged.len().to_string(),
            self.different.len().to_string(),
            state.to_owned(),
        ]
    }
}

/// What is damaged alike and lies together; in the order of the log, as the segments are.
fn ranges(damaged: &[Damaged]) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = Vec::new();
    for Damaged { lsn, end, reason } in damaged {
        // The reason names the file, which is another one for each segment.
        let damage = if reason.contains(NOT_FOUND) { MISSING } else { reason };
        match ranges.last_mut().filter(|range| range.to == *lsn && range.damage == damage) {
            Some(range) => (range.to, range.segments) = (*end, range.segments + 1),
            None => ranges.push(Range { from: *lsn, to: *end, segments: 1, damage }),
        }
    }
    ranges
}

impl Range<'_> {
    fn told(&self) -> String {
        let Self { from, to, segments, damage } = self;
        let (which, are) = match segments {
            1 => (format!("the segment at {from}"), "is"),
            _ => (format!("{segments} segments from {from} to {to}"), "are"),
        };
        if *damage == MISSING {
            format!("{which} {are} missing")
        } else {
            format!("{which} {are} damaged: {damage}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(name: &str, sums: &[u32], hash: &str) -> Copy {
        let member = pb::Member { name: name.to_owned(), master: name == "r0", ..pb::Member::default() };
        let segment = |(number, sum): (usize, &u32)| {
            let base = number as u64 * 100;
            let damage = if *sum == 0 { "bad".to_owned() } else { String::new() };
            pb::CheckedSegment { base, end: base + 100, sum: *sum, damage }
        };
        let segments = sums.iter().enumerate().map(segment).collect();
        Copy { segments, state_hash: Some(hash.to_owned()), ..Copy::new(&member) }
    }

    fn troubles(slave: Copy) -> Vec<String> {
        let report = Report::new(7, vec![copy("r0", &[1, 2, 3], "h"), slave]);
        assert_eq!(report.same, report.troubles() == 0);
        report.replicas.iter().flat_map(Shown::troubles).collect()
    }

    #[test]
    fn copies_are_the_same_where_both_have_full_segments() {
        assert!(troubles(copy("r1", &[1, 2, 3], "h")).is_empty());
        assert!(troubles(copy("r1", &[1, 2], "h")).is_empty(), "the third is not full there yet");
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        assert_eq!(
            troubles(copy("r1", &[1, 9, 3], "h")),
            ["the segment at 100 is whole and not the master's"]
        );
        assert_eq!(troubles(copy("r1", &[1, 0, 3], "h")), ["the segment at 100 is damaged: bad"]);
        assert_eq!(troubles(copy("r1", &[1, 2, 3], "other")), ["its state is not the master's"]);
        let silent = Copy { error: Some("no answer".to_owned()), state_hash: None, ..copy("r1", &[], "") };
        assert_eq!(troubles(silent), ["not compared: no answer"]);
    }

    #[test]
    fn missing_segments_in_a_row_are_one_finding() {
        let mut slave = copy("r1", &[0, 2, 0, 0, 0, 0], "h");
        for segment in slave.segments.iter_mut().filter(|segment| segment.base < 500 && segment.sum == 0) {
            segment.damage = format!("cannot open {}.seg: {NOT_FOUND} (os error 2)", segment.base);
        }
        let told = [
            "the segment at 0 is missing",
            "3 segments from 200 to 500 are missing",
            "the segment at 500 is damaged: bad",
        ];
        assert_eq!(troubles(slave), told);
    }
}
