//! Reads every full segment of the log again now and then, and whenever somebody came upon damage in one; a damaged one
//! is replaced by another replica's copy. Runs beside the log thread and never stops it; what cannot be repaired is said
//! and tried again.

pub(crate) mod mend;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use rq_core::ids::Lsn;
use rq_log::{CheckError, LogReader, ReplaceError, SegmentSum, StdDisk};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::mend::NotMended;
use crate::engine::read::Suspect;
use crate::engine::{Engine, ScrubFigures};
use crate::peer::PeerLinks;

/// Bytes a second that the scrub reads.
const SCRUB_RATE: u64 = 16 << 20;
/// Bytes a second that are read when somebody waits for it.
pub(crate) const URGENT_RATE: u64 = 256 << 20;
/// How often at least it is asked whether to go on.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How often at least it is found out whether a segment is due.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// From one attempt at a repair to the next one.
const RETRY_EVERY: Duration = Duration::from_secs(30);
/// Whoever comes upon the same damage so soon after an attempt is told that it is still there.
const RETRY_SOON: Duration = Duration::from_secs(2);

type Checked = (Lsn, Result<SegmentSum, CheckError>);

/// Scrubs the log so that every full segment is read once in `interval`, until `stopping` is cancelled.
pub fn start(
    engine: Engine,
    links: PeerLinks,
    interval: Duration,
    stopping: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let Some(suspects) = engine.show_suspects() else { return };
        let now = Instant::now();
        let scrub = Scrub {
            engine,
            links,
            interval,
            stopping: stopping.clone(),
            last: now,
            cursor: None,
            damaged: BTreeMap::new(),
            retried: now,
            figures: ScrubFigures::default(),
        };
        scrub.run(suspects).await;
    })
}

/// Bounds how fast something is read, and stops it when the log is to be opened anew or the broker stops.
pub(crate) fn paced(
    engine: Engine,
    stopping: CancellationToken,
    bytes_per_second: u64,
) -> impl Fn(u64) -> bool {
    move |bytes| {
        let mut pause = Duration::from_micros(bytes.saturating_mul(1_000_000) / bytes_per_second);
        while engine.reads() && !stopping.is_cancelled() {
            if pause.is_zero() {
                return true;
            }
            let nap = pause.min(ASK_EVERY);
            std::thread::sleep(nap);
            pause -= nap;
        }
        false
    }
}

struct Scrub {
    engine: Engine,
    links: PeerLinks,
    interval: Duration,
    stopping: CancellationToken,
    /// When the last segment was begun.
    last: Instant,
    /// That segment; none before the first one.
    cursor: Option<Lsn>,
    /// Segments that are damaged, and when the last attempt to repair each ended.
    damaged: BTreeMap<Lsn, Option<Instant>>,
    retried: Instant,
    figures: ScrubFigures,
}

