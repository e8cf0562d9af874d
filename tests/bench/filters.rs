//! Filters: consuming by TAG and by SQL, against consuming all, where all messages match. Each has a consumer group of its
//! own, and goes through the same messages as the others.

use anyhow::{Result, ensure};
use rq_proto::reliablequeue::TopicType;
use rq_tests::broker::Broker;
use rq_tests::client::Client;

use crate::filler::Filling;
use crate::findings::{Bar, Finding, Spread, Unit};
use crate::load::Load;
use crate::session::{Session, target};

const TOPIC: &str = "filtered";
const BODY_BYTES: u32 = 100;
const CONSUMERS: u32 = 8;
/// More than consumers take in a second: no window must come to the end of the backlog.
const TAKEN_A_SECOND: u64 = 100_000;
/// Most processor time for a delivered message, as a multiple of that without a filter.
const TAG_BAR: f64 = 1.15;
const SQL_BAR: f64 = 1.4;

/// A way to consume.
struct Way {
    group: &'static str,
    options: &'static [&'static str],
}

/// All that are compared: without a filter first.
const WAYS: [Way; 3] = [
    Way { group: "unfiltered", options: &[] },
    Way { group: "by-tag", options: &["--tag", "paid"] },
    Way { group: "by-sql", options: &["--sql", "amount > 100 AND region IN ('eu', 'us')"] },
];

/// What the messages carry, so that every filter wants them.
const TAG: &str = "paid";
const PROPERTIES: [(&str, &str); 2] = [("amount", "250"), ("region", "eu")];

/// Processor time for a delivered message in one round, for each of [`WAYS`].
type Round = [f64; WAYS.len()];

pub(crate) async fn measure(session: &Session) -> Result<Vec<Finding>> {
    let broker = session.warm_broker("filters").await?;
    fill(session, &broker).await?;
    let mut first = 0;
    let rounds = session.rounds("filters", async || {
        let mut round = Round::default();
        // Each of them begins in turn: whoever does may have to read what the others find in memory.
        for nth in 0..WAYS.len() {
            let way = (first + nth) % WAYS.len();
            round[way] = WAYS[way].consume(session, &broker).await?;
        }
        first += 1;
        Ok(round)
    });
    let rounds = rounds.await?;
    let filtered = |way: usize, name: &str, bar: f64| {
        let of = |way: usize| rounds.iter().map(move |round| round[way]);
        let ratios = rounds.iter().map(|round| round[way] / round[0]);
        Finding::new(
            &format!("{CONSUMERS} consumers, filter by {name}"),
            "processor time for a delivered message, of that without a filter",
            Bar::AtMost(bar, Unit::Times),
            Spread::of(ratios),
        )
        .from("filtered", Unit::Microseconds, of(way))
        .from("unfiltered", Unit::Microseconds, of(0))
    };
    Ok(vec![filtered(1, "TAG", TAG_BAR), filtered(2, "SQL", SQL_BAR)])
}

/// Makes the topic with enough for all rounds, and the groups that go through it.
async fn fill(session: &Session, broker: &Broker) -> Result<()> {
    let client = Client::new(&broker.endpoint(), "bench")?;
    client.create_topic(TOPIC, TopicType::Normal, 0).await?;
    for way in &WAYS {
        client.create_group(way.group, false).await?;
    }
    let rounds = u64::from(session.plan().rounds) + 1;
    let ms = (session.plan().window + Load::default().warmup).as_millis() as u64;
    let messages = rounds * ms * TAKEN_A_SECOND / 1_000;
    let filling = Filling {
        topic: TOPIC,
        messages,
        body_bytes: BODY_BYTES.into(),
        tag: TAG,
        properties: &PROPERTIES,
        ..Filling::default()
    };
    filling.send(&broker.endpoint()).await
}

impl Way {
    async fn consume(&self, session: &Session, broker: &Broker) -> Result<f64> {
        let load = Load {
            topic: TOPIC,
            group: Some(self.group),
            consumers: CONSUMERS,
            options: self.options,
            ..Load::default()
        };
        let report = load.run(session, &target(broker)?).await?;
        let a_second = report.ack.per_second;
        ensure!(a_second < TAKEN_A_SECOND as f64, "{a_second:.0} consumed a second: raise TAKEN_A_SECOND");
        report.cpu_us()
    }
}
