//! Many waiting senders, against a server on the same libraries that answers OK and stores nothing: what storing costs.

use anyhow::Result;

use crate::findings::{Bar, Finding, Spread, Unit};
use crate::load::{Load, Report};
use crate::session::{Session, target};

/// Least part of the rate of the server that stores nothing.
const RATE_BAR: f64 = 0.6;
/// Most processor time for a message, as a multiple of what the server that stores nothing takes.
const CPU_BAR: f64 = 1.6;

pub(crate) async fn measure(session: &Session, senders: u32) -> Result<Vec<Finding>> {
    let name = format!("{senders} senders");
    let (broker, null) = (session.warm_broker(&format!("senders-{senders}")).await?, session.null()?);
    let load = Load { senders, ..Load::default() };
    let rounds = session.rounds(&name, async || {
        let stored = Sends::of(&load.run(session, &target(&broker)?).await?)?;
        Ok((stored, Sends::of(&load.run(session, &null.target()).await?)?))
    });
    let rounds = rounds.await?;
    let rate = Finding::new(
        &name,
        "rate, of a server that stores nothing",
        Bar::AtLeast(RATE_BAR, Unit::Percent),
        Spread::of(rounds.iter().map(|(stored, null)| stored.per_second / null.per_second)),
    );
    let cpu = Finding::new(
        &name,
        "processor time for an acknowledged message, of a server that stores nothing",
        Bar::AtMost(CPU_BAR, Unit::Times),
        Spread::of(rounds.iter().map(|(stored, null)| stored.cpu_us / null.cpu_us)),
    );
    Ok(vec![
        rate.from("broker", Unit::PerSecond, rounds.iter().map(|(stored, _)| stored.per_second))
            .from("nothing stored", Unit::PerSecond, rounds.iter().map(|(_, null)| null.per_second))
            .from("p50", Unit::Microseconds, rounds.iter().map(|(stored, _)| stored.p50_us)),
        cpu.from("broker", Unit::Microseconds, rounds.iter().map(|(stored, _)| stored.cpu_us))
            .from("nothing stored", Unit::Microseconds, rounds.iter().map(|(_, null)| null.cpu_us))
            .from("load generator", Unit::Microseconds, rounds.iter().map(|(stored, _)| stored.driver_us)),
    ])
}

/// What senders saw, and what it cost.
pub(crate) struct Sends {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) cpu_us: f64,
    driver_us: f64,
}

impl Sends {
    pub(crate) fn of(report: &Report) -> Result<Self> {
        Ok(Self {
            per_second: report.send.per_second,
            p50_us: report.send.p50_us(),
            cpu_us: report.cpu_us()?,
            driver_us: report.driver_cpu_us_per_message.unwrap_or(f64::NAN),
        })
    }
}
