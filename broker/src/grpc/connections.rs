//! Connections to the client port: each is registered while it lives and tells its requests which one it is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;

use super::call::Connection;
use crate::clients::{Clients, Registration};

/// Pause after a failed accept (out of file descriptors, say), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection of a client.
pub(super) struct ClientStream {
    tcp: TcpStream,
    registration: Registration,
}

/// Accepts connections, at most `limit` at a time; more are closed at once.
pub(super) fn accept(
    listener: Arc<TcpListener>,
    clients: Arc<Clients>,
    limit: usize,
) -> impl Stream<Item = io::Result<ClientStream>> + Send {
    futures::stream::unfold((listener, clients), move |(listener, clients)| async move {
        loop {
            match listener.accept().await {
                Ok((_, remote)) if clients.connections() >= limit => {
                    tracing::warn!(%remote, limit, "connection refused: raise max-connections");
                }
                Ok((tcp, remote)) => {
                    if let Err(error) = tcp.set_nodelay(true) {
                        tracing::debug!(%remote, %error, "connection lost at once");
                        continue;
                    }
                    let registration = clients.connect();
                    return Some((Ok(ClientStream { tcp, registration }), (listener, clients)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

impl Connected for ClientStream {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        Connection {
            calls: Arc::clone(self.registration.calls()),
            local: self.tcp.local_addr().ok(),
            remote: self.tcp.peer_addr().ok(),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
