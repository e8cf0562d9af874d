//! Latencies as the report tells them.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Quantiles, in microseconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Latency {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    pub(super) max: f64,
}

impl Latency {
    pub(super) fn of(nanos: &Histogram<u64>) -> Self {
        let at = |quantile| micros(nanos.value_at_quantile(quantile) as f64);
        Self {
            min: micros(nanos.min() as f64),
            mean: micros(nanos.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: micros(nanos.max() as f64),
        }
    }

    /// As a table has them.
    pub(super) fn cells(&self) -> [String; 5] {
        [self.p50, self.p90, self.p99, self.p99_9, self.max].map(shown)
    }
}

/// Microseconds of nanoseconds.
pub(super) fn micros(nanos: f64) -> f64 {
    nanos / 1000.0
}

/// Microseconds as people read them.
pub(super) fn shown(micros: f64) -> String {
    match micros {
        micros if micros < 1000.0 => format!("{micros:.0} µs"),
        micros if micros < 1_000_000.0 => format!("{:.2} ms", micros / 1000.0),
        micros => format!("{:.2} s", micros / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_shown_in_the_unit_that_fits() {
        assert_eq!(shown(999.4), "999 µs");
        assert_eq!(shown(1500.0), "1.50 ms");
        assert_eq!(shown(2_500_000.0), "2.50 s");
    }

    #[test]
    fn quantiles_are_in_microseconds() {
        let mut nanos = Histogram::new(3).unwrap();
        for value in 1..=1000_u64 {
            nanos.record(value * 1000).unwrap();
        }
        let latency = Latency::of(&nanos);
        assert!((latency.p50 - 500.0).abs() < 2.0, "{}", latency.p50);
        assert!((latency.p99 - 990.0).abs() < 2.0, "{}", latency.p99);
    }
}
