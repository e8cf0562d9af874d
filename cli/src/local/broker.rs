//! The process of one replica: started, watched, started again. Decides nothing; says what happened.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rq_proto::reliablequeue as pb;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::describe::Replica;
use super::failure::LocalError;
use super::layout::{CLUSTER, Layout, ReplicaFile};
use super::process::Process;

/// Pause before a dead broker is started again, as a kubelet would.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How often a replica is asked what it is.
const DESCRIBE_EVERY: Duration = Duration::from_millis(100);
/// The program.
const BROKER: &str = "rq-broker";

/// Something that happened to the replica of this number.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) replica: usize,
    pub(super) what: What,
}

/// What happened.
#[derive(Debug)]
pub(super) enum What {
    /// It has a process.
    Started(Process),
    /// The process ended, or could not be started: how.
    Ended(String),
    /// It answered.
    Answered(Box<pb::ReplicaStatus>),
    /// It did not answer the question that was put then.
    Silent(Instant),
}

/// How brokers are started.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) auto_create: bool,
    pub(super) allow_unsafe_filesystem: bool,
}

/// The program of a broker: the one that was named, else beside this program, else on the PATH.
pub(super) fn program(named: Option<&Path>) -> Result<PathBuf, LocalError> {
    if let Some(named) = named {
        let found = named.canonicalize();
        return found.map_err(|source| LocalError::File { doing: "find", path: named.to_owned(), source });
    }
    let beside = std::env::current_exe().ok().map(|this| this.with_file_name(BROKER));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(BROKER));
    beside.into_iter().chain(on_path).find(|file| file.is_file()).ok_or(LocalError::NoBroker)
}

/// Keeps a broker running until `stopping` is true and it has ended.
pub(super) async fn keep(
    number: usize,
    replica: ReplicaFile,
    launch: Launch,
    layout: Layout,
    events: mpsc::Sender<Event>,
    mut stopping: watch::Receiver<bool>,
) {
    // The supervisor ends last; until then it takes every event.
    let say = async |what| drop(events.send(Event { replica: number, what }).await);
    while !*stopping.borrow() {
        let how = match launch.spawn(&replica, &layout) {
            Ok((mut child, process)) => {
                say(What::Started(process)).await;
                match child.wait().await {
                    Ok(status) => status.to_string(),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        say(What::Ended(how)).await;
        let stop = stopping.wait_for(|stopping| *stopping);
        // Time is up, or nothing is to be started any more.
        let _ = tokio::time::timeout(RESTART_AFTER, stop).await;
    }
}

/// Asks a replica again and again what it is, until the supervisor ends.
pub(super) async fn ask(number: usize, mut replica: Replica, events: mpsc::Sender<Event>) {
    let mut ticks = tokio::time::interval(DESCRIBE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        let what = match replica.describe().await {
            Ok(status) => What::Answered(Box::new(status)),
            Err(_) => What::Silent(asked),
        };
        if events.send(Event { replica: number, what }).await.is_err() {
            return;
        }
    }
}

impl Launch {
    fn spawn(&self, replica: &ReplicaFile, layout: &Layout) -> Result<(Child, Process), LocalError> {
        let log = layout.log(&replica.name);
        let said = OpenOptions::new().create(true).append(true).open(&log);
        let said = said.map_err(|source| LocalError::File { doing: "write", path: log.clone(), source })?;
        let failed =
            |source| LocalError::Process { doing: "start", what: self.program.display().to_string(), source };
        let mut command = Command::new(&self.program);
        command.arg("--data").arg(layout.data(&replica.name));
        command.args(["--listen", &replica.address(), "--http", &replica.http()]);
        command.arg("--config-store").arg(layout.config());
        command.args(["--name", &replica.name, "--cluster", CLUSTER]);
        if self.auto_create {
            command.arg("--auto-create");
        }
        if self.allow_unsafe_filesystem {
            command.arg("--allow-unsafe-filesystem");
        }
        // A group of its own: Ctrl-C is for the supervisor, which stops brokers in order.
        command.process_group(0).stdin(Stdio::null());
        command.stdout(said.try_clone().map_err(failed)?).stderr(said);
        let child = command.spawn().map_err(failed)?;
        // A child that was not waited for has its number to itself, even if it has ended.
        let process = child.id().and_then(Process::of);
        let process = process.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        Ok((child, process))
    }
}
