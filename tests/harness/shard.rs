//! Two real brokers as two pods of a shard: each in a network namespace and on a disk of its own, each with its own way to
//! one config store. Whatever can happen to a machine can be done to them. Nobody promotes them but they themselves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rq_config_files::ConfigFiles;
use rq_core::config::Config;
use rq_core::ids::StoreId;
use rq_proto::reliablequeue::ReplicaStatus;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::broker::{binary, forget_settings};
use crate::cluster::compare_copies;
use crate::disk::LoopDisk;
use crate::front::{self, Backends};
use crate::network::Network;
use crate::overseer::{Seen, oversee};
use crate::pod::Pod;

/// Names of the replicas.
const NAMES: [&str; 2] = ["r0", "r1"];
/// Of each replica, and of the one address for clients.
const PORT: u16 = 8081;
/// Of each replica.
const HTTP_PORT: u16 = 8082;
/// Until the shard is as a test wants it. Generous: the machine may be busy.
const DEADLINE: Duration = Duration::from_mins(1);
/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(20);
/// Lines of each log shown when a test fails.
const LOG_LINES: usize = 60;

/// A shard of two.
#[derive(Debug)]
pub struct Shard {
    // In the order in which they must end: processes before disks, disks before the network.
    pods: Vec<Pod>,
    tasks: Vec<JoinHandle<()>>,
    disks: Vec<LoopDisk>,
    network: Network,
    config: ConfigFiles,
    seen: watch::Receiver<Vec<Seen>>,
    home: TempDir,
    content: bool,
}

/// What the config store says, in the names of replicas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Number of the mastership.
    pub epoch: u32,
    /// Who has it.
    pub master: usize,
    /// Who is in sync.
    pub in_sync: Vec<usize>,
}

impl View {
    /// The replica that is not the master.
    #[must_use]
    pub fn slave(&self) -> usize {
        1 - self.master
    }
}

