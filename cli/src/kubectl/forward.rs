//! A port of a pod on this machine, for as long as the value lives: every connection goes through the API server, so that
//! whoever may use `kubectl port-forward` needs no other way into the cluster.

use std::net::Ipv4Addr;
use std::pin::pin;
use std::time::Duration;

use futures::future::{self, Either};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::Portforwarder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::failure::KubeFailure;
use crate::endpoint::{Endpoint, innermost};

/// The pod's node says why a connection cannot be within this time of its end.
const WORD: Duration = Duration::from_millis(200);

/// An open way to a pod.
pub(super) struct Forward {
    pub(super) endpoint: Endpoint,
    /// What the pod's node said last of why it cannot.
    trouble: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl Forward {
    /// To this port of this pod. Asks for the first connection at once, so that a refusal is known.
    pub(super) async fn open(pods: Api<Pod>, pod: &str, port: u16) -> Result<Self, KubeFailure> {
        let closed = |reason: String| KubeFailure::NotForwarded { pod: pod.to_owned(), reason };
        let first = pods.portforward(pod, &[port]).await.map_err(|error| closed(refusal(&error)))?;
        let local = async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let port = listener.local_addr()?.port();
            Ok::<_, std::io::Error>((listener, port))
        };
        let (listener, local_port) = local.await.map_err(|error| closed(error.to_string()))?;
        let (told, trouble) = watch::channel(None);
        let task = tokio::spawn(accept(listener, pods, pod.to_owned(), port, first, told));
        Ok(Self { endpoint: Endpoint::local(local_port), trouble, task })
    }

    /// Why a connection that failed did, if the pod's node says so.
    pub(super) async fn trouble(&self) -> Option<String> {
        let mut trouble = self.trouble.clone();
        let said = tokio::time::timeout(WORD, trouble.wait_for(Option::is_some)).await.ok()?;
        said.ok()?.clone()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    pods: Api<Pod>,
    pod: String,
    port: u16,
    first: Portforwarder,
    told: watch::Sender<Option<String>>,
) {
    let mut ready = Some(first);
    while let Ok((socket, _)) = listener.accept().await {
        let forwarder = match ready.take() {
            Some(forwarder) => Ok(forwarder),
            None => pods.portforward(&pod, &[port]).await,
        };
        match forwarder {
            Ok(forwarder) => drop(tokio::spawn(carry(socket, forwarder, port, told.clone()))),
            Err(error) => drop(told.send_replace(Some(refusal(&error)))),
        }
    }
}

/// Both ways, until one side closes or the pod's node says that it cannot.
async fn carry(
    mut socket: TcpStream,
    mut forwarder: Portforwarder,
    port: u16,
    told: watch::Sender<Option<String>>,
) {
    let error = forwarder.take_error(port);
    let Some(mut stream) = forwarder.take_stream(port) else { return };
    let refused = async {
        match error {
            Some(error) => error.await,
            None => None,
        }
    };
    // The end of a connection is seen by who uses it.
    let carried = async { drop(tokio::io::copy_bidirectional(&mut socket, &mut stream).await) };
    let said = match future::select(pin!(refused), pin!(carried)).await {
        Either::Left((None, carried)) => {
            carried.await;
            None
        }
        Either::Left((said, _)) => said,
        Either::Right(((), refused)) => tokio::time::timeout(WORD, refused).await.ok().flatten(),
    };
    if let Some(said) = said {
        told.send_replace(Some(said.trim().to_owned()));
    }
}

fn refusal(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => innermost(other),
    }
}
