//! Where the broker is, and how to connect to it.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tonic::transport::Channel;

/// HTTP/2 windows of a connection and of a stream: as large as a full batch of answers to be read at once.
const WINDOW_BYTES: u32 = 4 << 20;
/// A watched connection is asked for a sign of life so often, and given up when there is none for so long.
const PING_INTERVAL: Duration = Duration::from_millis(500);
const PING_PATIENCE: Duration = Duration::from_secs(1);
/// A watched connection that broke is tried again for so long at a time.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// Address of a broker, `HOST:PORT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
}

/// What is wrong with an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum EndpointError {
    #[error("give HOST:PORT, for example 127.0.0.1:8081")]
    Form,
    #[error("the port is a number from 1 to 65535")]
    Port,
    #[error("TLS is not supported yet: give HOST:PORT of a plaintext listener")]
    Tls,
}

/// No connection.
#[derive(Debug, Error)]
#[error(
    "cannot reach a broker at {endpoint}: {reason}; start one with `rq-broker --data DIR`, or say where it is with --endpoint or RQ_ENDPOINT"
)]
pub(crate) struct Unreachable {
    pub(crate) endpoint: String,
    pub(crate) reason: String,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.starts_with("https://") {
            return Err(EndpointError::Tls);
        }
        let text = text.strip_prefix("http://").unwrap_or(text);
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError::Form)?;
        let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || bare_v6 || host.contains(['/', ' ', '@']) {
            return Err(EndpointError::Form);
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(EndpointError::Port)?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Endpoint {
    /// A port of this machine.
    pub(crate) fn local(port: u16) -> Self {
        Self { host: Ipv4Addr::LOCALHOST.to_string(), port }
    }

    /// Connects; the channel reconnects by itself later on.
    pub(crate) async fn connect(&self, timeout: Duration) -> Result<Channel, Unreachable> {
        self.open(self.channel()?, timeout).await
    }

    /// The same, and a machine that is gone at the other end is noticed in seconds, though nothing says so: a load must go on
    /// by another connection, for the service behind the address may have other machines.
    pub(crate) async fn connect_watched(&self, timeout: Duration) -> Result<Channel, Unreachable> {
        let watched = self
            .channel()?
            .connect_timeout(RECONNECT_PATIENCE)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_PATIENCE)
            .keep_alive_while_idle(true);
        self.open(watched, timeout).await
    }

    fn channel(&self) -> Result<tonic::transport::Endpoint, Unreachable> {
        let endpoint = Channel::from_shared(format!("http://{self}"));
        let endpoint = endpoint.map_err(|error| self.unreachable(error.to_string()))?;
        Ok(endpoint
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES))
    }

    async fn open(
        &self,
        endpoint: tonic::transport::Endpoint,
        timeout: Duration,
    ) -> Result<Channel, Unreachable> {
        match tokio::time::timeout(timeout, endpoint.connect()).await {
            Ok(connected) => connected.map_err(|error| self.unreachable(innermost(&error))),
            Err(_) => {
                Err(self.unreachable(format!("no answer within {}", humantime::format_duration(timeout))))
            }
        }
    }

    fn unreachable(&self, reason: String) -> Unreachable {
        Unreachable { endpoint: self.to_string(), reason }
    }
}

/// The first cause of an error: what the system said, without the layers above.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_alike() {
        for text in ["127.0.0.1:8081", "rq.example:1", "[::1]:8081"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("http://a:80".parse::<Endpoint>().unwrap().to_string(), "a:80");
    }

    #[test]
    fn wrong_addresses_are_told_apart() {
        assert_eq!("localhost".parse::<Endpoint>(), Err(EndpointError::Form));
        assert_eq!(":8081".parse::<Endpoint>(), Err(EndpointError::Form));
        assert_eq!("::1:8081".parse::<Endpoint>(), Err(EndpointError::Form));
        assert_eq!("a:b".parse::<Endpoint>(), Err(EndpointError::Port));
        assert_eq!("a:0".parse::<Endpoint>(), Err(EndpointError::Port));
        assert_eq!("a:65536".parse::<Endpoint>(), Err(EndpointError::Port));
        assert_eq!("https://a:8081".parse::<Endpoint>(), Err(EndpointError::Tls));
    }
}
