//! The history that `rq bench --history` writes, as the checker of the process tests judges it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rq_tests::history::{Ack, Delivery, End, History, Hold, Outcome, Receive, Send, Span};
use serde::Deserialize;

/// The codes that the checker knows by their numbers.
const KNOWN: [(&str, i32); 2] = [("INVALID_RECEIPT_HANDLE", 40013), ("INVALID_TRANSACTION_ID", 40008)];

/// A line.
#[derive(Deserialize)]
struct Line {
    op: String,
    client: u32,
    id: String,
    invoke_ns: u64,
    complete_ns: u64,
    result: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    half: bool,
    #[serde(default)]
    due_ns: Option<u64>,
    #[serde(default)]
    queue: i32,
    #[serde(default)]
    offset: i64,
    #[serde(default)]
    attempt: u32,
    #[serde(default)]
    invisible_ms: u64,
    #[serde(default)]
    message_group: Option<String>,
    #[serde(default)]
    handle: Option<String>,
}

/// Reads the lines of one run, which sends to one topic and consumes it in one group.
pub(crate) fn read(text: &str) -> Result<History> {
    let mut history = History::default();
    // Messages of one receive have a line each.
    let mut receives: BTreeMap<(u64, u32), Receive> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line: Line =
            serde_json::from_str(line).with_context(|| format!("line {} of the history", number + 1))?;
        match line.op.as_str() {
            "send" => history.sends.push(line.send()),
            "commit" => history.ends.push(line.commit()),
            "ack" => history.acks.push(line.ack()),
            _ => {
                let receive = receives.entry((line.invoke_ns, line.client)).or_insert_with(|| line.receive());
                receive.deliveries.extend(line.delivery());
            }
        }
    }
    history.receives = receives.into_values().collect();
    history.receives.sort_by_key(|receive| receive.span.end);
    history.sends.sort_by_key(|send| send.span.end);
    history.ends.sort_by_key(|end| end.span.end);
    history.acks.sort_by_key(|ack| ack.span.end);
    Ok(history)
}

impl Line {
    fn span(&self) -> Span {
        Span { begin: Duration::from_nanos(self.invoke_ns), end: Duration::from_nanos(self.complete_ns) }
    }

    fn outcome(&self) -> Outcome {
        let reason = self.code.clone().unwrap_or_default();
        match self.result.as_str() {
            "ok" => Outcome::Ok,
            "fail" => {
                let known = KNOWN.into_iter().find(|(name, _)| *name == reason);
                Outcome::Fail { code: known.map_or(0, |(_, code)| code), reason }
            }
            _ => Outcome::Unknown { reason },
        }
    }

    fn send(self) -> Send {
        let (span, outcome) = (self.span(), self.outcome());
        let (topic, message_group) = ("bench".to_owned(), self.message_group);
        let hold = match self.due_ns {
            Some(due) => Hold::Until(Duration::from_nanos(due)),
            None if self.half => Hold::Transaction,
            None => Hold::None,
        };
        Send { span, id: self.id, topic, message_group, hold, outcome }
    }

    fn commit(self) -> End {
        End { span: self.span(), outcome: self.outcome(), id: self.id, commit: true }
    }

    fn receive(&self) -> Receive {
        Receive {
            span: self.span(),
            topic: "bench".to_owned(),
            group: "bench".to_owned(),
            invisible: Duration::from_millis(self.invisible_ms),
            attempt_id: None,
            outcome: self.outcome(),
            deliveries: Vec::new(),
        }
    }

    fn delivery(self) -> Option<Delivery> {
        let (place, attempt) = ((self.queue, self.offset), self.attempt);
        // Bodies are checked by no one here: the process tests do that.
        (!self.id.is_empty()).then(|| Delivery {
            id: self.id,
            handle: self.handle.unwrap_or_default(),
            attempt,
            place,
            intact: true,
        })
    }

    fn ack(self) -> Ack {
        let (span, outcome) = (self.span(), self.outcome());
        Ack { span, group: "bench".to_owned(), id: self.id, handle: self.handle.unwrap_or_default(), outcome }
    }
}

/// Messages whose sender got an OK.
pub(crate) fn acknowledged(history: &History) -> usize {
    let oks = history.sends.iter().filter(|send| send.outcome.is_ok());
    oks.map(|send| send.id.as_str()).collect::<BTreeSet<_>>().len()
}

