//! The real `rq-broker` as a child process on a data directory: start, kill, stop, restart. It is always killed by its
//! own process id and never outlives its value; the end of its log is shown unless the test was content with it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// Ports that the harness hands out; below the kernel's own choice.
const PORTS: std::ops::Range<u16> = 18_400..18_500;
/// Until a broker serves. Generous: the machine may be busy, and recovery reads its log.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// Until a broker that was asked to stop is gone.
const STOP_DEADLINE: Duration = Duration::from_mins(1);
/// Lines of its log shown when a test fails.
const LOG_LINES: usize = 60;

static PORTS_IN_USE: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of loopback that nobody listens on, kept from other brokers of this process until dropped.
#[derive(Debug)]
struct Port(u16);

impl Port {
    fn take() -> Result<Self> {
        let mut in_use = PORTS_IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
        // Begin elsewhere in each process: several test programs may run at a time.
        let first = usize::from(std::process::id() as u16 / 2) * 10 % PORTS.len();
        let port = PORTS
            .cycle_from(first)
            .find(|port| !in_use.contains(port) && TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .with_context(|| format!("no port of {PORTS:?} is free"))?;
        in_use.insert(port);
        Ok(Self(port))
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.0))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        PORTS_IN_USE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

trait CycleFrom {
    fn cycle_from(&self, first: usize) -> impl Iterator<Item = u16>;
}

impl CycleFrom for std::ops::Range<u16> {
    fn cycle_from(&self, first: usize) -> impl Iterator<Item = u16> {
        self.clone().cycle().skip(first).take(self.len())
    }
}

/// The path of one of our programs: in the build directory that this test program lies in.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("find the test program")?;
    let program = test.ancestors().nth(2).unwrap_or(Path::new("/")).join(name);
    if !program.exists() {
        bail!("{} is missing: build it first (`make test` does, or `make build`)", program.display());
    }
    Ok(program)
}

/// What the tests are told by (`RQ_SOAK`, `RQ_SEED`) is not the broker's: it refuses what it does not know.
pub(crate) fn forget_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"RQ_")) {
        command.env_remove(name);
    }
}

/// The path of the broker's program.
pub fn binary() -> Result<PathBuf> {
    program("rq-broker")
}

/// A broker on a data directory. Its addresses stay the same over restarts.
#[derive(Debug)]
pub struct Broker {
    data: PathBuf,
    arguments: Vec<String>,
    client_port: Port,
    http_port: Port,
    home: tempfile::TempDir,
    child: Option<Child>,
    content: bool,
}

impl Broker {
    /// Starts a broker on `data` with further `arguments`, and waits until it serves.
    pub async fn start(data: &Path, arguments: &[&str]) -> Result<Self> {
        let mut broker = Self::prepare(data, arguments)?;
        broker.restart().await?;
        Ok(broker)
    }

    /// Starts a broker that may never serve.
    pub fn launch(data: &Path, arguments: &[&str]) -> Result<Self> {
        let mut broker = Self::prepare(data, arguments)?;
        broker.spawn()?;
        Ok(broker)
    }

    /// Waits until its log has `words`.
    pub async fn logs(&self, words: &str) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while !self.log()?.contains(words) {
            if Instant::now() > deadline {
                bail!("the broker did not log {words:?} within {START_DEADLINE:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Starts a broker that is to refuse its directory: waits for its end and returns its log.
    pub async fn refused(data: &Path, arguments: &[&str]) -> Result<String> {
        let mut broker = Self::prepare(data, arguments)?;
        broker.spawn()?;
        let status = broker.wait().await?;
        if status.success() {
            bail!("the broker ended with success although it was to refuse {}", data.display());
        }
        broker.content = true;
        broker.log()
    }

    fn prepare(data: &Path, arguments: &[&str]) -> Result<Self> {
        Ok(Self {
            data: data.to_path_buf(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            client_port: Port::take()?,
            http_port: Port::take()?,
            home: tempfile::Builder::new()
                .prefix("rq-broker-")
                .tempdir()
                .context("make a directory for the log")?,
            child: None,
            content: false,
        })
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where clients reach it, as a URI.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.client_port.address())
    }

    /// `HOST:PORT` for the command line of clients.
    #[must_use]
    pub fn address(&self) -> String {
        self.client_port.address().to_string()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Result<u32> {
        self.child.as_ref().map(Child::id).context("the broker does not run")
    }

    /// All that it ever logged, over restarts.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(self.log_path()).context("read the broker's log")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("broker.log")
    }

    fn spawn(&mut self) -> Result<()> {
        let path = self.log_path();
        let log = File::options().create(true).append(true).open(path).context("open the broker's log")?;
        let mut command = Command::new(binary()?);
        command.arg("--data").arg(&self.data);
        command.arg("--listen").arg(self.client_port.address().to_string());
        command.arg("--http").arg(self.http_port.address().to_string());
        command.args(&self.arguments).stdin(Stdio::null());
        forget_settings(&mut command);
        command.stdout(log.try_clone().context("share the broker's log")?).stderr(log);
        self.child = Some(command.spawn().context("start the broker")?);
        Ok(())
    }

    /// Starts it again after its end, and waits until it serves. Returns how long that took.
    pub async fn restart(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.spawn()?;
        loop {
            if let Some(status) = self.exited()? {
                bail!("the broker ended with {status} instead of serving");
            }
            if self.is_ready() {
                return Ok(begin.elapsed());
            }
            if begin.elapsed() > START_DEADLINE {
                bail!("the broker did not serve within {START_DEADLINE:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts it again after its end and kills it `after` so long, whether it serves by then or not.
    pub async fn restart_and_kill_after(&mut self, after: Duration) -> Result<()> {
        self.spawn()?;
        tokio::time::sleep(after).await;
        match self.exited()? {
            Some(status) => bail!("the broker ended with {status} while it started"),
            None => self.kill(),
        }
    }

    /// Whether `/readyz` answers 200.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Fetches a page of its HTTP address; the answer with its head.
    pub fn get(&self, path: &str) -> Result<String> {
        let patience = Duration::from_secs(5);
        let mut stream =
            TcpStream::connect_timeout(&self.http_port.address(), patience).context("connect")?;
        stream.set_read_timeout(Some(patience)).context("set a timeout")?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .context("ask")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("read the answer")?;
        Ok(answer)
    }

    /// Its exit status, if it ended by itself.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let child = self.child.as_mut().context("the broker does not run")?;
        let status = child.try_wait().context("wait for the broker")?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + STOP_DEADLINE;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the broker did not end within {STOP_DEADLINE:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the broker does not run")?;
        child.kill().context("kill the broker")?;
        child.wait().context("wait for the killed broker").map(drop)
    }

    /// Asks it to stop with SIGTERM and waits for its end.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        signal(self.pid()?, Signal::TERM)?;
        self.wait().await
    }

    /// The test was content so far: nothing of the log need be shown.
    pub fn contented(&mut self) {
        self.content = true;
    }

    /// The test was content: nothing of the log need be shown. Stops the broker, which must end with success.
    pub async fn finish(mut self) -> Result<()> {
        let status = self.stop().await?;
        if !status.success() {
            bail!("the broker ended with {status} when it was asked to stop");
        }
        self.contented();
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.child.is_some() {
            drop(self.kill());
        }
        if !self.content {
            let log = self.log().unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("---- end of the log of the broker on {}", self.data.display());
            for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
                eprintln!("{line}");
            }
            eprintln!("----");
        }
    }
}

/// Sends a signal to a process that this test started.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    kill_process(pid, signal).context("send a signal")
}
