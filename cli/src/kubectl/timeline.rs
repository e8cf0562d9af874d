//! The last failover in milliseconds, and what was told of the queue since.

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use rq_operator_core::queue::status::{FailoverCause, LastFailover};
use serde::Serialize;

/// What was told within so long after a failover is shown relative to it, in ms.
const NEAR_MS: i64 = 600_000;

/// Something that happened.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    /// When, RFC 3339.
    pub(super) at: String,
    /// Since the master was lost; none where that is long ago or unknown.
    pub(super) after_ms: Option<i64>,
    /// One word.
    pub(super) what: String,
    /// A sentence.
    pub(super) note: String,
}

impl Step {
    pub(super) fn row(&self) -> Vec<String> {
        let after = self.after_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:+} ms"));
        vec![after, self.at.clone(), self.what.clone(), self.note.clone()]
    }
}

/// When the times of a failover begin: the master's death, or what is known next.
fn origin(failover: &LastFailover) -> Option<Timestamp> {
    let times = [&failover.dead_at, &failover.decided_at, &failover.served_at];
    times.into_iter().flatten().next().map(|time| time.0)
}

fn since(origin: Timestamp, at: Timestamp) -> i64 {
    at.as_millisecond() - origin.as_millisecond()
}

/// The steps of a failover that somebody saw, in their order.
pub(super) fn steps(failover: &LastFailover) -> Vec<Step> {
    let Some(origin) = origin(failover) else { return Vec::new() };
    let from = failover.from.as_deref().unwrap_or("the master");
    let cause = failover.cause.map_or_else(String::new, |cause| format!(": {}", words(cause)));
    let steps = [
        (&failover.dead_at, "dead", format!("{from} is lost{cause}")),
        (
            &failover.decided_at,
            "decided",
            format!("{} is appointed master in epoch {}", failover.to, failover.epoch),
        ),
        (&failover.served_at, "served", format!("{} takes messages", failover.to)),
    ];
    let step = |(at, what, note): (&Option<_>, &str, String)| {
        let at: &k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime = at.as_ref()?;
        let after_ms = Some(since(origin, at.0));
        Some(Step { at: millis(at.0), after_ms, what: what.to_owned(), note })
    };
    steps.into_iter().filter_map(step).collect()
}

/// The newest events, in the order of their times, like the steps of a failover.
pub(super) fn newest(events: Vec<Event>, failover: Option<&LastFailover>, most: usize) -> Vec<Step> {
    let mut timed: Vec<_> = events.into_iter().filter_map(|event| Some((time(&event)?, event))).collect();
    timed.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let origin = failover.and_then(origin);
    let step = |(at, event): (Timestamp, Event)| Step {
        at: millis(at),
        after_ms: origin.map(|origin| since(origin, at)).filter(|ms| (0..=NEAR_MS).contains(ms)),
        what: event.reason.unwrap_or_default(),
        note: event.note.unwrap_or_default(),
    };
    timed.truncate(most);
    timed.into_iter().rev().map(step).collect()
}

/// When it happened last.
fn time(event: &Event) -> Option<Timestamp> {
    let series = event.series.as_ref().map(|series| series.last_observed_time.0);
    let told = event.event_time.as_ref().map(|time| time.0);
    let old = event.deprecated_last_timestamp.as_ref().map(|time| time.0);
    let made = event.metadata.creation_timestamp.as_ref().map(|time| time.0);
    series.or(told).or(old).or(made)
}

