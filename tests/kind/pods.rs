//! What may happen to a pod.

use std::fmt;

use anyhow::{Context as _, Result};

use crate::docker;
use crate::kubectl::{name, text};
use crate::queue::{Queue, incarnation, is_ready};
use crate::wait::{DEADLINE, once, wait};

/// How a pod ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Its broker is told to stop, and may hand over.
    Deleted,
    /// Its object goes at once; the kubelet kills the broker.
    DeletedByForce,
    /// SIGKILL of the broker; the kubelet starts it again in the same pod.
    Killed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "pod deleted",
            Self::DeletedByForce => "pod deleted by force",
            Self::Killed => "SIGKILL of the process",
        })
    }
}

impl End {
    /// Ends a pod of the queue.
    pub(crate) fn of(self, queue: &Queue<'_>, pod: &str) -> Result<()> {
        match self {
            Self::Deleted => queue.kubectl(&["delete", "pod", pod, "--wait=false"]).map(drop),
            Self::DeletedByForce => queue
                .kubectl(&["delete", "pod", pod, "--force", "--grace-period=0", "--wait=false"])
                .map(drop),
            Self::Killed => Process::of(queue, pod)?.kill(),
        }
    }
}

/// The process of a broker, found while the API server answers.
pub(crate) struct Process {
    node: String,
    container: String,
}

impl Process {
    /// That of a pod.
    pub(crate) fn of(queue: &Queue<'_>, pod: &str) -> Result<Self> {
        let pod = queue.pod(pod)?;
        let id = text(&pod, "/status/containerStatuses/0/containerID");
        let container = id
            .strip_prefix("containerd://")
            .with_context(|| format!("not a container of containerd: {id:?}"))?;
        Ok(Self { node: text(&pod, "/spec/nodeName").to_owned(), container: container.to_owned() })
    }

    /// `kill -9`, from its node: the pod has no shell.
    pub(crate) fn kill(&self) -> Result<()> {
        docker::run(&[
            "exec",
            &self.node,
            "ctr",
            "--namespace",
            "k8s.io",
            "task",
            "kill",
            "--signal",
            "SIGKILL",
            &self.container,
        ])
        .map(drop)
    }
}

/// Waits until a pod of that name is another one, or has another process, and is ready.
pub(crate) fn replaced(queue: &Queue<'_>, pod: &str, before: &(String, String)) -> Result<()> {
    wait(&format!("{pod} is back"), DEADLINE, || {
        let now = queue.pod(pod)?;
        Ok(once(
            is_ready(&now) && incarnation(&now) != *before,
            format!("{} {}", name(&now), text(&now, "/status/phase")),
        ))
    })
}
