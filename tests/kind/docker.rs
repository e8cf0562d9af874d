//! Nodes as containers of Docker, and what may happen to them. Whatever is broken here is mended when its guard is dropped,
//! also when the test has failed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rq_tests::language::root;
use rq_tests::requirement::loudly;

use crate::kubectl;
use crate::wait::{DEADLINE, once, wait};

/// What it prints.
pub(crate) fn run(arguments: &[&str]) -> Result<String> {
    let output =
        Command::new("docker").args(arguments).stdin(Stdio::null()).output().context("start docker")?;
    if !output.status.success() {
        bail!("docker {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("docker prints no UTF-8")
}

/// Does something when it is dropped.
pub(crate) struct Undo<F: FnMut() -> Result<()>>(F);

impl<F: FnMut() -> Result<()>> Undo<F> {
    /// Later.
    pub(crate) fn later(undo: F) -> Self {
        Self(undo)
    }

    /// Now, with an error if it fails.
    pub(crate) fn now(mut self) -> Result<()> {
        let done = (self.0)();
        std::mem::forget(self);
        done
    }
}

impl<F: FnMut() -> Result<()>> Drop for Undo<F> {
    fn drop(&mut self) {
        if let Err(error) = (self.0)() {
            loudly(&format!("the cluster may be broken, `make kind-up` mends it: {error:#}"));
        }
    }
}

/// How a node is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// It hangs: everything in it stands still, and goes on later as if nothing had been.
    Paused,
    /// All its processes end at once.
    Killed,
    /// It works and nobody hears it.
    Cut,
}

impl Loss {
    /// Takes a node away until what is returned is dropped or undone.
    pub(crate) fn of(self, node: &str) -> Result<Undo<impl FnMut() -> Result<()> + use<>>> {
        let lost = node.to_owned();
        let back = Undo::later(move || self.mend(&lost));
        match self {
            Self::Paused => run(&["pause", node]).map(drop)?,
            Self::Killed => run(&["kill", node]).map(drop)?,
            Self::Cut => firewall(node, "-I")?,
        }
        Ok(back)
    }

    fn mend(self, node: &str) -> Result<()> {
        match self {
            Self::Paused => run(&["unpause", node]).map(drop)?,
            // It starts the node, lays its routes and waits for its kubelet.
            Self::Killed => cluster("up")?,
            Self::Cut => firewall(node, "-D")?,
        }
        await_node(node)
    }
}

/// Drops what goes through the node's link, silently, as a pulled cable does.
fn firewall(node: &str, change: &str) -> Result<()> {
    let rules = ["INPUT -i eth0", "OUTPUT -o eth0", "FORWARD -i eth0", "FORWARD -o eth0"];
    let script: Vec<String> = rules.map(|rule| format!("iptables {change} {rule} -j DROP")).into();
    run(&["exec", node, "sh", "-c", &script.join(" && ")]).map(drop)
}

/// Drops what two pods send each other, where it leaves the node of one, until what is returned is dropped or undone.
pub(crate) fn cut_link(node: &str, pods: [&str; 2]) -> Result<Undo<impl FnMut() -> Result<()> + use<>>> {
    let [node, one, other] = [node, pods[0], pods[1]].map(str::to_owned);
    let rules = move |change: &str| {
        let rule = |from: &str, to: &str| format!("iptables {change} FORWARD -s {from} -d {to} -j DROP");
        let script = format!("{} && {}", rule(&one, &other), rule(&other, &one));
        run(&["exec", &node, "sh", "-c", &script]).map(drop)
    };
    rules("-I")?;
    Ok(Undo::later(move || rules("-D")))
}

fn await_node(node: &str) -> Result<()> {
    wait(&format!("{node} is ready"), DEADLINE, || {
        let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        let ready = kubectl::run(&["get", "node", node, "-o", path])?;
        Ok(once(ready == "True", ready))
    })
}

/// A command of `tests/kind/cluster.sh`.
pub(crate) fn cluster(command: &str) -> Result<()> {
    script(&root().join("tests/kind/cluster.sh"), &[command])
}

/// Puts images of this Docker into the nodes.
pub(crate) fn load_image(image: &str) -> Result<()> {
    script(&root().join("tests/kind/cluster.sh"), &["load", image])
}

fn script(path: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(path);
    // The name of the cluster is that of its context.
    if let Some(name) = kubectl::context().and_then(|context| context.strip_prefix("kind-")) {
        command.env("CLUSTER", name);
    }
    let output =
        command.args(arguments).stdin(Stdio::null()).output().with_context(|| path.display().to_string())?;
    if !output.status.success() {
        bail!(
            "{} {}: {}",
            path.display(),
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Takes the API server away until what is returned is dropped or undone. It is gone, and back, when the calls return.
pub(crate) fn without_api_server() -> Result<Undo<impl FnMut() -> Result<()>>> {
    let node = kubectl::run(&[
        "get",
        "nodes",
        "-l",
        "node-role.kubernetes.io/control-plane",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ])?;
    let (there, away) = ("/etc/kubernetes/manifests/kube-apiserver.yaml", "/kind/kube-apiserver.yaml");
    let back = Undo::later({
        let node = node.clone();
        move || {
            // Nothing to move if it was never taken.
            run(&["exec", &node, "sh", "-c", &format!("[ ! -f {away} ] || mv {away} {there}")])?;
            wait("the API server answers", DEADLINE, || {
                kubectl::run(&["get", "--raw", "/readyz"]).map(|seen| once(seen == "ok", seen))
            })?;
            begin_dns_again()
        }
    });
    run(&["exec", &node, "mv", there, away])?;
    wait("the API server is gone", DEADLINE, || {
        let answer = kubectl::run(&["get", "--raw", "/readyz"]);
        Ok(once(answer.is_err(), "it answers"))
    })?;
    Ok(back)
}

/// The DNS of a cluster whose API server was away may know no new Service for a minute: it watches them, and waits longer from
/// try to try. One that begins again asks at once.
fn begin_dns_again() -> Result<()> {
    let rollout = |what: &str, options: &[&str]| {
        let arguments = ["--namespace", "kube-system", "rollout", what, "deployment/coredns"];
        kubectl::run(&[&arguments, options].concat()).map(drop)
    };
    rollout("restart", &[])?;
    rollout("status", &["--timeout=3m", "--request-timeout=0"])
}

/// Lets so much time pass for a load to meet the fault that lasts: this is the one thing that no condition tells.
pub(crate) fn let_it_last(duration: Duration) {
    thread::sleep(duration);
}
