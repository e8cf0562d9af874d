//! A network of its own for one test: a network namespace for each replica and one for the clients, joined by a bridge
//! in the latter. Links can be cut between two replicas, around one, and in one direction. The namespaces go when the
//! value is dropped; what a killed test left behind, processes too, is removed by the next.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::task::JoinHandle;

/// Begins the name of each namespace; the id of the test process and a number follow.
const PREFIX: &str = "rq-test-";
/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";
/// Every network has the same addresses: it is joined to no other.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Last part of the first replica's address.
const FIRST_REPLICA: u8 = 10;

static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// A network.
#[derive(Debug)]
pub struct Network {
    clients: Namespace,
    replicas: Vec<Namespace>,
}

/// Which packets of a replica get lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Those to and from the other replicas.
    Replicas,
    /// All.
    All,
    /// All that it sends.
    Outgoing,
    /// All that is sent to it.
    Incoming,
}

impl Network {
    /// Makes a network of so many replicas.
    pub fn new(replicas: u8) -> Result<Self> {
        remove_left_behind();
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let name = |role: &str| format!("{PREFIX}{}-{number}-{role}", std::process::id());
        let mut network = Self { clients: Namespace::new(name("clients"), CLIENTS)?, replicas: Vec::new() };
        let clients = &network.clients;
        clients.ip("link add bridge0 type bridge")?;
        clients.ip(&format!("address add {CLIENTS}/24 dev bridge0"))?;
        clients.ip("link set bridge0 up")?;
        for nth in 0..replicas {
            let address = Ipv4Addr::new(10, 77, 0, FIRST_REPLICA + nth);
            let replica = Namespace::new(name(&format!("r{nth}")), address)?;
            let end = format!("to-r{nth}");
            let peer = &replica.name;
            network.clients.ip(&format!("link add {end} type veth peer name eth0 netns {peer}"))?;
            network.clients.ip(&format!("link set {end} master bridge0 up"))?;
            replica.ip(&format!("address add {address}/24 dev eth0"))?;
            replica.ip("link set eth0 up")?;
            network.replicas.push(replica);
        }
        Ok(network)
    }

    /// Where clients are.
    #[must_use]
    pub fn clients(&self) -> &Namespace {
        &self.clients
    }

    /// Runs asynchronous work among the clients, on threads of its own: whatever it connects to and starts is there.
    pub fn run<T: Send, F: Future<Output = Result<T>>>(
        self,
        work: impl FnOnce(Self) -> F + Send,
    ) -> Result<T> {
        run_in(&self.clients.path(), move || work(self))
    }

    /// Where a replica is.
    #[must_use]
    pub fn replica(&self, nth: usize) -> &Namespace {
        &self.replicas[nth]
    }

    /// Loses packets of a replica, without a word to their sender, until [`Network::heal`].
    pub fn cut(&self, nth: usize, cut: Cut) -> Result<()> {
        let replica = &self.replicas[nth];
        match cut {
            Cut::All => replica.drops("INPUT -i eth0").and_then(|()| replica.drops("OUTPUT -o eth0")),
            Cut::Outgoing => replica.drops("OUTPUT -o eth0"),
            Cut::Incoming => replica.drops("INPUT -i eth0"),
            Cut::Replicas => {
                let others = self.replicas.iter().filter(|other| other.address != replica.address);
                others.map(|other| other.address).try_for_each(|other| {
                    replica.drops(&format!("INPUT -s {other}"))?;
                    replica.drops(&format!("OUTPUT -d {other}"))
                })
            }
        }
    }

    /// Lets all packets through again.
    pub fn heal(&self) -> Result<()> {
        self.replicas.iter().try_for_each(|replica| replica.call("iptables", "--wait --flush"))
    }
}

/// A network namespace with one address.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    address: Ipv4Addr,
}

impl Namespace {
    fn new(name: String, address: Ipv4Addr) -> Result<Self> {
        done(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name, address };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// A port of its address.
    #[must_use]
    pub fn port(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }

    /// A program that is to run in it. The process of this command becomes the program.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Begins asynchronous work in it, on threads of its own: whatever it connects to is in the namespace.
    pub fn spawn<T: Send + 'static, F: Future<Output = Result<T>>>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let path = self.path();
        tokio::task::spawn_blocking(move || run_in(&path, work))
    }

    fn path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.name)
    }

    fn drops(&self, packets: &str) -> Result<()> {
        self.call("iptables", &format!("--wait --append {packets} --jump DROP"))
    }

    fn ip(&self, arguments: &str) -> Result<()> {
        self.call("ip", arguments)
    }

    fn call(&self, program: &str, arguments: &str) -> Result<()> {
        done(self.command(program).args(arguments.split(' ')))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        done(Command::new("ip").args(["netns", "delete", &self.name]))
            .unwrap_or_else(|error| eprintln!("{error:#}"));
    }
}

fn run_in<T: Send, F: Future<Output = Result<T>>>(
    namespace: &Path,
    work: impl FnOnce() -> F + Send,
) -> Result<T> {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let file = File::open(namespace).context("open a namespace")?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .context("enter a namespace")?;
            // Its threads are in the namespace of this one, which makes them.
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(2).enable_all().build().context("start a runtime")?;
            runtime.block_on(work())
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn done(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Removes the namespaces of test processes that are gone, and kills what still runs in them.
fn remove_left_behind() {
    let Ok(entries) = std::fs::read_dir(NAMESPACES) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else { continue };
        if Path::new(&format!("/proc/{owner}")).exists() {
            continue;
        }
        eprintln!("removing the namespace {name}, left by a killed test");
        let pids = Command::new("ip").args(["netns", "pids", &name]).output();
        let pids =
            pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for pid in pids.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        // Another test may have been faster.
        let _ = done(Command::new("ip").args(["netns", "delete", &name]));
    }
}
