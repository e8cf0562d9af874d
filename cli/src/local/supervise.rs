//! The supervisor: keeps the brokers running, writes what [`rq_overseer`] says into the configuration, and
//! tells the front where to go. Takes one event after another, so that no decision is made from half of what is known.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::time::{Duration, Instant};

use rq_config_files::{ConfigFiles, StoreError};
use rq_core::config::{self, Change, Config, Written};
use rq_core::failover::{DETECT_TIMEOUT_MS, Decision};
use rq_core::ids::StoreId;
use rq_overseer::{self as overseer, First, Seen, Told};
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Cluster;
use super::backends::{self, Backends};
use super::broker::{self, Event, Launch, What};
use super::describe::Replica;
use super::failure::LocalError;
use super::front;
use super::layout::{ClusterFile, Layout, ReplicaFile};
use super::process::Process;
use super::trouble::Trouble;
use crate::failure::Failure;
use crate::output;

/// A supervisor that ends gives its lock back a moment later than its process is seen to end.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Brokers have so long to end in order; then they are killed.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// Slaves have so long before the master is told to end as well.
const SLAVES_FIRST: Duration = Duration::from_secs(1);
/// And so long to be gone after that.
const KILL_PATIENCE: Duration = Duration::from_secs(5);
/// How often a stop looks around.
const STOP_POLL: Duration = Duration::from_millis(20);
/// Events that wait to be taken.
const EVENTS: usize = 64;
/// Changes of the configuration for one event; more wait for the next one.
const CHANGES_MAX: usize = 32;

/// The supervisor as a process of its own, in a session of its own: what `up` leaves behind.
pub(super) async fn detached(cluster: Cluster) -> Result<(), Failure> {
    // Fails only for a process that leads a group already: nothing is left to leave then.
    let _ = rustix::process::setsid();
    let stop = told_to_stop()?;
    Ok(run(&cluster, stop).await?)
}

/// Completes on SIGTERM or Ctrl-C. Further ones are ignored: a stop ends by itself, by force if need be.
pub(super) fn told_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(Failure::Runtime);
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Runs the cluster until `stop` completes, and stops it.
pub(super) async fn run(cluster: &Cluster, stop: impl Future<Output = ()>) -> Result<(), LocalError> {
    let layout = Layout::made(&cluster.directory)?;
    let _lock = lock(&layout).await?;
    let before = layout.read()?;
    let mut file = ClusterFile::planned(before.as_ref(), cluster)?;
    let launch = Launch {
        program: broker::program(file.broker.as_deref())?,
        auto_create: file.auto_create,
        allow_unsafe_filesystem: file.allow_unsafe_filesystem,
    };
    end_leftovers(before.as_ref()).await?;
    // Made once: a directory that was lost must not come back empty.
    let files = if before.is_some() {
        ConfigFiles::at(&layout.config())
    } else {
        ConfigFiles::make(&layout.config())?
    };
    let endpoint = file.endpoint();
    let listener = TcpListener::bind(&endpoint).await;
    let listener = listener.map_err(|source| LocalError::Listen { endpoint, source })?;
    file.supervisor = Process::of(std::process::id());
    layout.write(&file)?;

    let (tell, backends) = watch::channel(Backends::default());
    let front = tokio::spawn(front::serve(listener, backends));
    let mut supervisor = Supervisor::start(layout, file, files, &launch, tell);
    tokio::select! {
        () = supervisor.watch() => {}
        () = stop => {}
    }
    let stopped = supervisor.stop().await;
    front.abort();
    stopped
}

async fn lock(layout: &Layout) -> Result<File, LocalError> {
    let path = layout.lock();
    let failed = |source| LocalError::File { doing: "lock", path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
            Err(std::fs::TryLockError::WouldBlock) if since.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(LocalError::Supervised(layout.dir().to_owned()));
            }
        }
    }
}

/// Ends brokers whose supervisor was killed: this one starts its own.
pub(super) async fn end_leftovers(file: Option<&ClusterFile>) -> Result<(), LocalError> {
    let replicas = file.into_iter().flat_map(|file| &file.replicas);
    let left: Vec<Process> = replicas.filter_map(|replica| replica.process).collect();
    for process in &left {
        process.end_with_all()?;
    }
    let deadline = Instant::now() + STOP_PATIENCE;
    for process in left {
        if !process.gone_by(deadline).await {
            process.signal(Signal::KILL)?;
            process.gone_by(Instant::now() + KILL_PATIENCE).await;
        }
    }
    Ok(())
}

