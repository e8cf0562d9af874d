//! `rq local kill`, `promote` and `down`: what one does to a cluster that runs.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::failure::LocalError;
use super::layout::{ClusterFile, Layout, ReplicaFile};
use super::process::Process;
use super::view::{self, Shown};
use super::{Directory, Kill, Promote, Signal, supervise};
use crate::args::Global;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::promote;

/// The supervisor ends its brokers by force before this.
const DOWN_PATIENCE: Duration = Duration::from_secs(30);

/// The cluster in a directory, and what runs of it.
pub(super) fn opened(directory: &Directory) -> Result<(Layout, ClusterFile), LocalError> {
    let layout = Layout::existing(directory)?;
    let file = layout.read()?.ok_or_else(|| LocalError::NoCluster(directory.data.clone()))?;
    Ok((layout, file))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Signalled<'a> {
    name: &'a str,
    pid: u32,
    signal: &'a str,
}

/// `rq local kill`.
pub(super) async fn kill(global: &Global, kill: Kill) -> Result<(), Failure> {
    let (layout, file) = opened(&kill.directory)?;
    let replica = target(&layout, &file, &kill.target).await?;
    let process = replica.process.filter(|process| process.state().is_some());
    let process = process.ok_or_else(|| LocalError::NoProcess(replica.name.clone()))?;
    let (signal, name) = match kill.signal {
        Signal::Kill => (rustix::process::Signal::KILL, "KILL"),
        Signal::Stop => (rustix::process::Signal::STOP, "STOP"),
        Signal::Cont => (rustix::process::Signal::CONT, "CONT"),
        Signal::Term => (rustix::process::Signal::TERM, "TERM"),
    };
    process.signal(signal)?;
    match global.output {
        Output::Json => output::json(&Signalled { name: &replica.name, pid: process.pid, signal: name }),
        Output::Table => output::line(&format!("sent {name} to {}, process {}", replica.name, process.pid)),
    }
}

async fn target<'f>(
    layout: &Layout,
    file: &'f ClusterFile,
    target: &str,
) -> Result<&'f ReplicaFile, LocalError> {
    match target {
        "master" => {
            let config = view::config(layout)?.ok_or_else(|| LocalError::NoConfig(layout.config()))?;
            let master = config.members.get(&config.master).ok_or(LocalError::NobodyIs("master"))?;
            file.named(&master.name)
        }
        "slave" => {
            let shown = Shown::gather(layout, file).await?;
            file.named(shown.slave().ok_or(LocalError::NobodyIs("slave"))?)
        }
        name => file.named(name),
    }
}

/// `rq local promote`.
pub(super) async fn promote(global: &Global, promote: Promote) -> Result<(), Failure> {
    let (_, file) = opened(&promote.directory)?;
    if file.running().is_none() {
        return Err(LocalError::NotRunning(promote.directory.data).into());
    }
    let endpoint = file.endpoint();
    let at = endpoint.parse().map_err(|reason| LocalError::Endpoint { endpoint, reason })?;
    promote::hand_over(&Global { endpoint: at, ..global.clone() }, &promote.name).await
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Down {
    running: bool,
}

/// `rq local down`.
pub(super) async fn down(global: &Global, directory: &Directory) -> Result<(), Failure> {
    let (layout, file) = opened(directory)?;
    let text = match file.running() {
        Some(supervisor) => {
            let progress = output::waiting("stopping");
            end(supervisor).await?;
            progress.finish_and_clear();
            "the cluster is stopped; its data stays"
        }
        // Its supervisor may have been killed, and its brokers not.
        None if file.replicas.iter().any(|replica| replica.process.is_some()) => {
            supervise::end_leftovers(Some(&file)).await?;
            let mut file = file;
            for replica in &mut file.replicas {
                replica.process = None;
            }
            file.supervisor = None;
            layout.write(&file)?;
            "the supervisor was gone; the brokers that it left are stopped"
        }
        None => "the cluster is not running",
    };
    match global.output {
        Output::Json => output::json(&Down { running: false }),
        Output::Table => output::line(text),
    }
}

/// Ends a supervisor with all it started.
pub(super) async fn end(supervisor: Process) -> Result<(), LocalError> {
    supervisor.terminate()?;
    if supervisor.gone_by(Instant::now() + DOWN_PATIENCE).await {
        return Ok(());
    }
    Err(LocalError::DoesNotEnd {
        what: "the supervisor".to_owned(),
        pid: supervisor.pid,
        waited: humantime::format_duration(DOWN_PATIENCE).to_string(),
    })
}
