//! The way to the config store: one thread that hears what changes, and stores what the replica proposes. It decides
//! nothing; what it cannot reach stays unknown.

mod files;
mod newest;
mod queue_shard;
mod registration;

use std::error::Error;
use std::thread;

use rq_config_files::KeptConfig;
use rq_core::config::{Config, Written};
use rq_core::ids::{Epoch, Session};
use rq_core::replication::Answer;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

pub use self::files::Files;
use self::newest::{Keeper, Newest, NotTaken};
pub use self::queue_shard::Shard;
pub use self::registration::Registration;
use crate::engine::Engine;
use crate::engine::cluster::{ConfigRequest, News};

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

/// Where the configuration of a shard lies. Nothing of it is ever empty by mistake: what cannot be read is an error.
pub trait ConfigStore: Send + 'static {
    /// Why something was not read or written. A write may have happened all the same.
    type Error: Error + 'static;

    /// The newest configuration; none if the shard was never formed.
    fn read(&mut self) -> impl Future<Output = Result<Option<Config>, Self::Error>>;

    /// Makes a configuration the newest if it follows the newest one.
    fn compare_and_set(&mut self, new: &Config) -> impl Future<Output = Result<Written, Self::Error>>;

    /// Waits for the next look at what is there: at once when it changes, where the store can tell, and now and then
    /// otherwise. What it brings may have been overtaken. Nothing is lost when the future is dropped.
    fn look(&mut self) -> impl Future<Output = Result<Option<Config>, Self::Error>>;
}

/// The newest configuration that a replica has kept beside its log.
pub type Kept = watch::Receiver<Option<Config>>;

/// What a replica does for itself whose store is on another machine, and which nobody there writes down as a member.
#[derive(Debug)]
pub struct Own {
    keeper: Keeper,
    registration: Registration,
}

impl Own {
    /// It keeps each configuration before it is acted on, and registers. Others see what it has kept.
    pub fn new(kept: KeptConfig, registration: Registration) -> (Self, Kept) {
        let (keeper, kept) = Keeper::new(kept);
        (Self { keeper, registration }, kept)
    }
}

/// Starts the thread. It ends with the engine, whose requests it takes. Called within a tokio runtime.
pub fn start<S: ConfigStore>(
    store: S,
    own: Option<Own>,
    requests: UnboundedReceiver<ConfigRequest>,
    engine: Engine,
) -> std::io::Result<thread::JoinHandle<()>> {
    let (runtime, watch) = (Handle::current(), Watch::new(store, own, engine));
    // A thread of its own: files block it.
    thread::Builder::new().name("rq-config".to_owned()).spawn(move || runtime.block_on(watch.run(requests)))
}

struct Watch<S> {
    store: S,
    engine: Engine,
    newest: Newest,
    /// None once it is done, and where others see to it.
    registration: Option<Registration>,
    /// It cannot be read, or cannot be written; each said once.
    reads: Reach,
    writes: Reach,
    /// The store is empty although this replica has been a member; said once.
    gone: bool,
    /// What is there was not taken; said once.
    refused: bool,
}

impl<S: ConfigStore> Watch<S> {
    fn new(store: S, own: Option<Own>, engine: Engine) -> Self {
        let (keeper, registration) = own.map(|own| (own.keeper, own.registration)).unzip();
        Self {
            store,
            engine,
            newest: Newest::new(keeper),
            registration,
            reads: Reach::default(),
            writes: Reach::default(),
            gone: false,
            refused: false,
        }
    }