fn millis(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A failover in one line.
pub(super) fn in_short(failover: &LastFailover) -> String {
    let from = failover.from.as_ref().map_or_else(String::new, |from| format!(" after {from}"));
    let cause = failover.cause.map_or_else(String::new, |cause| format!(" ({})", words(cause)));
    let begun = origin(failover).map_or_else(String::new, |at| format!(" at {}", millis(at)));
    let served = match (&failover.dead_at, &failover.served_at) {
        (Some(dead), Some(served)) => format!(", served {} ms later", since(dead.0, served.0)),
        _ => String::new(),
    };
    format!("{}{from} in epoch {}{cause}{begun}{served}", failover.to, failover.epoch)
}

const fn words(cause: FailoverCause) -> &'static str {
    match cause {
        FailoverCause::HandedOver => "it handed over",
        FailoverCause::PodDeleted => "its pod was deleted",
        FailoverCause::ContainerTerminated => "its container ended",
        FailoverCause::NodeOutOfService => "its node is out of service",
        FailoverCause::Silent => "it did not answer",
        FailoverCause::DataLossAccepted => "the loss of data was accepted",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failover(times: &serde_json::Value) -> LastFailover {
        let mut whole = json!({ "epoch": 7, "from": "orders-0", "to": "orders-1", "cause": "PodDeleted" });
        for (key, value) in times.as_object().unwrap() {
            whole[key] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    fn whole() -> LastFailover {
        failover(&json!({
            "deadAt": "2026-11-28T10:00:00.500000Z",
            "decidedAt": "2026-11-28T10:00:00.535000Z",
            "servedAt": "2026-11-28T10:00:00.910000Z",
        }))
    }

    fn event(at: &str, reason: &str) -> Event {
        let event = json!({ "metadata": {}, "eventTime": at, "reason": reason, "note": "a note" });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn a_failover_is_told_from_the_death_of_the_master_on() {
        let steps = steps(&whole());
        let told: Vec<_> = steps.iter().map(|step| (step.after_ms, step.what.as_str())).collect();
        assert_eq!(told, [(Some(0), "dead"), (Some(35), "decided"), (Some(410), "served")]);
        assert_eq!(steps[0].note, "orders-0 is lost: its pod was deleted");
        assert_eq!(
            steps[2].row(),
            ["+410 ms", "2026-11-28T10:00:00.910Z", "served", "orders-1 takes messages"]
        );
    }

    #[test]
    fn what_nobody_saw_is_left_out() {
        let late = failover(&json!({ "decidedAt": "2026-11-28T10:00:00.535000Z" }));
        let told: Vec<_> = steps(&late).into_iter().map(|step| (step.after_ms, step.what)).collect();
        assert_eq!(told, [(Some(0), "decided".to_owned())]);
        assert_eq!(steps(&failover(&json!({}))), []);
    }

    #[test]
    fn the_newest_events_come_in_their_order_and_those_soon_after_the_failover_are_timed() {
        let events = vec![
            event("2026-11-28T10:00:00.540000Z", "Promoted"),
            event("2026-11-28T12:00:00.000000Z", "Rolling"),
            event("2026-11-28T09:59:59.500000Z", "MemberDown"),
        ];
        let told: Vec<_> = newest(events.clone(), Some(&whole()), 10)
            .into_iter()
            .map(|step| (step.after_ms, step.what))
            .collect();
        let expected = [(None, "MemberDown"), (Some(40), "Promoted"), (None, "Rolling")];
        assert_eq!(told, expected.map(|(ms, what)| (ms, what.to_owned())));
        let newest = newest(events, None, 1).into_iter().map(|step| step.what);
        assert_eq!(newest.collect::<Vec<_>>(), ["Rolling"]);
    }

    #[test]
    fn a_series_counts_by_its_last_event() {
        let mut seen = event("2026-11-28T10:00:00.000000Z", "MemberDown");
        let series = json!({ "count": 3, "lastObservedTime": "2026-11-28T11:00:00.000000Z" });
        seen.series = serde_json::from_value(series).unwrap();
        assert_eq!(newest(vec![seen], None, 1)[0].at, "2026-11-28T11:00:00.000Z");
    }

    #[test]
    fn a_failover_fits_one_line() {
        assert_eq!(
            in_short(&whole()),
            "orders-1 after orders-0 in epoch 7 (its pod was deleted) at 2026-11-28T10:00:00.500Z, served 410 ms later"
        );
    }
}
