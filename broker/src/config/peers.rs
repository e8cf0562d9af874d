//! The port for other brokers: its address, its certificates and their name come together or not at all.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Config, ConfigError};
use crate::peer::{PeerLinks, PeerTlsError};

/// The port for other brokers as flags and environment variables tell of it.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct PeerArgs {
    /// Address for the other brokers, with mutual TLS; without it they use the one for clients, in the clear.
    #[arg(long, env = "RQ_PEER_LISTEN", value_name = "IP:PORT")]
    peer_listen: Option<SocketAddr>,
    /// Directory of the certificate that this broker shows to others, and of their authority: tls.crt, tls.key, ca.crt.
    #[arg(long, env = "RQ_PEER_TLS", value_name = "DIR")]
    peer_tls: Option<PathBuf>,
    /// The name in the certificate of every broker of the cluster.
    #[arg(long, env = "RQ_PEER_TLS_NAME", value_name = "NAME")]
    peer_tls_name: Option<String>,
}

impl Config {
    /// What was given by flag or environment variable goes over what is there.
    pub(super) fn overlay_peers(&mut self, args: &PeerArgs) {
        self.peer_listen = args.peer_listen.or(self.peer_listen);
        if args.peer_tls.is_some() {
            self.peer_tls.clone_from(&args.peer_tls);
        }
        if args.peer_tls_name.is_some() {
            self.peer_tls_name.clone_from(&args.peer_tls_name);
        }
    }

    /// Checks that nothing of it is missing.
    pub(super) fn check_peers(&self) -> Result<(), ConfigError> {
        let missing = match (&self.peer_listen, &self.peer_tls, &self.peer_tls_name) {
            (None, None, None) | (Some(_), Some(_), Some(_)) => return Ok(()),
            (None, ..) => "--peer-listen",
            (_, None, _) => "--peer-tls",
            (.., None) => "--peer-tls-name",
        };
        Err(ConfigError::PeersByHalf { missing })
    }

    /// For the links to other brokers. Reads the certificates: a broker whose others would refuse it does not start.
    pub fn peer_links(&self) -> Result<PeerLinks, PeerTlsError> {
        match (&self.peer_tls, &self.peer_tls_name) {
            (Some(dir), Some(name)) => PeerLinks::with_tls(dir.clone(), name.clone()),
            _ => Ok(PeerLinks::default()),
        }
    }
}
