//! Why a command of `rq local` failed, and what to do about it.

use std::io;
use std::path::PathBuf;

use rq_config_files::StoreError;
use thiserror::Error;

use crate::endpoint::EndpointError;

/// The end of a command that did not do what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum LocalError {
    /// There is nothing in the directory.
    #[error(
        "there is no cluster in {}: start one with `rq local up`, or say where it is with --data", .0.display()
    )]
    NoCluster(PathBuf),
    /// No supervisor.
    #[error("the cluster in {} is not running: start it with `rq local up`", .0.display())]
    NotRunning(PathBuf),
    /// Another supervisor holds the directory.
    #[error("another supervisor watches over {}: see `rq local status`, or stop it with `rq local down`", .0.display())]
    Supervised(PathBuf),
    /// What is written down about the cluster cannot be read.
    #[error("cannot understand {}: {source}; stop its brokers and remove the file", .path.display())]
    Malformed { path: PathBuf, source: serde_json::Error },
    /// A replica must not be forgotten by accident.
    #[error(
        "the cluster has {has} replicas, and {asked} are asked for: a replica is not taken away by `up`; leave --replicas out"
    )]
    Fewer { has: u16, asked: u16 },
    /// It runs, and otherwise.
    #[error(
        "the cluster runs with {option} {is}, and {option} {asked} is asked for: stop it with `rq local down` and start it again, its data stays; or leave {option} out"
    )]
    Differs { option: &'static str, is: String, asked: String },
    /// The ports would not fit.
    #[error("{replicas} replicas need {needed} ports from --base-port on, and {base} is too high for that")]
    Ports { base: u16, replicas: u16, needed: u16 },
    /// No broker to start.
    #[error(
        "rq-broker is neither beside rq nor on the PATH: build it with `make release`, or name it with --broker FILE"
    )]
    NoBroker,
    /// The supervisor ended.
    #[error("the supervisor ended ({how}): {said}; all it said is in {}", .log.display())]
    SupervisorEnded { how: String, said: String, log: PathBuf },
    /// A broker ends again and again.
    #[error("{name} ended {times} times ({how}): {said}; all it said is in {}", .log.display())]
    BrokerEnds { name: String, times: u32, how: String, said: String, log: PathBuf },
    /// The same, while others serve.
    #[error(
        "{what}\nthe cluster serves without {name}, with {copies} in sync: mend {name}, or stop all with `rq local down`"
    )]
    ServesWithout { name: String, copies: usize, what: String },
    /// Something keeps the cluster from serving.
    #[error("the cluster does not serve: {0}")]
    Trouble(String),
    /// Too slow, or something is wrong that nobody has noticed.
    #[error(
        "the cluster is not whole after {waited}: {why}; it goes on in the background, see `rq local status` and the logs in {}", .dir.display()
    )]
    NotWhole { waited: String, why: String, dir: PathBuf },
    /// A name that nobody has.
    #[error("there is no replica {name:?}: the replicas are {}", .names.join(", "))]
    NoReplica { name: String, names: Vec<String> },
    /// A role that nobody has.
    #[error("there is no {0} now: see `rq local status`, and name a replica")]
    NobodyIs(&'static str),
    /// The process of a replica is gone.
    #[error("{0} has no process now: it is started again within a second or two, see `rq local status`")]
    NoProcess(String),
    /// What the endpoint of a cluster is written down as.
    #[error("cannot ask the cluster at {endpoint}: {reason}")]
    Endpoint { endpoint: String, reason: EndpointError },
    /// The cluster has no configuration: not yet, or not any more.
    #[error("nothing in {} says who is master: see `rq local status`, and name a replica", .0.display())]
    NoConfig(PathBuf),
    /// The system refused something.
    #[error("cannot {doing} {}: {source}", .path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// The address for clients is taken.
    #[error("cannot serve clients on {endpoint}: {source}; choose other ports with --base-port")]
    Listen { endpoint: String, source: io::Error },
    /// A process could not be started or signalled.
    #[error("cannot {doing} {what}: {source}")]
    Process { doing: &'static str, what: String, source: io::Error },
    /// Something that was told to end has not.
    #[error("{what} did not end within {waited}: look at it with `ps -p {pid}`")]
    DoesNotEnd { what: String, pid: u32, waited: String },
    /// The configuration.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LocalError {
    /// No such cluster, or no such replica.
    pub(crate) const fn is_not_found(&self) -> bool {
        matches!(self, Self::NoCluster(_) | Self::NoReplica { .. })
    }

    /// What runs can be of use all the same.
    pub(super) const fn leaves_it_running(&self) -> bool {
        matches!(self, Self::NotWhole { .. } | Self::ServesWithout { .. })
    }

    /// A broker that does not stay is no reason to stop so many others that are in sync and serve.
    pub(super) fn while_others_serve(self, serving: Option<usize>) -> Self {
        match (self, serving) {
            (Self::BrokerEnds { name, times, how, said, log }, Some(copies)) => {
                let ends = Self::BrokerEnds { name: name.clone(), times, how, said, log };
                Self::ServesWithout { name, copies, what: ends.to_string() }
            }
            (other, _) => other,
        }
    }

    /// Nothing runs there.
    pub(crate) const fn is_unreachable(&self) -> bool {
        matches!(self, Self::NotRunning(_))
    }

    /// The command line asks for what cannot be.
    pub(crate) const fn is_usage(&self) -> bool {
        matches!(self, Self::Fewer { .. } | Self::Ports { .. })
    }
}
