//! The rules for attempt numbers: each delivery of a message to a group has the next one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Handed, Index, Violation};

/// Attempts of a message that no receive is known to have got.
struct Gap<'a> {
    id: &'a str,
    /// The attempts on both sides.
    attempts: (u32, u32),
    /// They were handed out between these two moments.
    span: (Duration, Duration),
}

impl Gap<'_> {
    fn missing(&self) -> usize {
        self.attempts.1.saturating_sub(self.attempts.0).saturating_sub(1) as usize
    }
}

pub(super) fn attempts_grow_by_one(index: &Index<'_>) -> Vec<Violation> {
    let mut wrong = Vec::new();
    let mut gaps: BTreeMap<_, Vec<Gap<'_>>> = BTreeMap::new();
    for (&(group, id), handed) in &index.handed {
        let mut seen: Vec<Handed<'_>> =
            handed.iter().filter(|seen| seen.receive.outcome.is_ok()).copied().collect();
        seen.sort_by_key(|seen| seen.delivery.attempt);
        seen.dedup_by(|next, last| next.repeats(last));
        let mut last = (0, Duration::ZERO);
        for Handed { receive, delivery } in seen {
            let attempts = (last.0, delivery.attempt);
            if attempts.0 == attempts.1 || receive.span.end < last.1 {
                wrong.push(Violation::AttemptNotGrown { id: id.into(), attempts });
            }
            let gap = Gap { id, attempts, span: (last.1, receive.span.end) };
            if gap.missing() > 0 {
                gaps.entry((group, receive.topic.as_str())).or_default().push(gap);
            }
            last = (delivery.attempt, receive.span.begin);
        }
    }
    for ((group, topic), gaps) in gaps {
        let unknown = index.history.receives.iter().filter(|call| {
            call.outcome.is_unknown() && (call.group.as_str(), call.topic.as_str()) == (group, topic)
        });
        wrong.extend(unexplained(gaps, unknown.map(|call| call.span.begin).collect()));
    }
    wrong
}

/// The gaps that receives of unknown outcome, which began at these moments, cannot explain.
///
/// Such a receive takes messages once, at some moment after it began. That may be long after its caller gave up: a broker
/// that was frozen goes on with what had reached it. So there must be enough of them for as few moments as all gaps can
/// have in common; those are found by taking for each gap, in the order of their ends, its last moment.
fn unexplained(mut gaps: Vec<Gap<'_>>, mut began: Vec<Duration>) -> Vec<Violation> {
    gaps.sort_by_key(|gap| gap.span.1);
    began.sort_unstable();
    let mut wrong = Vec::new();
    let mut moments: Vec<Duration> = Vec::new();
    for gap in gaps {
        let (after, before) = gap.span;
        let found = moments.len() - moments.partition_point(|moment| *moment <= after);
        let needed = moments.len() + gap.missing().saturating_sub(found);
        if needed > began.partition_point(|began| *began < before) {
            wrong.push(Violation::AttemptSkipped { id: gap.id.into(), attempts: gap.attempts });
        } else {
            moments.resize(needed, before);
        }
    }
    wrong
}
