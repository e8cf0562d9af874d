//! The outcome of a measurement, for people and for programs. Latencies are in microseconds in JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::bench::lateness::Lateness;
use crate::bench::ledger::Account;
use crate::bench::master::Promotion;
use crate::bench::run::{Run, Tally};
use crate::bench::{Bench, Call, Measured};
use crate::failure::Failure;
use crate::output::{self, Output};

mod latency;

use self::latency::{Latency, micros, shown};

/// Sends that never began are mentioned to people if they are more than one in so many: a few are always under way
/// when the run ends.
const LATE_SHOWN: u64 = 100;

/// All figures of a run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    call: &'static str,
    r#loop: &'static str,
    senders: u32,
    rate_wanted: Option<f64>,
    transactions: bool,
    delay_ms: Option<u64>,
    consumers: u32,
    inflight: u32,
    size: u32,
    connections: u32,
    seconds: f64,
    /// Open loop: sends that were due and never began.
    late: u64,
    messages: Messages,
    longest_gap: Option<Gap>,
    promotion: Option<Promotion>,
    send: Operation,
    receive: Operation,
    ack: Operation,
    end_to_end_us: Latency,
    late_delivery: Option<LateDelivery>,
    /// Processor time for each successful call of the senders (of the consumers, where there are no senders).
    driver_cpu_us_per_message: Option<f64>,
    server_cpu_us_per_message: Option<f64>,
}

/// What came of the messages of the whole run.
#[derive(PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Messages {
    acknowledged: u64,
    /// Neither acknowledged nor surely refused: they may be stored.
    unknown: u64,
    /// Of the acknowledged ones; none without consumers.
    received: Option<u64>,
    /// Acknowledged and not received though nothing is left to receive; none where that was not waited for.
    lost: Option<u64>,
}

/// Delayed messages that were due within the measurement, as far as they came.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LateDelivery {
    messages: u64,
    /// Before their time, in the whole run.
    early: u64,
    /// From their time to their receipt.
    after_us: Latency,
}

/// The longest time without a successful send.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Gap {
    ms: f64,
    /// When it began, from the beginning of the measurement on.
    from_seconds: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    ok: u64,
    failed: u64,
    unknown: u64,
    per_second: f64,
    latency_us: Latency,
    errors: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn new(bench: &Bench, run: &Run, measured: &Measured, promotion: Option<Promotion>) -> Self {
        let operation = |tally: &Tally| Operation::of(tally, run.seconds(tally));
        let (send, receive, ack) = (operation(&run.sends), operation(&run.receives), operation(&run.acks));
        let messages = if bench.senders > 0 { send.ok } else { ack.ok };
        let each = |cpu: Option<Duration>| Some(micros(cpu?.as_nanos() as f64) / messages.max(1) as f64);
        Self {
            call: if bench.call == Call::Send { "send" } else { "empty" },
            r#loop: if bench.rate.is_some() { "open" } else { "closed" },
            senders: bench.senders,
            rate_wanted: bench.rate,
            transactions: bench.transactions,
            delay_ms: bench.delay.map(|delay| delay.as_millis() as u64),
            consumers: bench.consumers,
            inflight: bench.inflight,
            size: bench.size,
            connections: bench.connections,
            seconds: measured.seconds,
            late: run.late(),
            messages: Messages::of(run.ledger.account(), bench.consumers > 0, measured.drained),
            longest_gap: run.gap().map(|(length, from)| Gap {
                ms: micros(length.as_nanos() as f64) / 1000.0,
                from_seconds: from.as_secs_f64(),
            }),
            promotion,
            send,
            receive,
            ack,
            end_to_end_us: Latency::of(&run.end_to_end.latency()),
            late_delivery: LateDelivery::of(&run.lateness),
            driver_cpu_us_per_message: each(measured.driver_cpu),
            server_cpu_us_per_message: each(measured.server_cpu),
        }
    }

    pub(super) fn print(&self, output: Output) -> Result<(), Failure> {
        if output == Output::Json {
            return output::json(self);
        }
        let lines = self.lines();
        self.print_table(&lines)?;
        if self.call == "send" && self.senders > 0 {
            self.print_outcome()?;
        }
        if let Some(LateDelivery { early: early @ 1.., .. }) = self.late_delivery {
            output::line(&format!("{early} messages came before their time, by the clock of this machine"))?;
        }
        for (name, operation) in lines {
            for (error, count) in &operation.errors {
                output::line(&format!("{name}: {count} times {error}"))?;
            }
        }
        if self.late * LATE_SHOWN > self.send.ok {
            output::line(&format!(
                "{} sends were due and never began: the broker did not keep up",
                self.late
            ))?;
        }
        for (whose, cpu) in
            [("driver", self.driver_cpu_us_per_message), ("broker", self.server_cpu_us_per_message)]
        {
            if let Some(micros) = cpu {
                output::line(&format!("processor time of the {whose}: {micros:.1} µs a message"))?;
            }
        }
        Ok(())
    }

    /// Calls that were made, as people name them.
    fn lines(&self) -> Vec<(&'static str, &Operation)> {
        let call = match self.call {
            "send" if self.transactions => "send and commit",
            "send" => "send",
            _ => "empty call",
        };
        let senders = (self.senders > 0).then_some((call, &self.send));
        let consumers = (self.consumers > 0).then_some([("receive", &self.receive), ("ack", &self.ack)]);
        senders.into_iter().chain(consumers.into_iter().flatten()).collect()
    }

    fn print_table(&self, lines: &[(&str, &Operation)]) -> Result<(), Failure> {
        let rows = lines.iter().map(|(name, operation)| operation.row(name));
        let header = ["CALL", "OK", "FAILED", "UNKNOWN", "PER SECOND", "P50", "P90", "P99", "P99.9", "MAX"];
        let end_to_end = self.consumers > 0 && self.end_to_end_us.max > 0.0;
        let last = [
            end_to_end.then_some(("send to receipt", &self.end_to_end_us)),
            self.late_delivery.as_ref().map(|late| ("time to receipt", &late.after_us)),
        ];
        let last = last.into_iter().flatten().map(|(name, latency)| {
            let blank = std::iter::repeat_n(String::new(), 4);
            std::iter::once(name.to_owned()).chain(blank).chain(latency.cells()).collect()
        });
        output::table(&header, rows.chain(last))
    }

    /// Acknowledged messages that are gone.
    pub(super) fn lost(&self) -> u64 {
        self.messages.lost.unwrap_or(0)
    }

    fn print_outcome(&self) -> Result<(), Failure> {
        output::line(&format!("messages, those of the warm-up too: {}", self.messages.told()))?;
        if let Some(Gap { ms, from_seconds }) = self.longest_gap {
            let length = shown(ms * 1000.0);
            output::line(&format!(
                "longest time without an acknowledged send: {length}, from second {from_seconds:.1} on"
            ))?;
        }
        if let Some(Promotion { from, to }) = &self.promotion {
            output::line(&format!(
                "meanwhile {} was promoted: epoch {}, after {} in epoch {}",
                to.name, to.epoch, from.name, from.epoch
            ))?;
        }
        Ok(())
    }
}