    async fn run(mut self, mut requests: UnboundedReceiver<ConfigRequest>) {
        // The store may be away: a replica that was a member knows its master all the same.
        if let Some(kept) = self.newest.config() {
            tracing::info!(
                version = kept.version,
                epoch = kept.epoch.0,
                "begins with the kept configuration"
            );
            self.engine.tell(News::Config(kept.clone()));
        }
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(ConfigRequest::Read) => self.read().await,
                    Some(ConfigRequest::Propose(id, config)) => {
                        let answer = self.propose(&config).await;
                        self.engine.tell(News::Answered(id, answer));
                    }
                    None => return,
                },
                looked = self.store.look() => self.on_look(looked).await,
            }
        }
    }

    async fn on_look(&mut self, looked: Result<Option<Config>, S::Error>) {
        match looked {
            // Perhaps it was on its way while a newer one was stored.
            Ok(Some(config)) if self.newest.is_overtaken(&config) => self.read().await,
            looked => self.on_read(looked),
        }
        if !self.reads.lost {
            self.register().await;
        }
    }

    async fn read(&mut self) {
        let read = self.store.read().await;
        self.on_read(read);
    }

    /// A configuration that is not there is none that could be told: unknown, never empty.
    fn on_read(&mut self, read: Result<Option<Config>, S::Error>) {
        let Some(read) = self.reads.told(read, "read") else { return };
        self.say_whether_gone(read.is_none());
        if let Some(config) = read {
            self.take(config);
        }
    }

    /// Takes a configuration that the store has, and tells it to the engine. False if it is not to be acted on.
    fn take(&mut self, config: Config) -> bool {
        self.is_taken(&config) && self.engine.tell(News::Config(config))
    }

    /// Whether a configuration of the store is kept, and may be acted on. Says to people if that changes.
    fn is_taken(&mut self, config: &Config) -> bool {
        let taken = self.newest.take(config);
        let refused = std::mem::replace(&mut self.refused, taken.is_err());
        match taken {
            Ok(()) => return true,
            Err(_) if refused => {}
            Err(NotTaken::NotKept(error)) => {
                let error: &(dyn Error + 'static) = &error;
                tracing::error!(
                    error,
                    "the new configuration cannot be kept beside the log: it is not acted on"
                );
            }
            Err(NotTaken::Older { known, found }) => tracing::error!(
                known,
                found,
                "the config store went back to an older configuration: it is not acted on; restore the newest one"
            ),
            Err(NotTaken::Differs { version }) => tracing::error!(
                version,
                "the config store has another configuration of a version that is known: it is not acted on; restore it \
                 as it was"
            ),
        }
        false
    }

    /// Says to people that there is nothing where this replica has been a member: only they can bring it back.
    fn say_whether_gone(&mut self, nothing: bool) {
        let was_member = self.newest.config().is_some() || self.engine.view().borrow().promised > Epoch(0);
        let gone = nothing && was_member;
        match (std::mem::replace(&mut self.gone, gone), gone) {
            (false, true) => tracing::error!(
                "the configuration is gone, and this store has been used: bring back what the config store held; \
                 until then nobody is promoted and the in-sync set stays"
            ),
            (true, false) => tracing::info!("the configuration is back"),
            _ => {}
        }
    }

    async fn propose(&mut self, config: &Config) -> Answer {
        match self.write(config).await {
            Some(Written::Done) if self.is_taken(config) => Answer::Done,
            Some(Written::Conflict(newer)) if self.is_taken(&newer) => Answer::Conflict(newer),
            // Stored or not, it is not known here for certain what is acted on next.
            Some(_) | None => Answer::Unknown,
        }
    }

    async fn write(&mut self, config: &Config) -> Option<Written> {
        let written = self.store.compare_and_set(config).await;
        let written = self.writes.told(written, "written");
        if written == Some(Written::Done) {
            tracing::info!(
                version = config.version,
                epoch = config.epoch.0,
                in_sync = config.in_sync.len(),
                "configuration stored"
            );
        }
        written
    }

    /// Has the members say where this replica is, unless they do.
    async fn register(&mut self) {
        while let (Some(registration), Some(newest)) = (&mut self.registration, self.newest.config()) {
            let Some(config) = registration.change(newest) else {
                if registration.is_done() {
                    self.registration = None;
                }
                return;
            };
            let goes_on = match self.write(&config).await {
                Some(Written::Done) => self.take(config),
                Some(Written::Conflict(newer)) => self.newest.is_news(&newer) && self.take(newer),
                None => false,
            };
            if !goes_on {
                // It is tried again with the next look.
                return;
            }
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
    fn told<T>(&mut self, result: Result<T, impl Error + 'static>, what: &str) -> Option<T> {
        match result {
            Ok(value) => {
                if std::mem::take(&mut self.lost) {
                    tracing::info!("the config store can be {what} again");
                }
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.lost, true) {
                    let error: &(dyn Error + 'static) = &error;
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

#[cfg(test)]
mod tests;