impl Shard {
    /// Makes disks of `mebibytes` in this network and starts brokers with further settings: names of environment
    /// variables, with values. Returns when both copies are in sync. To be called in the clients' namespace.
    pub async fn start(network: Network, mebibytes: u64, settings: &[(&str, &str)]) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("rq-shard-").tempdir().context("make a directory")?;
        let config = ConfigFiles::make(&home.path().join("config"))?;
        let disks: Vec<LoopDisk> = NAMES.iter().map(|_| LoopDisk::new(mebibytes)).collect::<Result<_>>()?;
        let listener = TcpListener::bind(network.clients().port(PORT)).await.context("listen for clients")?;
        let replicas = (0..).zip(NAMES).map(|(nth, name)| Seen::new(name, network.replica(nth).port(PORT)));
        let replicas: Vec<Seen> = replicas.collect::<Result<_>>()?;
        let (tell_seen, seen) = watch::channel(replicas.clone());
        let (tell_backends, backends) = watch::channel(Backends::default());
        let tasks = vec![
            tokio::spawn(front::serve(listener, backends)),
            tokio::spawn(oversee(config.clone(), replicas, tell_backends, tell_seen)),
        ];
        let mut shard = Self { pods: Vec::new(), tasks, disks, network, config, seen, home, content: false };
        for nth in 0..NAMES.len() {
            let pod = shard.pod(nth, settings)?;
            shard.pods.push(pod);
        }
        shard.whole().await?;
        Ok(shard)
    }

    fn pod(&self, nth: usize, settings: &[(&str, &str)]) -> Result<Pod> {
        let name = NAMES[nth];
        self.reach_config_store(nth, true)?;
        let place = self.network.replica(nth);
        let mut command = place.command(binary()?);
        command.arg("--data").arg(self.data(nth)).arg("--config-store").arg(self.way_to_config(nth));
        command.args(["--listen", &place.port(PORT).to_string()]);
        command.args(["--http", &place.port(HTTP_PORT).to_string(), "--name", name]);
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let settings: Vec<(String, String)> = settings.iter().map(owned).collect();
        let launch = move || {
            let mut command = std::process::Command::new(&program);
            forget_settings(&mut command);
            command.args(&arguments).envs(settings.iter().cloned());
            command
        };
        Ok(Pod::run(launch, &self.home.path().join(format!("{name}.log"))))
    }

    /// The one address that keeps working, as a URI.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `HOST:PORT` for the command line of clients.
    #[must_use]
    pub fn address(&self) -> String {
        self.network.clients().port(PORT).to_string()
    }

    /// Where this replica alone is reached, as a URI.
    #[must_use]
    pub fn endpoint_of(&self, nth: usize) -> String {
        format!("http://{}", self.network.replica(nth).port(PORT))
    }

    /// The network between replicas and clients.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The pod of a replica.
    #[must_use]
    pub fn replica(&self, nth: usize) -> &Pod {
        &self.pods[nth]
    }

    /// The disk of a replica.
    #[must_use]
    pub fn disk(&self, nth: usize) -> &LoopDisk {
        &self.disks[nth]
    }

    /// The data directory of a replica.
    #[must_use]
    pub fn data(&self, nth: usize) -> PathBuf {
        self.disks[nth].path().join("data")
    }

    /// Where the config store has its versions.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.home.path().join("config")
    }

    /// What a replica says of itself at this moment, as far as the overseer can ask it.
    #[must_use]
    pub fn status(&self, nth: usize) -> Option<ReplicaStatus> {
        self.seen.borrow()[nth].status.clone()
    }

    /// The directory by which a replica finds the config store: a link of its own.
    fn way_to_config(&self, nth: usize) -> PathBuf {
        self.home.path().join(format!("config-of-{}", NAMES[nth]))
    }

    /// Lets a replica reach the config store, or not: then its reads and writes fail, and nothing looks empty.
    pub fn reach_config_store(&self, nth: usize, reach: bool) -> Result<()> {
        let way = self.way_to_config(nth);
        // A link to itself is an error that no file system mistakes for "not found".
        let target = if reach { self.config_dir() } else { way.clone() };
        let draft = way.with_extension("new");
        std::os::unix::fs::symlink(target, &draft).context("link the config store")?;
        std::fs::rename(&draft, &way).context("switch the way to the config store")
    }

    /// What the config store says.
    pub fn view(&self) -> Result<View> {
        let config = self.config()?.context("the config store has no configuration")?;
        let number = |store: &StoreId| {
            let name = &config.members.get(store).context("a store that is no member")?.name;
            NAMES.iter().position(|known| known == name).context("a member with another name")
        };
        Ok(View {
            epoch: config.epoch.0,
            master: number(&config.master)?,
            in_sync: config.in_sync.keys().map(number).collect::<Result<_>>()?,
        })
    }

    /// The newest configuration; none if there is none.
    pub fn config(&self) -> Result<Option<Config>> {
        self.config.read().context("read the config store")
    }

    /// Waits until the config store says what `condition` wants.
    pub async fn wait(&self, what: &str, condition: impl Fn(&View) -> bool) -> Result<View> {
        let begin = Instant::now();
        loop {
            // There is none before the first one.
            let view = self.view().ok();
            if let Some(view) = view.as_ref().filter(|view| condition(view)) {
                return Ok(view.clone());
            }
            ensure!(begin.elapsed() < DEADLINE, "no {what} within {DEADLINE:?}: {view:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until both copies are in sync, and as far as each other.
    pub async fn whole(&self) -> Result<View> {
        let begin = Instant::now();
        loop {
            let view = self.wait("two copies in sync", |view| view.in_sync.len() == 2).await?;
            let ends = |nth| self.status(nth).map(|status| (status.durable_lsn, status.log_epoch));
            let serves = self.status(view.master).is_some_and(|status| status.serving);
            if serves && ends(0) == ends(1) && ends(0).is_some_and(|(lsn, _)| lsn > 0) {
                return Ok(view);
            }
            ensure!(begin.elapsed() < DEADLINE, "not whole within {DEADLINE:?}: {:#?}", self.seen.borrow());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until a replica's log has `words` after its first `from` bytes.
    pub async fn logs(&self, nth: usize, from: usize, words: &str) -> Result<()> {
        let begin = Instant::now();
        while !self.pods[nth].log()?.get(from..).is_some_and(|log| log.contains(words)) {
            ensure!(begin.elapsed() < DEADLINE, "{} did not log {words:?} within {DEADLINE:?}", NAMES[nth]);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Stops it, slave first, and compares what both copies hold, frame by frame, as far as both hold it. No broker may
    /// have ended by itself, unless its pod was told that it may.
    pub async fn finish(mut self) -> Result<()> {
        let view = self.whole().await?;
        self.pods[view.slave()].stop().await?;
        self.pods[view.master].stop().await?;
        for (pod, name) in self.pods.iter().zip(NAMES) {
            ensure!(pod.failures().is_empty(), "{name} ended by itself: {:?}", pod.failures());
        }
        compare_copies(&self.data(0), &self.data(1))?;
        self.content = true;
        Ok(())
    }

    fn show_logs(&self) {
        for (pod, name) in self.pods.iter().zip(NAMES) {
            let log = pod.log().unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("---- end of the log of {name}");
            lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).for_each(|line| eprintln!("{line}"));
        }
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if !self.content {
            self.show_logs();
        }
    }
}

/// Removes everything that a replica has stored: it comes back on a new disk.
pub fn wipe(data: &Path) -> Result<()> {
    std::fs::remove_dir_all(data).context("wipe a data directory")
}
