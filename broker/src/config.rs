//! What the broker is told: flags, over environment variables, over a TOML file, over defaults. Checked as a whole
//! before anything is opened; an unknown key is an error.

mod environment;
mod file;
pub mod inactive;
pub mod limits;
mod member;
mod names;
mod peers;
pub mod shard_name;
pub mod units;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use rq_core::ids::ShardId;
use rq_core::queue::{Limits as ShardLimits, TransactionLimits, retention};
use serde::Deserialize;
use thiserror::Error;

use self::file::FileError;
use self::inactive::Inactive;
use self::limits::{LimitArgs, Limits};
use self::peers::PeerArgs;
use self::shard_name::ShardName;
use crate::engine::EngineOptions;
use crate::grpc::GatewayOptions;
use crate::grpc::server::ServerLimits;
use crate::wire::receive::ReceiveLimits;
use crate::wire::send::MessageLimits;
use crate::wire::settings::SettingsLimits;

/// What a request takes besides its largest body.
const REQUEST_OVERHEAD_BYTES: u64 = 64 << 10;

/// Largest request that is no send, besides its receipt handles: thousands of topics in the settings of a client.
const SMALL_REQUEST_BYTES: usize = 1 << 20;
/// Room for an entry of an ack: a receipt handle and a message id.
const ACK_ENTRY_BYTES: usize = 512;

/// The ReliableQueue message broker: never loses an acknowledged message, speaks the RocketMQ 5 gRPC API.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "rq-broker", version, after_help = EXAMPLES)]
pub struct Args {
    /// TOML file with any of these settings: the same names, limits under [limits].
    #[arg(long, env = "RQ_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory; formatted if it is empty.
    #[arg(long, env = "RQ_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address for clients [default: 127.0.0.1:8081].
    #[arg(long, env = "RQ_LISTEN", value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Address for /metrics, /livez, /startupz and /readyz [default: 127.0.0.1:8082].
    #[arg(long, env = "RQ_HTTP", value_name = "IP:PORT")]
    http: Option<SocketAddr>,
    /// Name of the cluster; the data directory remembers it [default: reliablequeue].
    #[arg(long, env = "RQ_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    /// Directory of the configuration of a cluster of local processes; without it this broker is alone.
    #[arg(long, env = "RQ_CONFIG_STORE", value_name = "DIR")]
    config_store: Option<PathBuf>,
    /// On Kubernetes, the `QueueShard` with the configuration, instead of --config-store; with --name and --advertise.
    #[arg(long, env = "RQ_QUEUE_SHARD", value_name = "NAMESPACE/NAME")]
    queue_shard: Option<ShardName>,
    #[command(flatten)]
    peers: PeerArgs,
    /// What people call this replica of a cluster: its pod on Kubernetes [default: the name of the cluster].
    #[arg(long, env = "RQ_NAME", value_name = "NAME")]
    name: Option<String>,
    /// With --queue-shard: where other replicas reach this one.
    #[arg(long, env = "RQ_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Whether this replica takes over by itself from a master that is gone [default: true].
    #[arg(long, env = "RQ_SELF_PROMOTION", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    self_promotion: Option<bool>,
    /// Make topics and consumer groups on first use.
    #[arg(long, env = "RQ_AUTO_CREATE", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    auto_create: Option<bool>,
    /// Use a file system that may lose what was flushed to it (overlay, tmpfs, NFS).
    #[arg(long, env = "RQ_ALLOW_UNSAFE_FILESYSTEM", value_name = "BOOL", num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    allow_unsafe_filesystem: Option<bool>,
    /// What to log: a level, or a filter such as `info,rq_broker=debug` [default: info].
    #[arg(long, env = "RQ_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How to log [default: text].
    #[arg(long, env = "RQ_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    #[command(flatten)]
    limits: LimitArgs,
}

const EXAMPLES: &str = "\
Examples:
  rq-broker --data /var/lib/rq
  rq-broker --data ./data --listen 0.0.0.0:8081 --auto-create
  rq-broker --config /etc/rq-broker.toml

A flag goes over its environment variable, that over the file, that over the default.
A DURATION is written 500ms, 20s, 5m, 72h or 14days; a SIZE 64KiB, 4MiB, 1GiB or a number of bytes.";

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What the broker is told, checked.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Config {
    /// Data directory.
    pub data: PathBuf,
    /// Address for clients.
    pub listen: SocketAddr,
    /// Address for metrics and health.
    pub http: SocketAddr,
    /// Name of the cluster, and of the broker in routes.
    pub cluster: String,
    /// Directory of the configuration of a cluster of local processes; none for a broker that is alone.
    pub config_store: Option<PathBuf>,
    /// Address for the other brokers, with TLS; none if they use the one for clients. All of these three or none.
    pub peer_listen: Option<SocketAddr>,
    /// Directory of what this broker shows to the others.
    pub peer_tls: Option<PathBuf>,
    /// The name in the certificate of every broker.
    pub peer_tls_name: Option<String>,
    /// What holds the configuration on Kubernetes.
    pub queue_shard: Option<ShardName>,
    /// What people call this replica; blank takes the name of the cluster.
    pub name: String,
    /// Where other replicas reach this one; blank where whoever watches over it tells them.
    pub advertise: String,
    /// It takes over by itself from a master that is gone.
    pub self_promotion: bool,
    /// Topics and consumer groups are made on first use.
    pub auto_create: bool,
    /// File systems that may lose what was flushed are accepted.
    pub allow_unsafe_filesystem: bool,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// The limits.
    pub limits: Limits,
}