/// Says what the supervisor did, with the time.
fn say(text: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Where nobody can be told, the work goes on.
    let _ = writeln!(std::io::stderr(), "{} {text}", output::time(now.as_millis() as i64));
}

/// What came of a look at the configuration.
struct Looked {
    /// As last read.
    config: Option<Config>,
    /// What was done, and what others did.
    news: Vec<String>,
    trouble: Option<Trouble>,
}

struct Supervisor {
    layout: Layout,
    files: ConfigFiles,
    file: ClusterFile,
    began: Instant,
    seen: Vec<Seen>,
    /// As last read.
    config: Option<Config>,
    events: mpsc::Receiver<Event>,
    stopping: watch::Sender<bool>,
    /// One task for each broker; it ends when the broker has ended and is not to be started again.
    brokers: JoinSet<()>,
    backends: watch::Sender<Backends>,
}

impl Supervisor {
    fn start(
        layout: Layout,
        file: ClusterFile,
        files: ConfigFiles,
        launch: &Launch,
        backends: watch::Sender<Backends>,
    ) -> Self {
        let (tell, events) = mpsc::channel(EVENTS);
        let (stopping, stop) = watch::channel(false);
        let mut brokers = JoinSet::new();
        for (number, replica) in file.replicas.iter().enumerate() {
            let (tell, layout) = (tell.clone(), layout.clone());
            match Replica::at(&replica.name, &replica.address()) {
                Ok(client) => drop(tokio::spawn(broker::ask(number, client, tell.clone()))),
                Err(error) => say(&format!("{} cannot be asked: {error}", replica.name)),
            }
            let keep = broker::keep(number, replica.clone(), launch.clone(), layout, tell, stop.clone());
            brokers.spawn(keep);
        }
        let seen = file.replicas.iter().map(|replica| Seen::new(replica.name.clone(), replica.address()));
        let (seen, began) = (seen.collect(), Instant::now());
        Self { layout, files, file, began, seen, config: None, events, stopping, brokers, backends }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Takes what happens, and acts on it.
    async fn watch(&mut self) {
        while let Some(event) = self.events.recv().await {
            self.take(event);
            self.act().await;
        }
    }

    fn take(&mut self, Event { replica, what }: Event) {
        let now = self.now();
        let (seen, file) = (&mut self.seen[replica], &mut self.file.replicas[replica]);
        match what {
            What::Started(process) => {
                say(&format!("{} started, process {}", seen.name, process.pid));
                *seen = Seen { running: true, silent_since: Some(now), told: None, ..seen.clone() };
                file.process = Some(process);
                self.record();
            }
            What::Ended(how) => {
                say(&format!("{} ended: {how}", seen.name));
                *seen = Seen { running: false, silent_since: None, told: None, ..seen.clone() };
                file.process = None;
                file.ended += 1;
                file.how = Some(how);
                self.record();
            }
            What::Answered(status) if seen.running => {
                seen.told = Told::read(&status, now);
                seen.silent_since = None;
            }
            What::Silent(asked) if seen.running => {
                let asked = asked.saturating_duration_since(self.began).as_millis() as u64;
                seen.silent_since.get_or_insert(asked);
            }
            // Of a process that has ended meanwhile.
            What::Answered(_) | What::Silent(_) => {}
        }
    }

    /// Writes down what runs. A disk that is full must not end the supervisor.
    fn record(&self) {
        if let Err(error) = self.layout.write(&self.file) {
            say(&error.to_string());
        }
    }

    async fn act(&mut self) {
        // Who has not been started yet is not dead.
        if self.file.replicas.iter().any(|replica| replica.process.is_none() && replica.ended == 0) {
            return;
        }
        let (files, seen, now) = (self.files.clone(), self.seen.clone(), self.now());
        let config = self.config.clone();
        // It waits for the disk, and connections must not.
        let looked = tokio::task::spawn_blocking(move || look(&files, &seen, now, config)).await;
        let Ok(Looked { config, news, trouble }) = looked else { return };
        for news in news {
            say(&news);
        }
        self.config = config;
        let backends = backends::backends(&self.seen, now);
        self.backends.send_if_modified(|told| {
            let changed = *told != backends;
            *told = backends;
            changed
        });
        let trouble = trouble.map(|trouble| trouble.to_string());
        if trouble != self.file.trouble {
            say(trouble.as_deref().unwrap_or("the trouble is over"));
            self.file.trouble = trouble;
            self.record();
        }
    }

    /// Ends all brokers: slaves first, so that none of them takes over from a master that only stops.
    async fn stop(mut self) -> Result<(), LocalError> {
        say("stopping");
        self.stopping.send_replace(true);
        let since = Instant::now();
        let mut told = Vec::new();
        while !self.brokers.is_empty() {
            for process in self.to_end(since.elapsed()) {
                if since.elapsed() >= STOP_PATIENCE {
                    process.signal(Signal::KILL)?;
                } else if !told.contains(&process) {
                    process.end_with_all()?;
                    told.push(process);
                }
            }
            if let Ok(Some(event)) = tokio::time::timeout(STOP_POLL, self.events.recv()).await {
                self.take(event);
            }
            while self.brokers.try_join_next().is_some() {}
            if since.elapsed() >= STOP_PATIENCE + KILL_PATIENCE {
                return Err(self.unstoppable());
            }
        }
        self.file.supervisor = None;
        self.file.trouble = None;
        self.layout.write(&self.file)?;
        say("stopped");
        Ok(())
    }

    /// Who is to end by now: the master once no slave runs, or when they take too long.
    fn to_end(&self, elapsed: Duration) -> Vec<Process> {
        let master = self.config.as_ref().and_then(|config| config.members.get(&config.master));
        let is_master = |replica: &ReplicaFile| master.is_some_and(|master| master.name == replica.name);
        let running = || self.file.replicas.iter().filter_map(|replica| Some((replica, replica.process?)));
        let all = elapsed >= SLAVES_FIRST || running().all(|(replica, _)| is_master(replica));
        running().filter(|(replica, _)| all || !is_master(replica)).map(|(_, process)| process).collect()
    }

    fn unstoppable(&self) -> LocalError {
        let running = self.file.replicas.iter().find_map(|replica| Some((replica, replica.process?.pid)));
        let (what, pid) =
            running.map_or(("a broker".to_owned(), 0), |(replica, pid)| (replica.name.clone(), pid));
        LocalError::DoesNotEnd {
            what,
            pid,
            waited: humantime::format_duration(STOP_PATIENCE + KILL_PATIENCE).to_string(),
        }
    }
}

/// Reads the configuration, and changes it until all is as it should be.
fn look(files: &ConfigFiles, seen: &[Seen], now: u64, known: Option<Config>) -> Looked {
    let mut looked = Looked { config: known, news: Vec::new(), trouble: None };
    for _ in 0..CHANGES_MAX {
        match change(files, seen, now, &mut looked) {
            Ok(true) => {}
            Ok(false) => break,
            Err(trouble) => {
                looked.trouble = Some(trouble);
                break;
            }
        }
    }
    looked
}

/// Makes one change, if there is one to make. True: look again.
fn change(files: &ConfigFiles, seen: &[Seen], now: u64, looked: &mut Looked) -> Result<bool, Trouble> {
    let store = |error: StoreError| match error {
        StoreError::Io { path, source, .. } if source.kind() == ErrorKind::NotFound => {
            Trouble::ConfigGone(path)
        }
        error => Trouble::Store(error.to_string()),
    };
    let (new, did) = match files.read().map_err(store)? {
        None => match overseer::first(seen, overseer::min_in_sync(seen.len()))? {
            First::Wait => return Ok(false),
            First::Form(config) => {
                let did = format!("cluster formed, {} is master", called(&config, config.master));
                (config, Some(did))
            }
        },
        Some(config) => {
            let before = looked.config.replace(config.clone());
            looked.news.extend(before.and_then(|before| promoted(&before, &config)));
            overseer::is_newest(&config, seen)?;
            match next(&config, seen, now)? {
                Some(change) => {
                    let new = config::next(&config, &change);
                    let new = new.map_err(|illegal| Trouble::Store(illegal.to_string()))?;
                    let did = told(&config, &change);
                    (new, did)
                }
                None => return Ok(false),
            }
        }
    };
    if files.compare_and_set(&new).map_err(store)? == Written::Done {
        looked.news.extend(did);
    }
    Ok(true)
}

/// The next change, if any: a new master before all else.
fn next(config: &Config, seen: &[Seen], now: u64) -> Result<Option<Change>, Trouble> {
    let promotion = overseer::promotion(config, seen, DETECT_TIMEOUT_MS, now);
    if let Decision::Promote { to, session, keep } = promotion {
        return Ok(Some(Change::Promote { to, session, keep }));
    }
    if let Some(change) = overseer::membership(config, seen) {
        return Ok(Some(change));
    }
    match promotion {
        Decision::Stalled(stalled) => Err(overseer::Trouble::Stalled(stalled).into()),
        _ => Ok(None),
    }
}

/// What the supervisor did, in words. A promotion is told when it is read, like those by others.
fn told(old: &Config, change: &Change) -> Option<String> {
    match change {
        Change::Promote { .. } => None,
        Change::Register { store, member } => {
            Some(format!("{} registered at {}, store {store}", member.name, member.address))
        }
        Change::Remove { store } => {
            Some(format!("store {store} of {} removed: its disk was lost", called(old, *store)))
        }
        other => Some(format!("{other:?}")),
    }
}

/// The promotion between two readings of the configuration, in words; none if the mastership is the same.
fn promoted(old: &Config, new: &Config) -> Option<String> {
    if old.epoch == new.epoch {
        return None;
    }
    let (master, before) = (called(new, new.master), called(old, old.master));
    let who = if old.master == new.master {
        format!("{master} is master again")
    } else if new.in_sync.contains_key(&old.master) {
        format!("{master} promoted in place of {before}, which handed over")
    } else {
        format!("{master} promoted in place of {before}")
    };
    let loss = if new.unclean == Some(new.epoch) { ", DATA LOSS ACCEPTED" } else { "" };
    let unseen = match new.epoch.0.saturating_sub(old.epoch.0 + 1) {
        0 => String::new(),
        unseen => format!(" ({unseen} before it too short to be seen)"),
    };
    Some(format!("{who}{loss}, epoch {}{unseen}, {} in sync", new.epoch, new.in_sync.len()))
}

/// What people call a store.
fn called(config: &Config, store: StoreId) -> String {
    config.members.get(&store).map_or_else(|| store.to_string(), |member| member.name.clone())
}

#[cfg(test)]
mod tests {
    use rq_core::config::Member;
    use rq_core::ids::{Epoch, Session};

