//! What the broker counts, in Prometheus' text format. Hot paths hold resolved counters: no lookup by label there.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use rq_proto::rocketmq::Code;

mod engine;

pub use engine::EngineFigures;

macro_rules! rpcs {
    ($($name:ident),* $(,)?) => {
        /// The calls of the RocketMQ API.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs, reason = "each is the call of its name")]
        pub enum Rpc { $($name),* }

        impl Rpc {
            const ALL: &[Rpc] = &[$(Rpc::$name),*];

            const fn name(self) -> &'static str {
                match self { $(Rpc::$name => stringify!($name)),* }
            }
        }
    };
}

rpcs! {
    QueryRoute, Heartbeat, SendMessage, QueryAssignment, ReceiveMessage, AckMessage,
    ForwardMessageToDeadLetterQueue, PullMessage, UpdateOffset, GetOffset, QueryOffset, EndTransaction,
    Telemetry, NotifyClientTermination, ChangeInvisibleDuration, RecallMessage, SyncLiteSubscription,
}

impl EncodeLabelValue for Rpc {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
        self.name().encode(encoder)
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RpcLabel {
    rpc: Rpc,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RpcCode {
    rpc: Rpc,
    code: &'static str,
}

/// The broker's metrics.
pub struct Metrics {
    registry: Registry,
    calls: Family<RpcCode, Counter>,
    ok: Vec<Counter>,
    latency: Vec<Histogram>,
    /// Messages stored.
    pub messages_in: Counter,
    /// Bytes of their bodies.
    pub bytes_in: Counter,
    /// Messages delivered.
    pub messages_out: Counter,
    /// Bytes of their bodies.
    pub bytes_out: Counter,
    /// Messages that could not be read for a delivery.
    pub unreadable: Counter,
    /// Producers asked how a transaction ended, whose stream lived on.
    pub checks: Counter,
    /// Half messages to ask about of which no producer could be asked.
    pub checks_failed: Counter,
    /// Messages that a SQL filter was evaluated on.
    pub judged: Counter,
    /// Receives that wait for messages.
    pub polls: Gauge,
    /// Telemetry streams.
    pub telemetry_streams: Gauge,
    /// Topics; set before a scrape.
    pub topics: Gauge,
    /// Consumer groups; set before a scrape.
    pub groups: Gauge,
    /// Sends that are recognised when repeated; set before a scrape.
    pub sends_remembered: Gauge,
    /// Sends that fell out of the window of recognition for want of room; set before a scrape.
    pub sends_forgotten: Gauge,
}

impl Metrics {
    /// All metrics at zero, with what the engine tells at each scrape.
    pub fn new(engine: EngineFigures) -> Self {
        let mut registry = Registry::with_prefix("rq");
        let calls = Family::<RpcCode, Counter>::default();
        registry.register("rpc", "Calls of the RocketMQ API by the code of their answer", calls.clone());
        let latency_family = Family::<RpcLabel, Histogram>::new_with_constructor(|| {
            // 100 µs to 3.3 s, doubling.
            Histogram::new(exponential_buckets(0.000_1, 2.0, 16))
        });
        registry.register_with_unit(
            "rpc_latency",
            "Time from a call's arrival to its answer, without waiting receives and streams",
            Unit::Seconds,
            latency_family.clone(),
        );
        let ok = |rpc: &Rpc| calls.get_or_create_owned(&RpcCode { rpc: *rpc, code: Code::Ok.as_str_name() });
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let messages_in = counter("messages_in", "Messages stored");
        let bytes_in = counter("throughput_in_bytes", "Bytes of the bodies of messages stored");
        let messages_out = counter("messages_out", "Messages delivered, redeliveries included");
        let bytes_out = counter("throughput_out_bytes", "Bytes of the bodies of messages delivered");
        let unreadable =
            counter("messages_unreadable", "Deliveries skipped because the message was unreadable");
        let checks = counter("transaction_checks", "Producers asked how a transaction ended");
        let checks_failed =
            counter("transaction_checks_failed", "Transactions of which no producer could be asked in time");
        let judged = counter("messages_judged", "Messages that a SQL filter was evaluated on");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let polls = gauge("receive_polls", "Receives that wait for messages");
        let telemetry_streams = gauge("telemetry_streams", "Open telemetry streams");
        let topics = gauge("topic_number", "Topics, those of dead letters included");
        let groups = gauge("consumer_group_number", "Consumer groups");
        let sends_remembered = gauge("sends_remembered", "Sends that are recognised when repeated");
        let sends_forgotten =
            gauge("sends_forgotten", "Sends no longer recognised before their 5 minutes were over");
        registry.register_collector(Box::new(engine));
        Self {
            ok: Rpc::ALL.iter().map(ok).collect(),
            latency: Rpc::ALL
                .iter()
                .map(|rpc| latency_family.get_or_create_owned(&RpcLabel { rpc: *rpc }))
                .collect(),
            calls,
            registry,
            messages_in,
            bytes_in,
            messages_out,
            bytes_out,
            unreadable,
            checks,
            checks_failed,
            judged,
            polls,
            telemetry_streams,
            topics,
            groups,
            sends_remembered,
            sends_forgotten,
        }
    }

    /// A call was answered with a code.
    pub fn answered(&self, rpc: Rpc, code: i32) {
        if code == Code::Ok as i32
            && let Some(ok) = self.ok.get(rpc as usize)
        {
            ok.inc();
            return;
        }
        let code = Code::try_from(code).unwrap_or(Code::Unspecified).as_str_name();
        self.calls.get_or_create(&RpcCode { rpc, code }).inc();
    }

    /// A call took so long.
    pub fn took(&self, rpc: Rpc, time: Duration) {
        if let Some(latency) = self.latency.get(rpc as usize) {
            latency.observe(time.as_secs_f64());
        }
    }

    /// Everything as text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
