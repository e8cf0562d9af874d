//! One run of the benchmark: where programs and data lie, the servers it starts, rounds, and the bars that show how far it is.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rq_proto::reliablequeue::TopicType;
use rq_tests::broker::Broker;
use rq_tests::client::Client;
use tempfile::TempDir;

use crate::Plan;
use crate::filler::Filling;
use crate::load::Target;
use crate::proc;

/// Ports for the server that stores nothing.
const PORTS: std::ops::Range<u16> = 18_500..18_600;
/// Until that server answers, and until a broker has nothing to do.
const START_DEADLINE: Duration = Duration::from_mins(2);
/// More than the broker keeps of new messages in memory, and less than a segment.
pub(crate) const WARM_UP: Filling = Filling {
    topic: "warm-up",
    messages: 160 << 10,
    body_bytes: 1024,
    tag: "",
    properties: &[],
    delayed: false,
};
/// A process is idle that takes no more processor time than this in such a window. Long, for it may wait for the disk. A
/// replica looks at its config store and its links meanwhile.
const IDLE_WINDOW: Duration = Duration::from_secs(3);
const IDLE_CPU: Duration = Duration::from_millis(75);
/// `f_type` of tmpfs and ramfs: no disk is below them.
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// One run.
#[derive(Debug)]
pub(crate) struct Session {
    build: PathBuf,
    data: TempDir,
    plan: Plan,
}

impl Session {
    /// Measures on the disk of `data`, or else on that of the build directory.
    pub(crate) fn open(data: Option<PathBuf>, plan: Plan) -> Result<Self> {
        let program = std::env::current_exe().context("find the benchmark program")?;
        let build =
            program.ancestors().nth(2).context("the benchmark lies in no build directory")?.to_path_buf();
        let parent = data.unwrap_or_else(|| build.clone());
        let kind =
            rustix::fs::statfs(&parent).with_context(|| format!("look at {}", parent.display()))?.f_type;
        if MEMORY_FILE_SYSTEMS.contains(&kind) {
            bail!("{} is in memory: give a directory on a disk with --data", parent.display());
        }
        let data =
            tempfile::Builder::new().prefix("bench-").tempdir_in(&parent).context("make a data directory")?;
        Ok(Self { build, data, plan })
    }

    pub(crate) fn plan(&self) -> Plan {
        self.plan
    }

    /// The directory that the programs lie in.
    pub(crate) fn build(&self) -> &Path {
        &self.build
    }

    /// A directory on the disk that is measured.
    pub(crate) fn disk(&self) -> &Path {
        self.data.path()
    }

    /// A program of this build.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let program = self.build.join(name);
        if !program.exists() {
            bail!("{} is missing: run `make bench`, which builds it", program.display());
        }
        Ok(program)
    }

    /// A broker on an empty data directory.
    pub(crate) async fn broker(&self, name: &str) -> Result<Broker> {
        // The disk is a real one; what file system covers it is the user's choice.
        let mut broker = Broker::start(&self.data.path().join(name), &["--allow-unsafe-filesystem"]).await?;
        broker.contented();
        Ok(broker)
    }

    /// A broker that has filled its cache of new messages, prepared its first segments and become idle: otherwise a
    /// short measurement would take for the cost of its few messages what is done once for a gigabyte of them.
    pub(crate) async fn warm_broker(&self, name: &str) -> Result<Broker> {
        let broker = self.broker(name).await?;
        let client = Client::new(&broker.endpoint(), "bench")?;
        client.create_topic(WARM_UP.topic, TopicType::Normal, 0).await?;
        WARM_UP.send(&broker.endpoint()).await.context("warm the broker up")?;
        idle(broker.pid()?).await?;
        Ok(broker)
    }

    /// A server that answers sends and stores nothing.
    pub(crate) fn null(&self) -> Result<NullServer> {
        NullServer::start(&self.program("rq")?)
    }

    /// Runs `round` once to warm up and then as often as planned; what the latter return.
    pub(crate) async fn rounds<T>(
        &self,
        what: &str,
        mut round: impl AsyncFnMut() -> Result<T>,
    ) -> Result<Vec<T>> {
        let bar = bar(u64::from(self.plan.rounds) + 1, what);
        let mut found = Vec::with_capacity(self.plan.rounds as usize);
        for number in 0..=self.plan.rounds {
            let value = round().await.with_context(|| format!("{what}, round {number}"))?;
            if number > 0 {
                found.push(value);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(found)
    }
}

/// Waits until a process takes hardly any processor time.
pub(crate) async fn idle(pid: u32) -> Result<()> {
    let begin = Instant::now();
    loop {
        let before = proc::cpu(pid)?;
        tokio::time::sleep(IDLE_WINDOW).await;
        if proc::cpu(pid)?.saturating_sub(before) <= IDLE_CPU {
            return Ok(());
        }
        if begin.elapsed() > START_DEADLINE {
            bail!("the broker did not become idle within {START_DEADLINE:?}");
        }
    }
}

/// A bar on standard error; where that is no terminal, a line that says what begins.
pub(crate) fn bar(length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{msg:40} {bar:30} {pos}/{len}  {elapsed}, {eta} left") {
        bar.set_style(style);
    }
    if bar.is_hidden() {
        eprintln!("{what}");
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Where a broker of the harness is loaded.
pub(crate) fn target(broker: &Broker) -> Result<Target> {
    Ok(Target { address: broker.address(), pids: vec![broker.pid()?] })
}

/// A server that stores nothing, killed when dropped.
#[derive(Debug)]
pub(crate) struct NullServer {
    child: Child,
    address: String,
}

impl NullServer {
    fn start(rq: &Path) -> Result<Self> {
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = PORTS.into_iter().find(free).with_context(|| format!("no port of {PORTS:?} is free"))?;
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(rq);
        command.args(["bench-null", "--listen", &address]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = Self { child: command.spawn().context("start rq bench-null")?, address };
        let begin = Instant::now();
        while std::net::TcpStream::connect(&server.address).is_err() {
            if let Some(status) = server.child.try_wait().context("look at rq bench-null")? {
                bail!("rq bench-null ended with {status}");
            }
            if begin.elapsed() > START_DEADLINE {
                bail!("rq bench-null did not answer within {START_DEADLINE:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    pub(crate) fn target(&self) -> Target {
        Target { address: self.address.clone(), pids: vec![self.child.id()] }
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