/// The longest time from one acknowledged send to the next that ends after `after`, since 1970; whole if that is zero.
pub(crate) fn longest_gap(history: &History, after: Duration) -> Duration {
    let mut oks: Vec<Duration> =
        history.sends.iter().filter(|send| send.outcome.is_ok()).map(|send| send.span.end).collect();
    oks.sort_unstable();
    let pairs = oks.windows(2).filter(|pair| pair[1] > after);
    pairs.map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
}

/// Sends that were acknowledged within a time since 1970.
pub(crate) fn acknowledged_between(history: &History, from: Duration, to: Duration) -> usize {
    let within = |send: &&Send| send.outcome.is_ok() && send.span.begin > from && send.span.end < to;
    history.sends.iter().filter(within).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"op":"send","client":0,"id":"a","invoke_ns":1000000000,"complete_ns":1100000000,"result":"ok"}
{"op":"send","client":1,"id":"b","invoke_ns":1200000000,"complete_ns":2000000000,"result":"unknown","code":"NO_ANSWER"}
{"op":"send","client":1,"id":"b","invoke_ns":2000000000,"complete_ns":3600000000,"result":"ok"}
{"op":"receive","client":0,"id":"a","invoke_ns":1100000000,"complete_ns":3700000000,"result":"ok","queue":1,"offset":0,"attempt":1,"invisible_ms":60000,"handle":"h1"}
{"op":"receive","client":0,"id":"b","invoke_ns":1100000000,"complete_ns":3700000000,"result":"ok","queue":2,"offset":0,"attempt":1,"invisible_ms":60000,"handle":"h2"}
{"op":"receive","client":1,"id":"","invoke_ns":1100000000,"complete_ns":3700000000,"result":"fail","code":"TOO_MANY_REQUESTS"}
{"op":"ack","client":0,"id":"a","invoke_ns":3700000000,"complete_ns":3800000000,"result":"ok","handle":"h1"}
"#;

    #[test]
    fn a_history_of_the_bench_is_read_as_it_was() {
        let history = read(LINES).unwrap();
        assert_eq!((history.sends.len(), history.receives.len(), history.acks.len()), (3, 2, 1));
        assert_eq!(acknowledged(&history), 2);
        assert_eq!(longest_gap(&history, Duration::ZERO), Duration::from_millis(2500));
        assert_eq!(longest_gap(&history, Duration::from_secs(4)), Duration::ZERO);
        assert_eq!(acknowledged_between(&history, Duration::from_millis(1900), Duration::from_secs(4)), 1);
        let lost = rq_tests::checker::check(&history);
        assert_eq!(lost.len(), 1, "b was never acked by its consumer: {lost:?}");
    }

    const HELD: &str = r#"{"op":"send","client":0,"id":"a","invoke_ns":1000000000,"complete_ns":1100000000,"result":"ok","half":true}
{"op":"commit","client":0,"id":"a","invoke_ns":1100000000,"complete_ns":1200000000,"result":"ok"}
{"op":"commit","client":0,"id":"a","invoke_ns":1300000000,"complete_ns":1400000000,"result":"fail","code":"INVALID_TRANSACTION_ID"}
{"op":"send","client":1,"id":"b","invoke_ns":1000000000,"complete_ns":1100000000,"result":"ok","due_ns":5000000000}
{"op":"receive","client":0,"id":"b","invoke_ns":1100000000,"complete_ns":4000000000,"result":"ok","queue":2,"offset":0,"attempt":1,"invisible_ms":60000,"handle":"h2"}
{"op":"ack","client":0,"id":"b","invoke_ns":4000000000,"complete_ns":4100000000,"result":"ok","handle":"h2"}
"#;

    #[test]
    fn what_messages_waited_for_is_read_too() {
        use rq_tests::checker::Violation;

        let wrong = rq_tests::checker::check(&read(HELD).unwrap());
        let found = |of: fn(&Violation) -> bool| wrong.iter().filter(|violation| of(violation)).count();
        assert_eq!(found(|wrong| matches!(wrong, Violation::Lost { id, .. } if id == "a")), 1, "{wrong:?}");
        assert_eq!(found(|wrong| matches!(wrong, Violation::HeldNotFound { id, .. } if id == "a")), 1);
        assert_eq!(found(|wrong| matches!(wrong, Violation::TooEarly { id, .. } if id == "b")), 1);
        assert_eq!(wrong.len(), 3, "{wrong:?}");
    }
}
