//! What the engine and the registry of clients tell when they are scraped. Reads published figures only: a scrape
//! never stops the log thread.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::clients::Clients;
use crate::engine::{Engine, FLUSH_BUCKETS_US, Figures};

const MICROS_A_SECOND: f64 = 1_000_000.0;

/// Tells the figures of the moment.
pub struct EngineFigures {
    /// The engine.
    pub engine: Engine,
    /// Who is connected.
    pub clients: Arc<Clients>,
}

impl fmt::Debug for EngineFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineFigures")
    }
}

/// Names, helps and values of what only grows.
fn counters(figures: &Figures) -> [(&'static str, &'static str, u64); 9] {
    [
        (
            "messages_expired",
            "Messages that groups gave up because they had not consumed them in time",
            figures.expired_messages,
        ),
        (
            "transactions_given_up",
            "Half messages that became dead letters because nobody ended their transaction",
            figures.given_up_transactions,
        ),
        ("log_segments_scrubbed", "Log segments that were read again", figures.scrub.segments),
        ("log_segments_found_damaged", "Log segments that were found to be damaged", figures.scrub.damaged),
        (
            "log_segments_repaired",
            "Damaged log segments that were replaced by another replica's copy",
            figures.scrub.repaired,
        ),
        ("states_same", "Comparisons that found the master's state here", figures.states_same),
        (
            "states_different",
            "Comparisons that found another state here than the master's",
            figures.states_different,
        ),
        ("engine_batches", "Batches of requests that the log thread worked off", figures.batches),
        ("engine_requests", "Requests that the log thread worked off", figures.requests),
    ]
}

impl Collector for EngineFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.engine.figures();
        let gauges: [(&str, &str, u64); 12] = [
            ("connections", "Connections to the client port", self.clients.connections() as u64),
            (
                "clients",
                "Clients of living connections",
                self.clients.live(std::time::Instant::now()).len() as u64,
            ),
            ("transactions_open", "Half messages whose transaction has not ended", figures.held.halves),
            ("messages_delayed", "Messages that wait for their delivery time", figures.held.delayed),
            ("log_start_lsn", "Byte position where the log begins", figures.start.0),
            ("log_durable_lsn", "Byte position below which the log is flushed", figures.durable.0),
            ("log_commit_lsn", "Byte position below which the log is committed", figures.commit.0),
            ("checkpoint_lsn", "Byte position that the newest checkpoint covers", figures.checkpoint.0),
            ("disk_available_bytes", "Bytes left for the log", figures.available_bytes),
            ("disk_size_bytes", "Size of the log's file system", figures.total_bytes),
            (
                "accepts_messages",
                "1 unless the disk is too full for messages",
                u64::from(figures.accepts_messages),
            ),
            (
                "log_segments_damaged",
                "Log segments that are damaged now and could not be repaired yet",
                figures.scrub.damaged_now,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let help = "Log time, by which messages become due and leases lapse, ahead of the wall clock; negative: behind";
        let ahead = ConstGauge::new(figures.log_time_ahead_ms as f64 / 1e3);
        let unit = Some(&Unit::Seconds);
        ahead.encode(encoder.encode_descriptor("log_time_ahead", help, unit, ahead.metric_type())?)?;
        let idle = self.engine.idle_groups();
        if !idle.is_empty() {
            let help = "The log from the oldest unread message of a group on that does not consume";
            let mut family =
                encoder.encode_descriptor("group_idle_pinned_bytes", help, None, MetricType::Gauge)?;
            for idle in idle.iter() {
                let gauge = ConstGauge::new(idle.pinned_bytes);
                gauge.encode(family.encode_family(&[("group", idle.group.as_ref())])?)?;
            }
        }
        for (name, help, value) in counters(&figures) {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let bounds = FLUSH_BUCKETS_US.iter().map(|us| *us as f64 / MICROS_A_SECOND).chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(figures.flushes_by_time).collect();
        let flushes =
            ("log_flush", "Time of a flush of the log", Some(&Unit::Seconds), MetricType::Histogram);
        encoder.encode_descriptor(flushes.0, flushes.1, flushes.2, flushes.3)?.encode_histogram::<NoLabelSet>(
            figures.flush_us as f64 / MICROS_A_SECOND,
            figures.flushes,
            &buckets,
            None,
        )
    }
}
