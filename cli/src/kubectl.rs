//! `kubectl rq`: queues on Kubernetes as people look after them. The binary is the plugin when it is called `kubectl-rq`, and
//! `rq kube` without. What the API server says comes first; what only brokers know is asked through forwarded ports, and is
//! left out with the reason where they cannot be reached. Nothing here needs the operator to run, but accepting data loss.

mod cluster;
mod events;
pub(crate) mod failure;
mod forward;
mod promote;
mod replicas;
mod screen;
mod status;
mod timeline;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};

use self::cluster::Cluster;
use crate::args::{Global, duration};
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::output::Output;

/// As what kubectl looks for the binary.
const PLUGIN: &str = "kubectl-rq";

const AFTER_HELP: &str = "\
Examples:
  kubectl rq status                     queues of the namespace: are they safe, who is master
  kubectl rq status -A -o json          of all namespaces, for programs
  kubectl rq status orders -n shop      one of them: each replica, and why it is not safe
  kubectl rq promote orders orders-1    another master, without a failure
  kubectl rq events orders              how the last failover went, in milliseconds

Install the plugin: kubectl finds it by its name on the PATH, so that a link to rq is enough:
  ln -s \"$(command -v rq)\" /usr/local/bin/kubectl-rq
  kubectl rq status
Without the plugin, say `rq kube` instead of `kubectl rq`.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 no such queue or pod, 4 the cluster or a broker cannot be reached";

/// Look after message queues on Kubernetes: is it safe, who is master, and why not.
#[derive(Parser)]
#[command(
    name = "kubectl-rq",
    bin_name = "kubectl rq",
    version,
    after_help = AFTER_HELP,
    max_term_width = 100,
    subcommand_required = true
)]
pub(crate) struct Plugin {
    #[command(flatten)]
    shown: Shown,
    #[command(flatten)]
    kube: Kube,
}

/// Options that `rq` has for all its commands.
#[derive(clap::Args)]
struct Shown {
    /// Tables for people, or JSON for programs
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Output,
    /// Longest wait for one answer, and of `promote` for the new master
    #[arg(long, global = true, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
}

/// `rq kube`.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP, subcommand_required = true)]
pub(crate) struct Kube {
    #[command(flatten)]
    access: Access,
    #[command(subcommand)]
    command: KubeCommand,
}

/// Which cluster and namespace.
#[derive(clap::Args)]
struct Access {
    /// Namespace of the queue [default: that of the context]
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Context of the kubeconfig [default: the current one]
    #[arg(long, global = true, value_name = "CONTEXT")]
    context: Option<String>,
    /// The kubeconfig [default: KUBECONFIG, or ~/.kube/config, or the account of the pod that this runs in]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Subcommand)]
enum KubeCommand {
    /// Show queues: are they safe, who is master; with a name its replicas, and why it is not safe
    Status(status::Status),
    /// Make another replica the master
    Promote(promote::Promote),
    /// Show how the last failover went, and the newest events
    Events(events::Events),
}

impl Plugin {
    /// Whether the process was called as the plugin.
    pub(crate) fn is_called(program: Option<&OsStr>) -> bool {
        let name = program.map(Path::new).and_then(Path::file_stem);
        name == Some(OsStr::new(PLUGIN))
    }

    /// As `rq kube` with the same options. No broker's address is given: brokers are found by their pods.
    pub(crate) fn into_parts(self) -> (Global, Kube) {
        let Shown { output, timeout } = self.shown;
        (Global { endpoint: Endpoint::local(0), output, timeout }, self.kube)
    }
}

/// Runs the command.
pub(crate) async fn run(global: &Global, kube: Kube) -> Result<(), Failure> {
    let cluster = Cluster::connect(&kube.access, global.timeout).await?;
    match kube.command {
        KubeCommand::Status(command) => status::run(&cluster, global, command).await,
        KubeCommand::Promote(command) => promote::run(&cluster, global, command).await,
        KubeCommand::Events(command) => events::run(&cluster, global, command).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_of_the_plugin_is_well_formed() {
        Plugin::command().debug_assert();
    }

    #[test]
    fn the_binary_is_the_plugin_by_its_name_alone() {
        for (program, is_plugin) in [
            (Some("kubectl-rq"), true),
            (Some("/usr/local/bin/kubectl-rq"), true),
            (Some("kubectl-rq.exe"), true),
            (Some("/opt/kubectl-rq/rq"), false),
            (Some("rq"), false),
            (None, false),
        ] {
            assert_eq!(Plugin::is_called(program.map(OsStr::new)), is_plugin, "{program:?}");
        }
    }

    #[test]
    fn options_may_follow_the_names() {
        let words =
            ["kubectl-rq", "promote", "orders", "orders-1", "-n", "shop", "-o", "json", "--timeout", "3s"];
        let (global, kube) = Plugin::try_parse_from(words).unwrap().into_parts();
        assert_eq!((global.output, global.timeout), (Output::Json, Duration::from_secs(3)));
        assert_eq!(kube.access.namespace.as_deref(), Some("shop"));
    }

    #[test]
    fn the_help_says_how_to_install_the_plugin() {
        let help = Plugin::command().render_long_help().to_string();
        assert!(help.contains("ln -s") && help.contains("kubectl rq status orders -n shop"), "{help}");
    }
}