/// Why the broker cannot be configured so.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file that cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// An environment variable that looks like one of ours and is none.
    #[error("the environment variable {name} is unknown: {}", instead_of_variable(.nearest.as_deref()))]
    UnknownVariable {
        /// Its name.
        name: String,
        /// One that is known and much like it.
        nearest: Option<String>,
    },
    /// No data directory.
    #[error("no data directory is given: add --data DIR")]
    NoData,
    /// Two places for one configuration.
    #[error("--config-store and --queue-shard exclude each other: give the one that holds the configuration")]
    TwoStores,
    /// Nobody could reach or name this replica.
    #[error("--queue-shard needs {0}: other replicas find this one by it")]
    Unreachable(&'static str),
    /// A blank cluster name.
    #[error("the name of the cluster is blank: give one with --cluster")]
    NoCluster,
    /// Links between brokers that are told by half.
    #[error(
        "{missing} is missing: give --peer-listen, --peer-tls and --peer-tls-name, or none of them; a port for other brokers has TLS"
    )]
    PeersByHalf {
        /// The first flag that was not given.
        missing: &'static str,
    },
    /// A limit out of its range.
    #[error("{limit} is {value}: use {min} to {max}")]
    OutOfRange {
        /// Its name.
        limit: String,
        /// What was given.
        value: String,
        /// Least.
        min: String,
        /// Most.
        max: String,
    },
    /// A send that could never be taken.
    #[error(
        "max-sends ({max_sends}) is less than one request may have: make it at least max-request ({max_request})"
    )]
    SendsTooSmall {
        /// Bytes of all sends.
        max_sends: units::Size,
        /// Largest request.
        max_request: units::Size,
    },
    /// Messages would be dropped before anybody is told of the group that does not consume them.
    #[error(
        "retention-inactive-group ({inactive}) is shorter than report-inactive ({report}), so that messages would be dropped before their group is reported: set report-inactive to {inactive} too, or retention-inactive-group to {report} or more"
    )]
    DroppedBeforeReported {
        /// When they may be dropped.
        inactive: units::Span,
        /// When the group is reported.
        report: units::Span,
    },
    /// A body that no request can carry.
    #[error(
        "max-request ({max_request}) leaves no room for a body of {max_body}: make it at least 64KiB larger"
    )]
    RequestTooSmall {
        /// Largest request.
        max_request: units::Size,
        /// Largest body.
        max_body: units::Size,
    },
}

