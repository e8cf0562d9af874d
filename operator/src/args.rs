//! What the operator is told: flags, over environment variables, over defaults.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

/// The operator of ReliableQueue: makes what each ReliableQueue asks for, and promotes a slave when a master is lost.
#[derive(Clone, Debug, Parser)]
#[command(name = "rq-operator", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name of this replica of the operator: its pod.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub(crate) pod_name: String,
    /// Namespace of the operator: where its lease is.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub(crate) pod_namespace: String,
    /// Name of the lease: of all replicas, the one that holds it carries out changes. All of them look for failures.
    #[arg(long, env = "RQ_LEASE", value_name = "NAME", default_value = "reliablequeue-operator")]
    pub(crate) lease: String,
    /// Image of the broker for queues whose spec names none.
    #[arg(long, env = "RQ_BROKER_IMAGE", value_name = "IMAGE")]
    pub(crate) broker_image: String,
    /// Address for /metrics, /livez and /readyz.
    #[arg(long, env = "RQ_HTTP", value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) http: SocketAddr,
    /// What to log: a level, or a filter such as `info,rq_operator=debug`.
    #[arg(long, env = "RQ_LOG", value_name = "FILTER", default_value = "info")]
    pub(crate) log: String,
    /// How to log.
    #[arg(long, env = "RQ_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

const EXAMPLES: &str = "\
Examples:
  kubectl proxy &  # or any other kubeconfig of a cluster with the CRDs
  rq-operator --pod-name me --pod-namespace default --broker-image reliablequeue/broker:dev

In a cluster, install the chart charts/reliablequeue-operator: it grants what the operator may do, and sets all of these.
Outside of one, only what needs no connection to a pod works: no failover, and no switchover.
A flag goes over its environment variable, that over the default.";

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
