//! One address that keeps working, as the service of a cluster is to its clients: each new connection goes to whoever
//! serves, and those to a replica that hangs are cut. Carries bytes and looks at none.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Longest wait for one backend.
const CONNECT: Duration = Duration::from_millis(300);
/// Pause before all are tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// Where connections go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Backends {
    /// To be tried in this order.
    pub(crate) order: Vec<SocketAddr>,
    /// Whose connections are cut.
    pub(crate) hang: BTreeSet<SocketAddr>,
}

/// Accepts until it is dropped.
pub(crate) async fn serve(listener: TcpListener, backends: watch::Receiver<Backends>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(carry(client, backends.clone()))),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn carry(mut client: TcpStream, mut backends: watch::Receiver<Backends>) {
    let (mut server, address) = reach(&mut backends).await;
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = backends.wait_for(|backends| backends.hang.contains(&address)) => {}
    }
}

async fn reach(backends: &mut watch::Receiver<Backends>) -> (TcpStream, SocketAddr) {
    loop {
        let order = backends.borrow_and_update().order.clone();
        for address in order {
            if let Ok(Ok(server)) = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                return (server, address);
            }
        }
        let _ = tokio::time::timeout(AGAIN, backends.changed()).await;
    }
}
