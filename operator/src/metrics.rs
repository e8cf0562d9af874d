//! What the operator counts, in Prometheus' text format.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::key::QueueKey;

/// A queue.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(crate) struct QueueLabels {
    namespace: String,
    queue: String,
}

impl From<&QueueKey> for QueueLabels {
    fn from(key: &QueueKey) -> Self {
        Self { namespace: key.namespace.clone(), queue: key.name.clone() }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WriteLabel {
    what: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// Part of a failover.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// From the end of the old master until the promotion was written.
    Decide,
    /// From then until the new master takes messages.
    Serve,
}

/// The operator's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    /// Looks of the reconciler at a queue.
    pub(crate) reconciles: Family<QueueLabels, Counter>,
    /// Those that ended with an error.
    pub(crate) errors: Family<QueueLabels, Counter>,
    durations: Histogram,
    writes: Family<WriteLabel, Counter>,
    watch_age: Family<KindLabel, Gauge>,
    /// Promotions that this replica wrote.
    pub(crate) promotions: Family<QueueLabels, Counter>,
    /// Its writes of a configuration for which another one came first.
    pub(crate) conflicts: Family<QueueLabels, Counter>,
    /// Its writes of a configuration of which it does not know what came.
    pub(crate) unknown: Family<QueueLabels, Counter>,
    phases: Family<PhaseLabel, Histogram>,
    /// Copies in sync.
    pub(crate) in_sync: Family<QueueLabels, Gauge>,
    /// 1 on the replica that carries out changes.
    pub(crate) leader: Gauge,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("rq_operator");
        let phases = Family::<PhaseLabel, Histogram>::new_with_constructor(|| {
            // 10 ms to 41 s, doubling.
            Histogram::new(exponential_buckets(0.01, 2.0, 13))
        });
        let metrics = Self {
            reconciles: Family::default(),
            errors: Family::default(),
            // 1 ms to 16 s, doubling.
            durations: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            writes: Family::default(),
            watch_age: Family::default(),
            promotions: Family::default(),
            conflicts: Family::default(),
            unknown: Family::default(),
            phases,
            in_sync: Family::default(),
            leader: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("reconciles", "Looks of the reconciler at a queue", metrics.reconciles.clone());
        registry.register("reconcile_errors", "Looks that ended with an error", metrics.errors.clone());
        registry.register_with_unit(
            "reconcile",
            "How long a look took",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register("writes", "Writes to the API server by what was written", metrics.writes.clone());
        registry.register_with_unit(
            "watch_age",
            "Since the task of a watch of the failure detector turned",
            Unit::Seconds,
            metrics.watch_age.clone(),
        );
        registry.register(
            "promotions",
            "Promotions that this replica of the operator wrote",
            metrics.promotions.clone(),
        );
        registry.register(
            "config_conflicts",
            "Writes of a configuration for which another one came first",
            metrics.conflicts.clone(),
        );
        registry.register(
            "config_unknown",
            "Reads and writes of a configuration that failed or were not answered",
            metrics.unknown.clone(),
        );
        registry.register_with_unit(
            "failover",
            "How long the parts of a failover took",
            Unit::Seconds,
            metrics.phases.clone(),
        );
        registry.register("in_sync", "Copies that hold everything acknowledged", metrics.in_sync.clone());
        registry.register("leader", "1 on the replica that carries out changes", metrics.leader.clone());
        Self { registry, ..metrics }
    }

    /// A look took so long.
    pub(crate) fn took(&self, duration: Duration) {
        self.durations.observe(duration.as_secs_f64());
    }

    /// Something was written.
    pub(crate) fn wrote(&self, what: &'static str) {
        self.writes.get_or_create(&WriteLabel { what }).inc();
    }

    /// The task of a watch turned so long ago.
    pub(crate) fn watched(&self, kind: &'static str, ago: Duration) {
        self.watch_age
            .get_or_create(&KindLabel { kind })
            .set(i64::try_from(ago.as_secs()).unwrap_or(i64::MAX));
    }

    /// Part of a failover took so long.
    pub(crate) fn failover(&self, phase: Phase, seconds: f64) {
        let phase = match phase {
            Phase::Decide => "decide",
            Phase::Serve => "serve",
        };
        self.phases.get_or_create(&PhaseLabel { phase }).observe(seconds);
    }

    /// Nothing is told of a queue that is gone.
    pub(crate) fn forget(&self, key: &QueueKey) {
        self.in_sync.remove(&key.into());
    }

    /// All of them as text.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
