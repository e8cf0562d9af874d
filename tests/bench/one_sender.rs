//! One sender that waits for each acknowledgement: nothing is batched, so its latency is the disk's plus the call's.

use anyhow::Result;

use crate::disk::PreparedFile;
use crate::findings::{Bar, Finding, Spread, Unit};
use crate::load::Load;
use crate::session::{Session, target};

/// How much slower than the bare disk the flushed write may be.
const DISK_FACTOR: f64 = 1.5;

/// Medians of one round, in microseconds.
struct Round {
    disk: f64,
    empty: f64,
    send: f64,
}

pub(crate) async fn measure(session: &Session) -> Result<Vec<Finding>> {
    let (broker, null) = (session.warm_broker("one-sender").await?, session.null()?);
    let mut file = PreparedFile::make(session.disk())?;
    let rounds = session.rounds("one sender", async || {
        let one = Load { senders: 1, ..Load::default() };
        let before = file.flushed_write_us(session.plan().window / 2)?;
        let send = one.run(session, &target(&broker)?).await?.send.p50_us();
        let after = file.flushed_write_us(session.plan().window / 2)?;
        // The disk has a fast and a slow mode that last for seconds; the bar is made from the faster.
        let disk = before.min(after);
        let empty = Load { call: "empty", ..one };
        let empty = empty.run(session, &null.target()).await?.send.p50_us();
        Ok(Round { disk, empty, send })
    });
    let rounds = rounds.await?;
    let ratio = |round: &Round| round.send / (DISK_FACTOR * round.disk + round.empty);
    let mut finding = Finding::new(
        "one sender",
        "p50 of a send ÷ (1.5 × p50 of a flushed 4 KiB write + p50 of an empty call)",
        Bar::AtMost(1.0, Unit::Times),
        Spread::of(rounds.iter().map(ratio)),
    );
    // A send contains a flushed write, so it cannot be faster: the two saw different disks or another scheduler.
    let absurd = rounds.iter().filter(|round| round.send < round.disk).count();
    if absurd > 0 {
        finding = finding
            .void(format!("in {absurd} rounds the bare write was slower than a send that contains one"));
    }
    Ok(vec![
        finding
            .from("send", Unit::Microseconds, rounds.iter().map(|round| round.send))
            .from("flushed write", Unit::Microseconds, rounds.iter().map(|round| round.disk))
            .from("empty call", Unit::Microseconds, rounds.iter().map(|round| round.empty)),
    ])
}
