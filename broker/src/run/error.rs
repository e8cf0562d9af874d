//! Why a broker ends other than by being told to.

use std::path::PathBuf;

use thiserror::Error;

use crate::config::units::Span;
use crate::engine::StartError;
use crate::peer::PeerTlsError;

/// Why a broker ended other than by being told to.
#[derive(Debug, Error)]
pub enum RunError {
    /// The engine did not start.
    #[error("the broker did not start")]
    Start(#[from] StartError),
    /// It has nothing to show to the other brokers.
    #[error("the links to other brokers cannot be had")]
    Peers(#[from] PeerTlsError),
    /// The configuration that is kept beside the log cannot be read.
    #[error("the configuration that is kept beside the log cannot be used")]
    Kept(#[from] rq_config_files::StoreError),
    /// There is no way to the API server of Kubernetes.
    #[error("the broker finds no way to its QueueShard")]
    ApiServer(#[from] rq_kubernetes::NoClient),
    /// A socket failed.
    #[error("a listening socket failed")]
    Socket(#[from] std::io::Error),
    /// The gRPC server failed.
    #[error("the gRPC server failed")]
    Serve(#[from] tonic::transport::Error),
    /// The data directory is not there any more. Threads of the engine still run: the caller ends the process.
    #[error(
        "{} is gone while the broker ran: what it would store is in no place where a restart finds it; bring it back, or start with an empty directory and let it copy another replica",
        .0.display()
    )]
    DataGone(PathBuf),
    /// The stop took too long, so it was given up. Threads of the engine still run: the caller ends the process.
    #[error(
        "the broker was told to stop, and {doing} did not end within {within}: its disk may be slow or full; nothing acknowledged is lost, the next start recovers it"
    )]
    NotStopped {
        /// What went on.
        doing: &'static str,
        /// How long it was given.
        within: Span,
    },
    /// A task of the broker panicked.
    #[error("a task of the broker failed")]
    Task(#[from] tokio::task::JoinError),
}