impl LateDelivery {
    /// None where nothing delayed came.
    fn of(lateness: &Lateness) -> Option<Self> {
        let (nanos, early) = (lateness.nanos(), lateness.early());
        let messages = nanos.len();
        (messages + early > 0).then(|| Self { messages, early, after_us: Latency::of(&nanos) })
    }
}

impl Messages {
    fn of(account: Account, consumers: bool, drained: bool) -> Self {
        Self {
            acknowledged: account.acknowledged,
            unknown: account.unknown,
            received: consumers.then_some(account.received),
            lost: (consumers && drained).then_some(account.missing()),
        }
    }

    fn told(&self) -> String {
        let Self { acknowledged, unknown, .. } = self;
        let came = match (self.received, self.lost) {
            (Some(received), Some(lost)) => format!(", received {received}, lost {lost}"),
            (Some(received), None) => {
                format!(", received {received}, not received yet {}", acknowledged - received)
            }
            (None, _) => return format!("acknowledged {acknowledged}, unknown {unknown}"),
        };
        let unknown = if *unknown > 0 { format!(", unknown {unknown}") } else { String::new() };
        format!("acknowledged {acknowledged}{came}{unknown}")
    }
}

impl Operation {
    fn of(tally: &Tally, seconds: f64) -> Self {
        Self {
            ok: tally.ok(),
            failed: tally.failed(),
            unknown: tally.unknown(),
            per_second: tally.ok() as f64 / seconds.max(1e-9),
            latency_us: Latency::of(&tally.latency()),
            errors: tally.errors(),
        }
    }

    fn row(&self, name: &str) -> Vec<String> {
        let counts = [self.ok, self.failed, self.unknown].map(|count| count.to_string());
        let rate = format!("{:.0}", self.per_second);
        let head = std::iter::once(name.to_owned()).chain(counts).chain([rate]);
        head.chain(self.latency_us.cells()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_the_messages_is_told_as_far_as_it_is_known() {
        let told = |unknown, consumers, drained| {
            let account = Account { acknowledged: 500, unknown, received: 498 };
            Messages::of(account, consumers, drained).told()
        };
        assert_eq!(told(0, true, true), "acknowledged 500, received 498, lost 2");
        assert_eq!(told(3, true, true), "acknowledged 500, received 498, lost 2, unknown 3");
        assert_eq!(told(0, true, false), "acknowledged 500, received 498, not received yet 2");
        assert_eq!(told(3, false, false), "acknowledged 500, unknown 3");
    }
}