fn instead_of_variable(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("use {nearest}, or unset it"),
        None => "unset it, or look for the right name in `rq-broker --help`".to_owned(),
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            http: SocketAddr::from(([127, 0, 0, 1], 8082)),
            cluster: "reliablequeue".to_owned(),
            config_store: None,
            peer_listen: None,
            peer_tls: None,
            peer_tls_name: None,
            queue_shard: None,
            name: String::new(),
            advertise: String::new(),
            self_promotion: true,
            auto_create: false,
            allow_unsafe_filesystem: false,
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Puts flags, environment (read by clap) and file together, and checks the whole.
    pub fn load(args: &Args) -> Result<Self, ConfigError> {
        let mut config = match &args.config {
            Some(path) => file::read(path)?,
            None => Self::default(),
        };
        config.overlay(args);
        config.check()?;
        Ok(config)
    }

    /// Checks the names of the process's environment variables: a misspelt one must not be passed over.
    pub fn check_environment(
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        environment::check(variables)
    }

    /// What was given by flag or environment variable goes over what is there.
    fn overlay(&mut self, args: &Args) {
        fn set<T: Clone>(value: &mut T, given: Option<&T>) {
            if let Some(given) = given {
                value.clone_from(given);
            }
        }
        set(&mut self.data, args.data.as_ref());
        set(&mut self.listen, args.listen.as_ref());
        set(&mut self.http, args.http.as_ref());
        set(&mut self.cluster, args.cluster.as_ref());
        if args.config_store.is_some() {
            self.config_store.clone_from(&args.config_store);
        }
        self.overlay_peers(&args.peers);
        if args.queue_shard.is_some() {
            self.queue_shard.clone_from(&args.queue_shard);
        }
        set(&mut self.name, args.name.as_ref());
        set(&mut self.advertise, args.advertise.as_ref());
        set(&mut self.self_promotion, args.self_promotion.as_ref());
        set(&mut self.auto_create, args.auto_create.as_ref());
        set(&mut self.allow_unsafe_filesystem, args.allow_unsafe_filesystem.as_ref());
        set(&mut self.log, args.log.as_ref());
        set(&mut self.log_format, args.log_format.as_ref());
        self.limits.overlay(&args.limits);
    }

    /// Checks what no single value shows.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.data.as_os_str().is_empty() {
            return Err(ConfigError::NoData);
        }
        if self.cluster.trim().is_empty() {
            return Err(ConfigError::NoCluster);
        }
        self.check_peers()?;
        self.check_store()?;
        self.limits.check()?;
        let Limits { max_request, max_body, max_sends, .. } = self.limits;
        if max_request.0 < max_body.0 + REQUEST_OVERHEAD_BYTES {
            return Err(ConfigError::RequestTooSmall { max_request, max_body });
        }
        if max_sends < max_request {
            return Err(ConfigError::SendsTooSmall { max_sends, max_request });
        }
        let report = self.limits.report_inactive;
        match self.limits.retention_inactive_group {
            Inactive::ExpireAfter(inactive) if inactive < report => {
                return Err(ConfigError::DroppedBeforeReported { inactive, report });
            }
            Inactive::ExpireAfter(_) | Inactive::Keep => {}
        }
        Ok(())
    }

    /// For the engine.
    pub fn engine(&self) -> EngineOptions {
        let limits = &self.limits;
        EngineOptions {
            data: self.data.clone(),
            log: rq_log::Options {
                cluster: self.cluster.clone(),
                shard: self.shard(),
                segment_bytes: limits.segment.0,
                prepared_segments: limits.prepared_segments as usize,
                tail_cache_bytes: limits.tail_cache.bytes(),
                allow_unsafe_filesystem: self.allow_unsafe_filesystem,
            },
            limits: ShardLimits {
                auto_create_topics: self.auto_create,
                auto_create_groups: self.auto_create,
                default_queues: limits.default_queues as u16,
                topics_max: limits.max_topics as usize,
                groups_max: limits.max_groups as usize,
                polls_max: limits.max_polls as usize,
                in_flight_max: limits.max_in_flight as u32,
                parked_max: limits.max_parked as u32,
                pending_max: limits.max_pending as u32,
                delayed_max: limits.max_delayed as usize,
                halves_max: limits.max_transactions as usize,
                transactions: TransactionLimits {
                    immunity_ms: limits.transaction_immunity.0,
                    interval_ms: limits.transaction_check_interval.0,
                    checks_max: limits.max_transaction_checks as u32,
                },
                retry_floor_ms: limits.retry_floor.0,
                free_bytes_min: limits.min_free.0,
            },
            inbox_bytes: limits.max_waiting.bytes(),
            checkpoint_bytes: limits.checkpoint_size.0,
            checkpoint_interval: limits.checkpoint_interval.duration(),
            retention: retention::Policy {
                keep_ms: limits.keep.0,
                keep_bytes: limits.keep_size.0,
                keep_dead_letters_ms: limits.keep_dead_letters.0,
                inactive_group: limits.retention_inactive_group.policy(),
                report_inactive_ms: limits.report_inactive.0,
                ..Default::default()
            },
        }
    }

    /// For the gateway, whose clients reach it at `address`.
    pub fn gateway(&self, address: SocketAddr) -> GatewayOptions {
        let limits = &self.limits;
        let (body_bytes, batch) = (limits.max_body.bytes(), limits.max_receive_batch as u32);
        let long_poll = limits.long_poll.duration();
        GatewayOptions {
            shard: self.shard(),
            broker_name: self.cluster.clone(),
            store_host: address.to_string(),
            messages: MessageLimits {
                body_bytes,
                properties: limits.max_properties as usize,
                properties_bytes: limits.max_properties_size.bytes(),
                delay_ms: limits.max_delay.0,
            },
            receives: ReceiveLimits {
                batch,
                long_poll,
                default_invisible_ms: limits.default_invisible.0,
                min_invisible_ms: limits.min_invisible.0,
                max_invisible_ms: limits.max_invisible.0,
                filter_tags: limits.max_filter_tags as usize,
            },
            ack_entries: limits.max_ack_entries as usize,
            sends_bytes: limits.max_sends.bytes(),
            settings: SettingsLimits { body_bytes, batch, long_poll },
        }
    }

    /// For the gRPC server.
    pub fn server(&self) -> ServerLimits {
        ServerLimits {
            connections: self.limits.max_connections as usize,
            request_bytes: self.limits.max_request.bytes(),
            small_request_bytes: SMALL_REQUEST_BYTES + self.limits.max_ack_entries as usize * ACK_ENTRY_BYTES,
        }
    }

    /// There is one shard for now.
    #[expect(clippy::unused_self, reason = "several shards come later, told by the configuration")]
    const fn shard(&self) -> ShardId {
        ShardId(0)
    }
}

#[cfg(test)]
mod tests;
