//! Links between the brokers of a cluster: how one dials another, in the clear or with mutual TLS. Whoever connects to
//! another replica does it by [`PeerLinks`]; how the other end is served is in `grpc/server.rs`.

mod tls;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint, Error};
use tower::Service;

pub use self::tls::PeerTlsError;
pub(crate) use self::tls::{NotAPeer, PeerTls};

/// How the other replicas are reached. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct PeerLinks {
    /// None where they are reached in the clear, at the port of the clients.
    tls: Option<Arc<PeerTls>>,
}

/// A connection to another replica.
type Stream = TokioIo<Either<TcpStream, TlsStream<TcpStream>>>;

impl PeerLinks {
    /// Links with mutual TLS: the directory has the certificate of this broker, and every peer's has this name.
    pub fn with_tls(dir: PathBuf, name: String) -> Result<Self, PeerTlsError> {
        Ok(Self { tls: Some(Arc::new(PeerTls::new(dir, name)?)) })
    }

    /// What both ends show, if they do.
    pub(crate) const fn tls(&self) -> Option<&Arc<PeerTls>> {
        self.tls.as_ref()
    }

    /// Where a replica serves, as its member entry says it: HOST:PORT.
    pub(crate) fn endpoint(address: &str) -> Result<Endpoint, Error> {
        // TLS is below: tonic need not know of it.
        Ok(Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true))
    }

    /// Connects now.
    pub(crate) async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, Error> {
        endpoint.connect_with_connector(self.connector()).await
    }

    /// Connects when the first call comes, and again whenever the connection broke.
    pub(crate) fn connect_lazily(&self, endpoint: &Endpoint) -> Channel {
        endpoint.connect_with_connector_lazy(self.connector())
    }

    /// Each connection reads the certificates anew, so that renewed ones are used without a restart.
    fn connector(
        &self,
    ) -> impl Service<Uri, Response = Stream, Error = io::Error, Future: Send> + Send + 'static {
        let tls = self.tls.clone();
        tower::service_fn(move |to: Uri| {
            let tls = tls.clone();
            async move {
                let address = to.authority().map_or("", |authority| authority.as_str());
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let stream = match tls {
                    None => Either::Left(tcp),
                    Some(tls) => Either::Right(tls.connect(tcp).await.map_err(io::Error::other)?),
                };
                Ok(TokioIo::new(stream))
            }
        })
    }
}

#[cfg(test)]
mod tests;
