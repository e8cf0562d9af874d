//! A broker process as a kubelet runs it: started, and started again a second after its end, until it is taken away. It
//! is always killed by its own process id and never outlives its value.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::broker::signal;

/// Pause before a dead broker is started again.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How often the process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Until a process that was killed, or was asked to stop, is gone.
const END_DEADLINE: Duration = Duration::from_mins(1);

/// A pod with one broker.
#[derive(Debug)]
pub struct Pod {
    log: PathBuf,
    shared: Arc<Mutex<Shared>>,
    kubelet: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The broker is to run.
    wanted: bool,
    /// Nothing is to run any more.
    over: bool,
    /// The process that runs.
    pid: Option<u32>,
    /// How often it ended.
    ended: u32,
    /// How it ended by itself.
    failures: Vec<String>,
    /// Its machine fails it.
    may_fail: bool,
}

impl Pod {
    /// Runs the program that `launch` makes, whose output goes to the file `log`.
    pub fn run(launch: impl Fn() -> Command + Send + 'static, log: &Path) -> Self {
        let shared = Arc::new(Mutex::new(Shared { wanted: true, ..Shared::default() }));
        let kubelet = Kubelet { shared: Arc::clone(&shared), log: log.to_path_buf() };
        let kubelet = thread::spawn(move || kubelet.run(launch));
        Self { log: log.to_path_buf(), shared, kubelet: Some(kubelet) }
    }

    /// The process, while there is one.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        lock(&self.shared).pid
    }

    /// How often it has ended so far.
    #[must_use]
    pub fn ended(&self) -> u32 {
        lock(&self.shared).ended
    }

    /// How it ended by itself so far: neither killed nor asked to stop.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        lock(&self.shared).failures.clone()
    }

    /// From here on it may end by itself: something under it fails.
    pub fn may_fail(&self) {
        lock(&self.shared).may_fail = true;
    }

    /// All that it ever logged.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log).context("read the log of a broker")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends it a signal.
    pub fn signal(&self, kind: Signal) -> Result<()> {
        signal(self.pid().context("the broker does not run")?, kind)
    }

    /// Kills it and keeps it from being started again.
    pub async fn take_away(&self) -> Result<()> {
        lock(&self.shared).wanted = false;
        if let Some(pid) = self.pid() {
            // It may have ended meanwhile.
            let _ = signal(pid, Signal::KILL);
        }
        self.gone().await
    }

    /// Asks it to stop and keeps it from being started again.
    pub async fn stop(&self) -> Result<()> {
        lock(&self.shared).wanted = false;
        if let Some(pid) = self.pid() {
            let _ = signal(pid, Signal::TERM);
        }
        self.gone().await
    }

    /// Lets it run again.
    pub fn bring_back(&self) {
        lock(&self.shared).wanted = true;
    }

    async fn gone(&self) -> Result<()> {
        let begin = Instant::now();
        while self.pid().is_some() {
            ensure!(begin.elapsed() < END_DEADLINE, "the broker did not end within {END_DEADLINE:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        lock(&self.shared).over = true;
        if let Some(kubelet) = self.kubelet.take() {
            // It panics at nothing.
            let _ = kubelet.join();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Kubelet {
    shared: Arc<Mutex<Shared>>,
    log: PathBuf,
}

impl Kubelet {
    fn run(self, launch: impl Fn() -> Command) {
        while !self.is_over() {
            if lock(&self.shared).wanted {
                match self.start(launch()) {
                    Ok(child) => self.watch(child),
                    Err(error) => eprintln!("{error:#}"),
                }
                self.pause();
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn is_over(&self) -> bool {
        lock(&self.shared).over
    }

    fn start(&self, mut command: Command) -> Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).context("open a log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone().context("share a log")?).stderr(log);
        let child = command.spawn().context("start a broker")?;
        lock(&self.shared).pid = Some(child.id());
        Ok(child)
    }

    /// Until the process has ended.
    fn watch(&self, mut child: Child) {
        let status = loop {
            match child.try_wait() {
                Ok(None) => {}
                ended => break ended.ok().flatten(),
            }
            if self.is_over() {
                let _ = child.kill();
            }
            thread::sleep(LOOK_EVERY);
        };
        let mut shared = lock(&self.shared);
        shared.pid = None;
        shared.ended += 1;
        let was_told =
            |status: &ExitStatus| status.success() || status.signal() == Some(Signal::KILL.as_raw());
        if !shared.may_fail && !status.as_ref().is_some_and(was_told) {
            shared.failures.push(status.map_or_else(|| "unknown".to_owned(), |status| status.to_string()));
        }
    }

    fn pause(&self) {
        let begin = Instant::now();
        while begin.elapsed() < RESTART_AFTER && !self.is_over() {
            thread::sleep(LOOK_EVERY);
        }
    }
}
