//! `rq local`: a cluster of local processes with a supervisor that starts dead brokers again and promotes a slave when
//! the master is gone. What is decided lies in `rq-overseer` and `rq-core`; the rest reads, starts and signals.

mod backends;
mod broker;
mod control;
mod describe;
pub(crate) mod failure;
mod front;
mod layout;
mod process;
mod supervise;
mod trouble;
mod up;
mod view;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use rq_core::config::MEMBERS_MAX;

use crate::args::Global;
use crate::failure::Failure;

const AFTER_HELP: &str = "\
Examples:
  rq local up --replicas 2
  rq local status
  rq local kill master
  rq local kill r0 --signal STOP
  rq local promote r1
  rq local down

Clients use one address, 127.0.0.1:8081 (--base-port), whoever is master. Replica r0 has the two ports
above it for itself and for its metrics, r1 the next two, and so on.";

const UP_HELP: &str = "\
Examples:
  rq local up
  rq local up --replicas 3 --base-port 9000 --data /var/tmp/trial --auto-create
  rq local up --foreground

Data, configuration, the log of each broker and supervisor.log are in the directory; `rq local down` stops
what `up` left running. A cluster that was stopped starts again as it was; options change what they name.
One that runs is reported, and left alone: options that would make another one of it are refused.";

/// `rq local …`.
#[derive(Subcommand)]
#[command(after_help = AFTER_HELP)]
pub(crate) enum LocalCommand {
    /// Start a cluster and wait until it serves; report it if it runs already
    Up(Up),
    /// Show master, epoch, in-sync set and each replica
    Status(Directory),
    /// Send a signal to a broker: by name, or to the `master` or a `slave`
    Kill(Kill),
    /// Make a slave of the in-sync set the master, without a failure
    Promote(Promote),
    /// Stop the cluster; its data stays
    Down(Directory),
    /// Watch over a cluster: what `up` leaves running
    #[command(hide = true)]
    Supervise(Cluster),
}

/// Where a cluster lives.
#[derive(Args, Clone, Debug)]
pub(crate) struct Directory {
    /// Directory of the cluster: its data, its configuration, its logs
    #[arg(long, default_value = "./cluster", value_name = "DIR")]
    data: PathBuf,
}

/// `rq local up`.
#[derive(Args)]
#[command(after_help = UP_HELP)]
pub(crate) struct Up {
    #[command(flatten)]
    cluster: Cluster,
    /// Stay in the foreground, and stop the cluster on Ctrl-C
    #[arg(long)]
    foreground: bool,
}

/// What a cluster is made of.
#[derive(Args, Clone, Debug)]
pub(crate) struct Cluster {
    #[command(flatten)]
    directory: Directory,
    /// Number of replicas, the master included [default: as before, or 2]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=MEMBERS_MAX as i64), value_name = "N")]
    replicas: Option<u16>,
    /// Port for clients; the replicas have those above it [default: as before, or 8081]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), value_name = "PORT")]
    base_port: Option<u16>,
    /// The program of a broker [default: as before, or rq-broker beside rq, or on the PATH]
    #[arg(long, value_name = "FILE")]
    broker: Option<PathBuf>,
    /// Make topics and consumer groups on first use [default: as before, or false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    auto_create: Option<bool>,
    /// Use a file system that may lose what was flushed to it: overlay, tmpfs, NFS [default: as before, or false]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    allow_unsafe_filesystem: Option<bool>,
}

/// `rq local kill`.
#[derive(Args)]
pub(crate) struct Kill {
    #[command(flatten)]
    directory: Directory,
    /// Name of a replica, or `master`, or `slave`
    #[arg(value_name = "NAME|master|slave")]
    target: String,
    /// KILL ends it at once, STOP freezes it, CONT wakes it, TERM lets it end in order
    #[arg(long, value_enum, ignore_case = true, default_value_t)]
    signal: Signal,
}

/// A signal as people name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Signal {
    #[default]
    Kill,
    Stop,
    Cont,
    Term,
}

/// `rq local promote`.
#[derive(Args)]
pub(crate) struct Promote {
    #[command(flatten)]
    directory: Directory,
    /// Name of the replica that shall be master
    name: String,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, command: LocalCommand) -> Result<(), Failure> {
    match command {
        LocalCommand::Up(up) => up::run(global, up).await,
        LocalCommand::Status(directory) => view::run(global, &directory).await,
        LocalCommand::Kill(kill) => control::kill(global, kill).await,
        LocalCommand::Promote(promote) => control::promote(global, promote).await,
        LocalCommand::Down(directory) => control::down(global, &directory).await,
        LocalCommand::Supervise(cluster) => supervise::detached(cluster).await,
    }
}
