//! A large backlog: sending and consuming on it must cost what they cost on none, and it must fit into little memory.

use std::time::Duration;

use anyhow::Result;
use rq_proto::reliablequeue::TopicType;
use rq_tests::broker::Broker;
use rq_tests::client::Client;

use crate::filler::Filling;
use crate::findings::{Bar, Finding, Spread, Unit};
use crate::load::{Load, Report, Target};
use crate::proc;
use crate::session::{Session, target};

const TOPIC: &str = "backlog";
const BODY_BYTES: u32 = 100;
/// Most processor time for a message, as a multiple of that without backlog.
const CPU_BAR: f64 = 1.15;
/// Most memory that ten million messages may take, in bytes, whatever they wait for.
pub(crate) const MEMORY_BAR: f64 = (1_u64 << 30) as f64;

/// Processor time of a send, and of a delivery with its ack.
#[derive(Clone, Copy)]
struct Cost {
    send_us: f64,
    consume_us: f64,
}

/// A broker with all that it did during the rounds.
struct Measured {
    on: Target,
    before: Duration,
    sent: u64,
    acked: u64,
}

pub(crate) async fn measure(session: &Session) -> Result<Vec<Finding>> {
    let (empty, full) = (session.warm_broker("no-backlog").await?, session.broker("backlog").await?);
    prepare(&empty).await?;
    prepare(&full).await?;
    let filling = Filling {
        topic: TOPIC,
        messages: session.plan().backlog,
        body_bytes: BODY_BYTES.into(),
        ..Filling::default()
    };
    filling.send(&full.endpoint()).await?;
    let filled = proc::memory(full.pid()?)?;
    let (mut on_none, mut on_full) = (Measured::of(&empty)?, Measured::of(&full)?);
    let rounds = session.rounds("backlog", async || {
        // Without a backlog, what was sent is consumed to the last message before the next round.
        let full = on_full.round(session, false).await?;
        Ok((full, on_none.round(session, true).await?))
    });
    let rounds = rounds.await?;
    let memory = proc::memory(full.pid()?)?;
    let messages = session.plan().backlog;
    let name = format!("backlog of {messages} messages");
    let total = |cost: &Cost| cost.send_us + cost.consume_us;
    let cpu = Finding::new(
        &name,
        "processor time to send a message and to consume one, of that without backlog",
        Bar::AtMost(CPU_BAR, Unit::Times),
        Spread::of(rounds.iter().map(|(full, none)| total(full) / total(none))),
    );
    let resident =
        Finding::new(&name, "most memory ever", Bar::AtMost(MEMORY_BAR, Unit::Bytes), one(memory.peak));
    Ok(vec![
        cpu.from("send", Unit::Microseconds, rounds.iter().map(|(full, _)| full.send_us))
            .from("without backlog", Unit::Microseconds, rounds.iter().map(|(_, none)| none.send_us))
            .from("consume", Unit::Microseconds, rounds.iter().map(|(full, _)| full.consume_us))
            .from("without backlog", Unit::Microseconds, rounds.iter().map(|(_, none)| none.consume_us))
            .from("all rounds with checkpoints", Unit::Times, [on_full.cpu_us()? / on_none.cpu_us()?]),
        resident
            .from("after filling", Unit::Bytes, [filled.resident as f64])
            .from("after the rounds", Unit::Bytes, [memory.resident as f64])
            .from("of that in no file", Unit::Bytes, [memory.anonymous as f64]),
    ])
}

async fn prepare(broker: &Broker) -> Result<()> {
    let client = Client::new(&broker.endpoint(), "bench")?;
    client.create_topic(TOPIC, TopicType::Normal, 0).await?;
    client.create_group(TOPIC, false).await
}

fn one(value: u64) -> Spread {
    Spread::of([value as f64])
}

impl Measured {
    fn of(broker: &Broker) -> Result<Self> {
        let on = target(broker)?;
        Ok(Self { before: proc::cpu_of_all(&on.pids)?, on, sent: 0, acked: 0 })
    }

    async fn round(&mut self, session: &Session, drain: bool) -> Result<Cost> {
        let send = Load { topic: TOPIC, senders: 64, body_bytes: BODY_BYTES, ..Load::default() };
        let sends: Report = send.run(session, &self.on).await?;
        let consume = Load { senders: 0, consumers: 8, drain, ..send };
        let acks = consume.run(session, &self.on).await?;
        self.sent += sends.send.ok;
        self.acked += acks.ack.ok;
        Ok(Cost { send_us: sends.cpu_us()?, consume_us: acks.cpu_us()? })
    }

    /// Processor time for a message over all rounds, with all that went on between them.
    fn cpu_us(&self) -> Result<f64> {
        let spent = proc::cpu_of_all(&self.on.pids)?.saturating_sub(self.before);
        Ok(spent.as_secs_f64() * 1e6 / (self.sent + self.acked).max(1) as f64)
    }
}