impl Scrub {
    async fn run(mut self, mut suspects: mpsc::Receiver<Suspect>) {
        let mut checking: Option<JoinHandle<Checked>> = None;
        let stopping = self.stopping.clone();
        loop {
            let until_due = self.due().saturating_duration_since(Instant::now()).min(LOOK_EVERY);
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                Some(suspect) = suspects.recv() => self.on_suspect(suspect).await,
                checked = finished(&mut checking) => {
                    checking = None;
                    if let Some((base, found)) = checked {
                        self.on_checked(base, found).await;
                    }
                }
                () = tokio::time::sleep_until(self.retried + RETRY_EVERY), if !self.damaged.is_empty() => {
                    self.repair_all().await;
                }
                () = tokio::time::sleep(until_due), if checking.is_none() => checking = self.check_if_due(),
            }
        }
        if let Some(checking) = checking {
            // It ends soon, and with it lets go of the log.
            let _ = checking.await;
        }
    }

    /// When the next segment is to be read: the pass over all takes the whole interval.
    fn due(&self) -> Instant {
        let segments = self.engine.reader().map_or(1, |reader| reader.full_segments().len().max(1));
        self.last + self.interval / u32::try_from(segments).unwrap_or(u32::MAX)
    }

    fn check_if_due(&mut self) -> Option<JoinHandle<Checked>> {
        let now = Instant::now();
        if now < self.due() {
            return None;
        }
        self.last = now;
        let reader = self.engine.reader()?;
        let base = self.next_segment(&reader.full_segments())?;
        self.cursor = Some(base);
        Some(self.check(reader, base, SCRUB_RATE))
    }

    /// The one after the last one that is not known to be damaged. The first one is drawn, for a broker that is often started anew would never come to the
    /// end of a long log.
    fn next_segment(&self, full: &[Lsn]) -> Option<Lsn> {
        let known = |base: &&Lsn| !self.damaged.contains_key(base);
        let full: Vec<_> = full.iter().filter(known).copied().collect();
        let at = match self.cursor {
            None => rand::random_range(0..full.len().max(1)),
            Some(cursor) => full.partition_point(|base| *base <= cursor),
        };
        full.get(at).or_else(|| full.first()).copied()
    }

    fn check(&self, reader: LogReader<StdDisk>, base: Lsn, rate: u64) -> JoinHandle<Checked> {
        let go_on = paced(self.engine.clone(), self.stopping.clone(), rate);
        tokio::task::spawn_blocking(move || (base, reader.check(base, go_on)))
    }

    async fn on_checked(&mut self, base: Lsn, found: Result<SegmentSum, CheckError>) {
        match found {
            Ok(_) => self.figures.segments += 1,
            Err(error) if error.is_damage() => {
                self.figures.segments += 1;
                self.note_damage(base, &error);
                return self.repair_all().await;
            }
            Err(CheckError::NotSealed(_) | CheckError::GivenUp) => {}
            Err(error) => {
                let error: &(dyn Error + 'static) = &error;
                tracing::warn!(base = base.0, error, "a segment could not be read again now");
            }
        }
        self.tell();
    }

    /// Somebody could not read the log.
    async fn on_suspect(&mut self, Suspect { lsn, repaired }: Suspect) {
        let full = self.engine.reader().and_then(|reader| Some((reader.full_segment_of(lsn)?, reader)));
        let Some((base, reader)) = full else {
            tracing::error!(%lsn, "the log cannot be read where it is still being written: this is not repaired");
            let _ = repaired.send(false);
            return;
        };
        let tried = self.damaged.get(&base).copied();
        match tried {
            Some(Some(tried)) if tried.elapsed() < RETRY_SOON => {}
            Some(_) => self.repair_all().await,
            None => {
                if let Ok((base, found)) = self.check(reader, base, URGENT_RATE).await {
                    self.on_checked(base, found).await;
                }
            }
        }
        // Who has given up waiting finds out the next time.
        let _ = repaired.send(!self.damaged.contains_key(&base));
    }

    fn note_damage(&mut self, base: Lsn, error: &(dyn Error + 'static)) {
        if self.damaged.insert(base, None).is_none() {
            self.figures.damaged += 1;
            tracing::error!(
                base = base.0,
                error,
                "a segment of the log is damaged: it is fetched from another replica"
            );
        }
        self.tell();
    }

    /// Tries to repair what is damaged. The newest first: what follows a segment proves which copy of it is right.
    async fn repair_all(&mut self) {
        loop {
            let mut before = None;
            let damaged: Vec<_> = self.damaged.keys().rev().copied().collect();
            for base in damaged {
                let stopping = &self.stopping;
                let go_on = || self.engine.reads() && !stopping.is_cancelled();
                let mended = mend::mend(&self.engine, &self.links, base, go_on).await;
                before = before.or(self.on_mended(base, mended));
            }
            let Some(unreadable) = before else { break };
            let error = ReplaceError::Unproven(unreadable);
            self.note_damage(unreadable, &error);
        }
        self.retried = Instant::now();
        self.tell();
    }

    /// Gives the segment that has to be repaired before, if that is what is missing.
    fn on_mended(&mut self, base: Lsn, mended: Result<(), NotMended>) -> Option<Lsn> {
        match mended {
            Ok(()) => {
                tracing::info!(base = base.0, "a damaged segment was replaced by another replica's copy");
                self.figures.repaired += 1;
                self.damaged.remove(&base);
            }
            Err(NotMended::Replace(ReplaceError::NotSealed(_))) => drop(self.damaged.remove(&base)),
            Err(NotMended::Replace(ReplaceError::Unproven(next))) if self.is_undamaged(next) => {
                return Some(next);
            }
            Err(error) => {
                self.damaged.insert(base, Some(Instant::now()));
                let error: &(dyn Error + 'static) = &error;
                tracing::error!(
                    base = base.0,
                    error,
                    "a damaged segment could not be repaired: its messages are not delivered; this is tried again"
                );
            }
        }
        None
    }

    /// Whether it is a full segment that is not known to be damaged.
    fn is_undamaged(&self, base: Lsn) -> bool {
        let full = self.engine.reader().and_then(|reader| reader.full_segment_of(base));
        full == Some(base) && !self.damaged.contains_key(&base)
    }

    fn tell(&mut self) {
        self.figures.damaged_now = self.damaged.len() as u64;
        self.engine.tell_scrub(self.figures);
    }
}

/// What came of a check, as soon as it has ended; none if it was never begun or the runtime ends.
async fn finished(checking: &mut Option<JoinHandle<Checked>>) -> Option<Checked> {
    match checking {
        Some(checking) => checking.await.ok(),
        None => std::future::pending().await,
    }
}
