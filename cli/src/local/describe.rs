//! Questions to one replica, over a connection that stays: what it says of itself.

use std::time::Duration;

use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::layout::CLUSTER;

/// A replica that has not answered after so long is silent.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// The way to one replica. Connects when it is asked, and again if the connection broke.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    name: String,
    client: ReplicaClient<Channel>,
}

impl Replica {
    /// The replica of this name at `HOST:PORT`.
    pub(super) fn at(name: &str, address: &str) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let channel = endpoint.connect_timeout(PATIENCE).tcp_nodelay(true).connect_lazy();
        Ok(Self { name: name.to_owned(), client: ReplicaClient::new(channel) })
    }

    /// What it says of itself. Whoever else has taken its port is not believed.
    pub(super) async fn describe(&mut self) -> Result<pb::ReplicaStatus, Status> {
        let asked = self.client.describe(pb::DescribeReplicaRequest {});
        let answered = tokio::time::timeout(PATIENCE, asked).await;
        let status = answered.map_err(|_| Status::deadline_exceeded("no answer"))??.into_inner();
        if status.name == self.name && status.cluster == CLUSTER {
            Ok(status)
        } else {
            Err(Status::not_found(format!("the broker there is {} of {}", status.name, status.cluster)))
        }
    }
}
