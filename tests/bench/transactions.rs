//! Transactions: what a half message with its commit costs, against a plain send on the same broker.

use anyhow::Result;

use crate::findings::{Bar, Finding, Spread, Unit};
use crate::load::Load;
use crate::senders::Sends;
use crate::session::{Session, target};

const SENDERS: u32 = 64;
/// Most processor time for a committed message, as a multiple of that for a plain one.
const CPU_BAR: f64 = 2.5;
/// Least part of the rate of plain sends.
const RATE_BAR: f64 = 0.35;

pub(crate) async fn measure(session: &Session) -> Result<Vec<Finding>> {
    let name = format!("transactions, {SENDERS} senders");
    let broker = session.warm_broker("transactions").await?;
    let plain = Load { topic: "plain", senders: SENDERS, ..Load::default() };
    let transactional = Load { topic: "transactions", options: &["--transactions"], ..plain.clone() };
    let rounds = session.rounds(&name, async || {
        let committed = Sends::of(&transactional.run(session, &target(&broker)?).await?)?;
        Ok((committed, Sends::of(&plain.run(session, &target(&broker)?).await?)?))
    });
    let rounds = rounds.await?;
    let cpu = Finding::new(
        &name,
        "processor time for a committed message, of that for a plain one",
        Bar::AtMost(CPU_BAR, Unit::Times),
        Spread::of(rounds.iter().map(|(committed, plain)| committed.cpu_us / plain.cpu_us)),
    );
    let rate = Finding::new(
        &name,
        "rate of committed messages, of that of plain ones",
        Bar::AtLeast(RATE_BAR, Unit::Percent),
        Spread::of(rounds.iter().map(|(committed, plain)| committed.per_second / plain.per_second)),
    );
    Ok(vec![
        cpu.from(
            "sent and committed",
            Unit::Microseconds,
            rounds.iter().map(|(committed, _)| committed.cpu_us),
        )
        .from("plain", Unit::Microseconds, rounds.iter().map(|(_, plain)| plain.cpu_us)),
        rate.from("committed", Unit::PerSecond, rounds.iter().map(|(committed, _)| committed.per_second))
            .from("plain", Unit::PerSecond, rounds.iter().map(|(_, plain)| plain.per_second))
            .from(
                "p50 of both calls",
                Unit::Microseconds,
                rounds.iter().map(|(committed, _)| committed.p50_us),
            ),
    ])
}
