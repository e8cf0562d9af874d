//! The way to the config store: one thread that reads what changed, and stores what the replica proposes. It decides
//! nothing; what it cannot reach stays unknown.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rq_config_files::{ConfigFiles, StoreError};
use rq_core::config::{Config, Written};
use rq_core::ids::{Epoch, Session};
use rq_core::replication::Answer;

use crate::engine::Engine;
use crate::engine::cluster::{ConfigRequest, News};

/// How often the store is looked at: a promotion by others is known after this.
const WATCH_EVERY: Duration = Duration::from_millis(20);

/// A number that Linux draws anew whenever the machine boots.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The present session of the stores of this machine: another one once it has booted anew. Where that cannot be told,
/// every process is a session of its own, which is the safe way to be wrong.
pub fn session() -> Session {
    let boot = std::fs::read_to_string(BOOT_ID).ok();
    let digits = boot.and_then(|id| id.trim().replace('-', "").get(..16).map(str::to_owned));
    let number = digits.and_then(|digits| u64::from_str_radix(&digits, 16).ok());
    Session(number.unwrap_or_else(rand::random))
}

/// Starts the thread. It ends with the engine, whose requests it takes.
pub fn start(
    files: ConfigFiles,
    requests: Receiver<ConfigRequest>,
    engine: Engine,
) -> std::io::Result<thread::JoinHandle<()>> {
    let watch =
        Watch { files, engine, seen: None, reads: Reach::default(), writes: Reach::default(), gone: false };
    thread::Builder::new().name("rq-config".to_owned()).spawn(move || watch.run(&requests))
}

struct Watch {
    files: ConfigFiles,
    engine: Engine,
    /// The newest version that was told.
    seen: Option<u64>,
    /// It cannot be read, or cannot be written; each said once.
    reads: Reach,
    writes: Reach,
    /// The store is empty although this replica has been a member; said once.
    gone: bool,
}

impl Watch {
    fn run(mut self, requests: &Receiver<ConfigRequest>) {
        loop {
            match requests.recv_timeout(WATCH_EVERY) {
                Ok(ConfigRequest::Read) => self.read(),
                Ok(ConfigRequest::Propose(id, config)) => {
                    let answer = self.propose(&config);
                    self.engine.tell(News::Answered(id, answer));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if self.changed() {
                        self.read();
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn changed(&mut self) -> bool {
        let newest = self.files.newest();
        let Some(newest) = self.reads.told(newest, "read") else { return false };
        self.say_whether_gone(newest);
        newest.is_some_and(|version| self.seen.is_none_or(|seen| version > seen))
    }

    /// Says to people that there is nothing where this replica has been a member: only they can bring it back.
    fn say_whether_gone(&mut self, newest: Option<u64>) {
        let was_member = self.seen.is_some() || self.engine.view().borrow().promised > Epoch(0);
        let gone = newest.is_none() && was_member;
        match (std::mem::replace(&mut self.gone, gone), gone) {
            (false, true) => tracing::error!(
                "the configuration is gone, and this store has been used: bring back the directory of the config store; \
                 until then nobody is promoted and the in-sync set stays"
            ),
            (true, false) => tracing::info!("the configuration is back"),
            _ => {}
        }
    }

    /// A configuration that is not there is none that could be told: unknown, never empty.
    fn read(&mut self) {
        let read = self.files.read();
        if let Some(config) = self.reads.told(read, "read").flatten() {
            self.seen = Some(config.version);
            self.engine.tell(News::Config(config));
        }
    }

    fn propose(&mut self, config: &Config) -> Answer {
        let written = self.files.compare_and_set(config);
        match self.writes.told(written, "written") {
            Some(Written::Done) => {
                tracing::info!(
                    version = config.version,
                    epoch = config.epoch.0,
                    in_sync = config.in_sync.len(),
                    "configuration stored"
                );
                Answer::Done
            }
            Some(Written::Conflict(newer)) => Answer::Conflict(newer),
            None => Answer::Unknown,
        }
    }
}

/// Whether the store answered the last time.
#[derive(Default)]
struct Reach {
    lost: bool,
}

impl Reach {
    /// What it answered, if it did. Says to people when that changes.
    fn told<T>(&mut self, result: Result<T, StoreError>, what: &str) -> Option<T> {
        match result {
            Ok(value) => {
                if std::mem::take(&mut self.lost) {
                    tracing::info!("the config store can be {what} again");
                }
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.lost, true) {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::warn!(
                        error,
                        "the config store cannot be {what}: whatever is decided there must wait"
                    );
                }
                None
            }
        }
    }
}
