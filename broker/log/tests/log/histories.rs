//! Random histories on a disk that fails at random moments: what was confirmed stays, in order, and nothing appears that
//! was not written. The seed of a failed history is in the message.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rq_core::ids::{Epoch, LogTime, Lsn};
use rq_log::disk::simulated::SimulatedDisk;
use rq_log::{Log, OpenError, WriteError, open};

use crate::{DIR, Records, options, replay};

/// Histories in a run of the suite; `RQ_HISTORIES` asks for more.
const HISTORIES: u64 = 50;
/// Lives of the process in a history.
const LIVES: usize = 12;
/// Steps of a life at most.
const STEPS: usize = 40;

/// What the log has to keep.
struct History {
    seed: u64,
    random: StdRng,
    disk: SimulatedDisk,
    written: Records,
    /// How many of the records were confirmed as durable.
    confirmed: usize,
    promised: Epoch,
    epoch: Epoch,
    end: Lsn,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            random: StdRng::seed_from_u64(seed),
            disk: SimulatedDisk::new(seed ^ 0x5eed),
            written: Vec::new(),
            confirmed: 0,
            promised: Epoch(0),
            epoch: Epoch(1),
            end: Lsn(0),
        }
    }

    fn play(&mut self) {
        for _ in 0..LIVES {
            // Power may be cut in the middle of recovery, several times.
            while self.random.random_bool(0.3) {
                self.disk.stop_after(self.random.random_range(1..40));
                match self.recover() {
                    Ok(log) => drop(log),
                    Err(OpenError::Disk(_)) => {}
                    Err(error) => panic!("seed {}: {error}", self.seed),
                }
                self.die();
            }
            let log = match self.recover() {
                // A flush that was to fail still does, once.
                Err(OpenError::Disk(_)) => {
                    self.die();
                    self.recover()
                }
                recovered => recovered,
            };
            let log = log.unwrap_or_else(|error| panic!("seed {}: {error:?}", self.seed));
            self.live(log);
        }
    }

    /// Recovers and holds what is found against what was written.
    fn recover(&mut self) -> Result<Log<SimulatedDisk>, OpenError> {
        let mut recovery = open(self.disk.clone(), Path::new(DIR), options())?;
        let seed = self.seed;
        assert!(recovery.promised_epoch() >= self.promised, "seed {seed}: a promise was forgotten");
        let promised = recovery.promised_epoch();
        let in_state = match recovery.checkpoint()? {
            None => 0,
            Some(checkpoint) => {
                let count: usize = std::str::from_utf8(&checkpoint.state).unwrap().parse().unwrap();
                let below = self.written.iter().take_while(|(lsn, _)| *lsn < checkpoint.lsn).count();
                assert_eq!(count, below, "seed {seed}: the checkpoint is of another position");
                count
            }
        };
        let replayed = replay(&mut recovery)?;
        let found = in_state + replayed.len();
        assert!(found >= self.confirmed, "seed {seed}: {found} of {} confirmed records", self.confirmed);
        assert!(found <= self.written.len(), "seed {seed}: records appeared");
        assert!(replayed == self.written[in_state..found], "seed {seed}: other records were found");
        let log = recovery.finish()?;
        // From here on recovery has promised what it found.
        self.written.truncate(found);
        self.confirmed = found;
        self.promised = promised;
        self.end = log.end();
        self.epoch = self.epoch.next();
        Ok(log)
    }

    fn die(&mut self) {
        if self.random.random_bool(0.5) { self.disk.cut_power() } else { self.disk.kill() }
    }

    fn live(&mut self, mut log: Log<SimulatedDisk>) {
        let seed = self.seed;
        if self.random.random_bool(0.5) {
            self.disk.stop_after(self.random.random_range(1..150));
        }
        for _ in 0..self.random.random_range(0..STEPS) {
            match self.step(&mut log) {
                Ok(()) => {}
                Err(WriteError::NoSpace) => self.disk.set_capacity(u64::MAX),
                Err(_) => break,
            }
            self.read_something(&log);
        }
        if self.random.random_bool(0.1) && log.close().is_ok() {
            self.confirmed = self.written.len();
        } else if self.random.random_bool(0.2) {
            // Without a word: the process goes on living in the same machine.
            assert!(self.confirmed <= self.written.len(), "seed {seed}");
        }
        self.disk.set_capacity(u64::MAX);
        self.die();
    }

    fn step(&mut self, log: &mut Log<SimulatedDisk>) -> Result<(), WriteError> {
        match self.random.random_range(0..100) {
            0..55 => self.append(log),
            55..85 => {
                if self.random.random_bool(0.03) {
                    self.disk.fail_next_sync(if self.random.random_bool(0.5) { ".seg" } else { "META" });
                }
                log.sync()?;
                self.confirmed = self.written.len();
                Ok(())
            }
            85..91 => {
                let lsn = log.durable();
                let below = self.written.iter().take_while(|(at, _)| *at < lsn).count();
                log.checkpoints().write(lsn, |file| write!(file, "{below}")).map(drop)
            }
            91..94 => log.drop_below(log.durable()).map(drop),
            94..97 => {
                log.promise(self.epoch)?;
                self.promised = self.promised.max(self.epoch);
                Ok(())
            }
            _ => {
                let space = log.space();
                assert!(space.available_bytes <= space.total_bytes.saturating_add(space.available_bytes));
                self.disk.set_capacity(3 << 20);
                Ok(())
            }
        }
    }

    fn append(&mut self, log: &mut Log<SimulatedDisk>) -> Result<(), WriteError> {
        let mut record = self.record();
        let mut frame = log.begin(self.epoch, LogTime(self.written.len() as u64), record.len())?;
        let mut records = Vec::new();
        for _ in 0..self.random.random_range(1..8) {
            if !frame.fits(record.len()) {
                break;
            }
            records.push((frame.push(&record), record));
            record = self.record();
        }
        // A write that fails may have happened: its records may be found later.
        self.written.extend(records);
        log.append(frame, log.durable()).map(drop)
    }

    /// Mostly short, rarely long enough to fill a good part of a segment.
    fn record(&mut self) -> Vec<u8> {
        let most = [30, 30, 3000, 3000, 300_000][self.random.random_range(0..5)];
        let len = self.random.random_range(0..most);
        let byte = self.random.random();
        vec![byte; len]
    }

    fn read_something(&mut self, log: &Log<SimulatedDisk>) {
        if self.written.is_empty() {
            return;
        }
        let (lsn, record) = &self.written[self.random.random_range(0..self.written.len())];
        if *lsn < log.start() || *lsn >= log.end() {
            return;
        }
        if let Ok(found) = log.reader().read_record(*lsn) {
            assert!(found == record, "seed {}: another record at {lsn}", self.seed);
        }
    }
}

#[test]
fn random_histories_keep_a_prefix_with_everything_confirmed() {
    let count = |name| std::env::var(name).ok().and_then(|count| count.parse::<u64>().ok());
    // `make soak` asks all random tests for more cases by this variable; a history takes longer than most cases.
    let soak = count("PROPTEST_CASES").map(|cases| HISTORIES.max(cases / 10));
    let histories = count("RQ_HISTORIES").or(soak).unwrap_or(HISTORIES);
    for seed in 0..histories {
        History::new(seed).play();
    }
}
