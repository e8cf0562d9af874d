//! Senders and consumers at once, against senders alone: what delivery and acks leave of the rate.

use anyhow::Result;

use crate::findings::{Bar, Finding, Spread, Unit};
use crate::load::Load;
use crate::session::{Session, target};

const SENDERS: u32 = 64;
const CONSUMERS: u32 = 8;
/// Least part of the rate of senders alone.
const RATE_BAR: f64 = 0.3;

struct Round {
    alone: f64,
    sent: f64,
    acked: f64,
}

pub(crate) async fn measure(session: &Session) -> Result<Vec<Finding>> {
    let broker = session.warm_broker("end-to-end").await?;
    let alone = Load { topic: "alone", senders: SENDERS, ..Load::default() };
    // Drained, so that each round begins without a backlog.
    let both =
        Load { topic: "end-to-end", senders: SENDERS, consumers: CONSUMERS, drain: true, ..Load::default() };
    let rounds = session.rounds("end to end", async || {
        let alone = alone.run(session, &target(&broker)?).await?.send.per_second;
        let both = both.run(session, &target(&broker)?).await?;
        Ok(Round { alone, sent: both.send.per_second, acked: both.ack.per_second })
    });
    let rounds = rounds.await?;
    // The smaller of the two is what lasts.
    let finding = Finding::new(
        "64 senders, 8 consumers",
        "messages sent, delivered and acked, of the rate of senders alone",
        Bar::AtLeast(RATE_BAR, Unit::Percent),
        Spread::of(rounds.iter().map(|round| round.sent.min(round.acked) / round.alone)),
    );
    Ok(vec![
        finding
            .from("acked", Unit::PerSecond, rounds.iter().map(|round| round.acked))
            .from("sent meanwhile", Unit::PerSecond, rounds.iter().map(|round| round.sent))
            .from("senders alone", Unit::PerSecond, rounds.iter().map(|round| round.alone)),
    ])
}
