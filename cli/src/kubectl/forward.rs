//! A port of a pod on this machine, for as long as the value lives: every connection goes through the API server, so that
//! whoever may use `kubectl port-forward` needs no other way into the cluster.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::Portforwarder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::failure::KubeFailure;
use crate::endpoint::{Endpoint, innermost};

/// An open way to a pod.
pub(super) struct Forward {
    pub(super) endpoint: Endpoint,
    trouble: Trouble,
    task: JoinHandle<()>,
}

/// What the pod's node said last of why it cannot.
type Trouble = Arc<Mutex<Option<String>>>;

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
        let trouble = Trouble::default();
        let task = tokio::spawn(accept(listener, pods, pod.to_owned(), port, first, trouble.clone()));
        Ok(Self { endpoint: Endpoint::local(local_port), trouble, task })
    }

    /// Why connections end, if the pod's node said so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
    trouble: Trouble,
) {
    let mut ready = Some(first);
    while let Ok((socket, _)) = listener.accept().await {
        let forwarder = match ready.take() {
            Some(forwarder) => Ok(forwarder),
            None => pods.portforward(&pod, &[port]).await,
        };
        match forwarder {
            Ok(forwarder) => drop(tokio::spawn(carry(socket, forwarder, port, trouble.clone()))),
            Err(error) => note(&trouble, refusal(&error)),
        }
    }
}

/// Both ways, until one side closes.
async fn carry(mut socket: TcpStream, mut forwarder: Portforwarder, port: u16, trouble: Trouble) {
    let error = forwarder.take_error(port);
    let Some(mut stream) = forwarder.take_stream(port) else { return };
    // The end of a connection is seen by who uses it.
    let _ = tokio::io::copy_bidirectional(&mut socket, &mut stream).await;
    drop((socket, stream));
    if let Some(error) = error
        && let Some(said) = error.await
    {
        note(&trouble, said.trim().to_owned());
    }
}

fn note(trouble: &Trouble, said: String) {
    *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
}

fn refusal(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => innermost(other),
    }
}
