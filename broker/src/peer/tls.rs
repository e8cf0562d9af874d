//! Mutual TLS: both ends show a certificate of one authority and of one name, whatever their addresses are. The files
//! are read for each handshake, so that renewed ones count from the next connection on. A connection that is there stays.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// The names of a Secret of type `kubernetes.io/tls`.
const AUTHORITY: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// What is spoken above TLS.
const HTTP_2: &[u8] = b"h2";
/// How long whoever connects may take for the handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(2);

/// What a broker shows to others of its cluster, and what it wants to see of them.
#[derive(Debug)]
pub(crate) struct PeerTls {
    dir: PathBuf,
    name: ServerName<'static>,
}

/// Why a broker has nothing that it could show to others.
#[derive(Debug, Error)]
pub enum PeerTlsError {
    /// No name that a certificate could have.
    #[error("{0:?} is no name for certificates: give a DNS name with --peer-tls-name")]
    Name(String),
    /// A file is not what it should be.
    #[error("{} cannot be read: the directory of --peer-tls has ca.crt, tls.crt and tls.key in PEM", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// The files do not fit each other.
    #[error(
        "the certificates in {} cannot be used: tls.crt and tls.key are one pair, and ca.crt has their authority", dir.display()
    )]
    Unusable {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate is not what others want to see.
    #[error("{} is not a certificate for {name}: make one with this name, or correct --peer-tls-name", path.display())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The name of --peer-tls-name.
        name: String,
    },
}

/// Why a connection to another broker was not made.
#[derive(Debug, Error)]
#[error(
    "the TLS handshake failed: check that ca.crt of both brokers is the same authority, that their certificates are valid for --peer-tls-name, and that the address is that of a --peer-listen"
)]
pub(crate) struct HandshakeFailed(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Why a connection from elsewhere is refused.
#[derive(Debug, Error)]
pub(crate) enum NotAPeer {
    /// This broker has nothing to show.
    #[error(transparent)]
    Identity(#[from] PeerTlsError),
    /// It has said too little, too late.
    #[error("the TLS handshake took more than {HANDSHAKE_PATIENCE:?}")]
    Late,
    /// It has gone.
    #[error("the connection was closed during the TLS handshake")]
    Gone(#[source] io::Error),
    /// It does not speak TLS, or has shown no certificate of the authority.
    #[error(
        "the TLS handshake failed: check that it is a broker of this cluster, with a certificate of the authority in ca.crt"
    )]
    Handshake(#[source] io::Error),
    /// It has shown a certificate of the authority that is not for a broker of this cluster.
    #[error(
        "its certificate is not for {0}: give all brokers of this cluster certificates with the name of --peer-tls-name"
    )]
    Name(String),
}

/// The files.
struct Shown {
    authority: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl PeerTls {
    /// Reads and checks what there is in the directory.
    pub(super) fn new(dir: PathBuf, name: String) -> Result<Self, PeerTlsError> {
        let Ok(server_name) = ServerName::try_from(name.clone()) else {
            return Err(PeerTlsError::Name(name));
        };
        let tls = Self { dir, name: server_name };
        tls.client()?;
        tls.server()?;
        if !tls.is_peer(&tls.read()?.chain) {
            return Err(PeerTlsError::OtherName { path: tls.dir.join(CERTIFICATE), name });
        }
        Ok(tls)
    }

    /// Goes on only with a broker of this cluster.
    pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<client::TlsStream<S>, HandshakeFailed> {
        let config = self.client().map_err(|error| HandshakeFailed(error.into()))?;
        let connected = TlsConnector::from(Arc::new(config)).connect(self.name.clone(), stream);
        connected.await.map_err(|error| HandshakeFailed(error.into()))
    }

    /// Takes only a broker, or an operator, of this cluster.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<server::TlsStream<S>, NotAPeer> {
        let acceptor = TlsAcceptor::from(Arc::new(self.server()?));
        let accepted = tokio::time::timeout(HANDSHAKE_PATIENCE, acceptor.accept(stream)).await;
        let stream = accepted.map_err(|_| NotAPeer::Late)?.map_err(|error| match error.get_ref() {
            Some(inner) if inner.is::<rustls::Error>() => NotAPeer::Handshake(error),
            _ => NotAPeer::Gone(error),
        })?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        if self.is_peer(shown) { Ok(stream) } else { Err(NotAPeer::Name(self.name.to_str().into_owned())) }
    }

    /// Whether a certificate, which the authority has signed, is one of this cluster.
    fn is_peer(&self, chain: &[CertificateDer<'_>]) -> bool {
        let own = chain.first().and_then(|own| ParsedCertificate::try_from(own).ok());
        own.is_some_and(|own| verify_server_name(&own, &self.name).is_ok())
    }

    fn client(&self) -> Result<ClientConfig, PeerTlsError> {
        let Shown { authority, chain, key } = self.read()?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| self.unusable(error))?
            .with_root_certificates(authority)
            .with_client_auth_cert(chain, key);
        let mut config = config.map_err(|error| self.unusable(error))?;
        config.alpn_protocols.push(HTTP_2.to_vec());
        Ok(config)
    }

    fn server(&self) -> Result<ServerConfig, PeerTlsError> {
        let Shown { authority, chain, key } = self.read()?;
        let clients = WebPkiClientVerifier::builder_with_provider(authority, provider()).build();
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| self.unusable(error))?
            .with_client_cert_verifier(clients.map_err(|error| self.unusable(error))?)
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| self.unusable(error))?;
        config.alpn_protocols.push(HTTP_2.to_vec());
        // The next connection may come when other certificates count.
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Three small files: no reason to go to another thread.
    fn read(&self) -> Result<Shown, PeerTlsError> {
        let mut authority = RootCertStore::empty();
        for certificate in certificates(&self.dir.join(AUTHORITY))? {
            authority.add(certificate).map_err(|error| self.unusable(error))?;
        }
        let key = self.dir.join(KEY);
        Ok(Shown {
            authority: Arc::new(authority),
            chain: certificates(&self.dir.join(CERTIFICATE))?,
            key: PrivateKeyDer::from_pem_file(&key)
                .map_err(|source| PeerTlsError::File { path: key, source })?,
        })
    }

    fn unusable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PeerTlsError {
        PeerTlsError::Unusable { dir: self.dir.clone(), source: source.into() }
    }
}

/// Told to rustls each time: it need not guess by what the process is built with.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// All certificates of a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PeerTlsError> {
    let unread = |source| PeerTlsError::File { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(unread)?.collect::<Result<_, _>>().map_err(unread)
}
