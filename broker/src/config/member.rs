//! What a broker is told as a member of a cluster.

use std::net::Ipv6Addr;

use super::{Config, ConfigError};
use crate::engine::cluster::Rules;

impl Config {
    /// Checks that the configuration has one place, and that others find this replica by what it says there.
    pub(super) fn check_store(&self) -> Result<(), ConfigError> {
        if self.queue_shard.is_none() {
            return Ok(());
        }
        if self.config_store.is_some() {
            return Err(ConfigError::TwoStores);
        }
        if self.name.trim().is_empty() {
            return Err(ConfigError::Unreachable("--name NAME"));
        }
        let port = self.advertise.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
            return Err(ConfigError::Unreachable("--advertise HOST:PORT"));
        }
        Ok(())
    }

    /// Whether this broker is a member of a cluster.
    pub fn is_member(&self) -> bool {
        self.config_store.is_some() || self.queue_shard.is_some()
    }

    /// Where other replicas reach this one. The address of a pod comes without the brackets that IPv6 needs before a port.
    pub fn advertised(&self) -> String {
        match self.advertise.rsplit_once(':') {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
            _ => self.advertise.clone(),
        }
    }

    /// For a member of a cluster.
    pub fn rules(&self) -> Rules {
        Rules {
            self_promotion: self.self_promotion,
            ack_timeout_ms: self.limits.ack_timeout.0,
            rejoin_lag_bytes: self.limits.rejoin_lag.0,
        }
    }
}