    use super::*;

    const A: StoreId = StoreId(0xA);
    const B: StoreId = StoreId(0xB);
    const S: Session = Session(1);

    /// r0 is master, r1 in sync.
    fn pair() -> Config {
        let member = |name: &str| Member { name: name.to_owned(), address: String::new() };
        let config = Config::form(A, S, [(A, member("r0")), (B, member("r1"))].into(), 1);
        config::next(&config, &Change::Expand { by: (A, Epoch(1)), add: B, session: S }).unwrap()
    }

    #[test]
    fn a_promotion_is_told_whoever_made_it() {
        let to_b = |keep: &[StoreId]| {
            config::next(&pair(), &Change::Promote { to: B, session: S, keep: keep.to_vec() }).unwrap()
        };
        assert_eq!(promoted(&pair(), &pair()), None);
        let alone = to_b(&[B]);
        assert_eq!(promoted(&pair(), &alone).unwrap(), "r1 promoted in place of r0, epoch 2, 1 in sync");
        let switched = promoted(&pair(), &to_b(&[A, B])).unwrap();
        assert_eq!(switched, "r1 promoted in place of r0, which handed over, epoch 2, 2 in sync");
        let again = config::next(&alone, &Change::Promote { to: B, session: S, keep: vec![B] }).unwrap();
        assert_eq!(promoted(&alone, &again).unwrap(), "r1 is master again, epoch 3, 1 in sync");
        assert!(promoted(&pair(), &again).unwrap().contains("epoch 3 (1 before it too short to be seen)"));
        let unclean = Config { unclean: Some(Epoch(2)), ..alone };
        assert!(promoted(&pair(), &unclean).unwrap().contains("DATA LOSS ACCEPTED"));
    }

    #[test]
    fn promotions_by_others_are_told_when_they_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = ConfigFiles::at(dir.path());
        let formed = Config::form(A, S, pair().members, 1);
        let expanded = pair();
        let promotion = Change::Promote { to: B, session: S, keep: vec![B] };
        let promoted = config::next(&expanded, &promotion).unwrap();
        for version in [&formed, &expanded] {
            files.compare_and_set(version).unwrap();
        }
        let looked = look(&files, &[], 0, Some(formed));
        assert_eq!((looked.news, looked.config.as_ref()), (vec![], Some(&expanded)));
        files.compare_and_set(&promoted).unwrap();
        let looked = look(&files, &[], 0, looked.config);
        assert_eq!(looked.news, ["r1 promoted in place of r0, epoch 2, 1 in sync"]);
        assert!(look(&files, &[], 0, looked.config).news.is_empty(), "once");
    }

    #[test]
    fn a_configuration_directory_that_is_gone_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let files = ConfigFiles::at(&dir.path().join("config"));
        let looked = look(&files, &[], 0, Some(pair()));
        assert_eq!(looked.trouble, Some(Trouble::ConfigGone(dir.path().join("config"))));
        assert_eq!(looked.config, Some(pair()), "what is known stays known");
    }
}
