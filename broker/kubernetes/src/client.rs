//! The connection to the API server.

use std::time::Duration;

use kube::Client;
use thiserror::Error;

/// A connection that takes longer is made again: to another API server, if there is one.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// Why there is no client.
#[derive(Debug, Error)]
pub enum NoClient {
    /// Nothing says where the API server is.
    #[error(
        "nothing says where the API server is: in a pod, mount the token of its service account; elsewhere, set KUBECONFIG"
    )]
    Where(#[from] kube::config::InferConfigError),
    /// What says so cannot be used.
    #[error("the API server cannot be asked with what is configured for it")]
    Unusable(#[source] kube::Error),
}

/// A client of the API server that `KUBECONFIG` names, or else of the one that this pod belongs to. It repeats nothing by
/// itself: a write that was made twice would be refused the second time, and nobody knew by which write.
pub async fn client() -> Result<Client, NoClient> {
    let mut config = kube::Config::infer().await?;
    config.connect_timeout = Some(CONNECT_WITHIN);
    config.default_retry = false;
    Client::try_from(config).map_err(NoClient::Unusable)
}
