//! Connections to the port for clients and to that for other brokers: each is registered while it lives and tells its
//! requests which one it is.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::call::Connection;
use crate::clients::{Clients, Registration};
use crate::peer::{NotAPeer, PeerTls};

/// Pause after a failed accept (out of file descriptors, say), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Handshakes that go on at once; more wait for their turn.
const HANDSHAKES_MAX: usize = 256;

/// A connection over which calls come.
pub(super) struct CallStream<S> {
    io: S,
    registration: Registration,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

/// Accepts connections, at most `limit` at a time; more are closed at once.
pub(super) fn accept(
    listener: Arc<TcpListener>,
    clients: Arc<Clients>,
    limit: usize,
) -> impl Stream<Item = io::Result<CallStream<TcpStream>>> + Send {
    incoming(listener).filter_map(move |(tcp, remote)| {
        let accepted = if clients.connections() < limit {
            let local = tcp.local_addr().ok();
            Some(Ok(CallStream::new(tcp, local, remote, &clients)))
        } else {
            tracing::warn!(%remote, limit, "connection refused: raise max-connections");
            None
        };
        std::future::ready(accepted)
    })
}

/// Accepts connections of whoever shows that it belongs to this cluster. However many clients there are.
pub(super) fn accept_peers(
    listener: TcpListener,
    clients: Arc<Clients>,
    tls: Arc<PeerTls>,
) -> impl Stream<Item = io::Result<CallStream<TlsStream<TcpStream>>>> + Send {
    let handshake = move |(tcp, remote): (TcpStream, SocketAddr)| {
        let (tls, clients) = (Arc::clone(&tls), Arc::clone(&clients));
        async move {
            let local = tcp.local_addr().ok();
            match tls.accept(tcp).await {
                Ok(stream) => Some(Ok(CallStream::new(stream, local, remote, &clients))),
                Err(error) => {
                    say_refused(remote, &error);
                    None
                }
            }
        }
    };
    let handshakes = incoming(Arc::new(listener)).map(handshake).buffer_unordered(HANDSHAKES_MAX);
    handshakes.filter_map(std::future::ready)
}

/// Somebody who goes at once has only looked whether anybody listens.
fn say_refused(remote: SocketAddr, error: &NotAPeer) {
    let reason: &(dyn Error + 'static) = error;
    if matches!(error, NotAPeer::Gone(_)) {
        tracing::debug!(%remote, reason, "a connection to the port for other brokers was not made");
    } else {
        tracing::warn!(%remote, reason, "a connection to the port for other brokers is refused");
    }
}

/// Connections as they come.
fn incoming(listener: Arc<TcpListener>) -> impl Stream<Item = (TcpStream, SocketAddr)> + Send {
    futures::stream::unfold(listener, |listener| async {
        loop {
            match listener.accept().await {
                Ok((tcp, remote)) => match tcp.set_nodelay(true) {
                    Ok(()) => return Some(((tcp, remote), listener)),
                    Err(error) => tracing::debug!(%remote, %error, "connection lost at once"),
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

impl<S> CallStream<S> {
    fn new(io: S, local: Option<SocketAddr>, remote: SocketAddr, clients: &Arc<Clients>) -> Self {
        Self { io, registration: clients.connect(), local, remote: Some(remote) }
    }
}

impl<S> Connected for CallStream<S> {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        Connection { calls: Arc::clone(self.registration.calls()), local: self.local, remote: self.remote }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CallStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CallStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
