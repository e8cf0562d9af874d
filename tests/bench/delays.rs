//! Delayed messages: how long after its time each one comes, at a given number due a second.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::findings::{Bar, Finding, Spread, Unit};
use crate::load::{LateDelivery, Load};
use crate::session::{Session, target};

const SENDERS: u32 = 64;
const CONSUMERS: u32 = 8;
/// Messages due a second.
const RATE: u32 = 1_000;
/// From a send to the time of its message, and so long before the measurement the sends begin.
const DELAY: Duration = Duration::from_secs(2);
const OPTIONS: &[&str] = &["--delay", "2s", "--rate", "1000"];
/// Most lateness that one of a hundred may exceed, in milliseconds.
const BAR_MS: f64 = 100.0;
/// Of the messages that were to be due so many must have been, or the load was another.
const LEAST_DUE: f64 = 0.95;

pub(crate) async fn measure(session: &Session) -> Result<Vec<Finding>> {
    let broker = session.warm_broker("delays").await?;
    let load = Load {
        topic: "delays",
        senders: SENDERS,
        consumers: CONSUMERS,
        options: OPTIONS,
        warmup: DELAY,
        ..Load::default()
    };
    let rounds = session.rounds("delays", async || {
        let late = load.run(session, &target(&broker)?).await?.late_delivery;
        let late = late.context("no delayed message came")?;
        ensure!(late.early == 0, "{} messages came before their time: {late:?}", late.early);
        Ok(late)
    });
    let rounds = rounds.await?;
    let seconds = session.plan().window.as_secs_f64();
    let due = Spread::of(rounds.iter().map(|late| late.messages as f64 / seconds));
    let ms = |of: fn(&LateDelivery) -> f64| rounds.iter().map(move |late| of(late) / 1000.0);
    let finding = Finding::new(
        &format!("delayed messages, {RATE} due a second"),
        "p99 from its time to its receipt",
        Bar::AtMost(BAR_MS, Unit::Milliseconds),
        Spread::of(ms(|late| late.after_us.p99)),
    );
    let finding = finding
        .from("p50", Unit::Milliseconds, ms(|late| late.after_us.p50))
        .from("latest", Unit::Milliseconds, ms(|late| late.after_us.max))
        .from("due", Unit::PerSecond, due.rounds.iter().copied());
    if due.min < LEAST_DUE * f64::from(RATE) {
        return Ok(vec![finding.void(format!("only {:.0} a second were due in one round", due.min))]);
    }
    Ok(vec![finding])
}
