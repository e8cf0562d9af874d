//! `reliablequeue.v1.Replica`: what this process says of itself, whoever is the master.

mod check;
mod configuration;

use std::time::Instant;

use rq_core::ids::{ClientHash, ConnectionId, Epoch, HeldId, Lsn, NoStoreId, Session, StoreId};
use rq_core::queue::request::{Checked, LiveClient, Name, TakeChecks, Vouch};
use rq_core::replication::Phase;
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::replica_server::{Replica, ReplicaServer};
use tonic::{Request, Response, Status};

use super::call::Connection;
use super::promotion::{self, Acceptance};
use super::{Gateway, checks};
use crate::config_store::Kept;
use crate::engine::EngineError;
use crate::engine::cluster::{Role, SlaveView};

/// What the service is told.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// What people call this replica.
    pub name: String,
    /// Its data directory.
    pub data_dir: String,
    /// Which session of its store this is.
    pub session: u64,
    /// The configuration that it keeps beside its log, where it does.
    pub kept: Option<Kept>,
}

/// The service, for other replicas too or for people alone.
pub fn service(gateway: Gateway, options: ReplicaOptions, from_peers: bool) -> ReplicaServer<impl Replica> {
    ReplicaServer::new(Service { gateway, options, from_peers, began: Instant::now() })
}

struct Service {
    gateway: Gateway,
    options: ReplicaOptions,
    from_peers: bool,
    began: Instant,
}

#[tonic::async_trait]
impl Replica for Service {
    type CheckSegmentsStream = check::Checks;

    async fn state_hash(
        &self,
        request: Request<pb::StateHashRequest>,
    ) -> Result<Response<pb::StateHashResponse>, Status> {
        check::state_hash(&self.gateway.engine, Lsn(request.into_inner().lsn), &self.gateway.stopping)
            .await
            .map(Response::new)
    }

    async fn check_segments(
        &self,
        request: Request<pb::CheckSegmentsRequest>,
    ) -> Result<Response<check::Checks>, Status> {
        let check_only = request.into_inner().check_only;
        Ok(Response::new(check::segments(&self.gateway.engine, check_only, &self.gateway.stopping)))
    }

    async fn describe(
        &self,
        _: Request<pb::DescribeReplicaRequest>,
    ) -> Result<Response<pb::ReplicaStatus>, Status> {
        let (identity, figures) = (self.gateway.engine.identity(), self.gateway.engine.figures());
        let view = self.gateway.engine.view().borrow().clone();
        let (role, phase) = match view.role {
            Role::Idle => (pb::Role::Unspecified, None),
            Role::Slave(slave) => (pb::Role::Slave, Some(phase(slave))),
            Role::Master { .. } => (pb::Role::Master, None),
        };
        Ok(Response::new(pb::ReplicaStatus {
            name: self.options.name.clone(),
            cluster: identity.cluster.clone(),
            shard: identity.shard.0.into(),
            store_id: identity.store_id.to_string(),
            session: self.options.session,
            role: role.into(),
            serving: view.serves(),
            epoch: view.epoch().0,
            promised: view.promised.0,
            log_epoch: view.log_epoch.0,
            config_version: view.config.as_ref().map_or(0, |config| config.version),
            master: view.config.as_ref().map_or_else(String::new, |config| config.master.to_string()),
            log_start_lsn: figures.start.0,
            end_lsn: view.end.0,
            durable_lsn: figures.durable.0,
            commit_lsn: figures.commit.0,
            phase: phase.unwrap_or_default().into(),
            master_silent_ms: view.master_silent_ms,
            slaves: view.slaves.iter().map(|(store, slave)| peer(*store, slave)).collect(),
            data_dir: self.options.data_dir.clone(),
            uptime_ms: self.began.elapsed().as_millis() as u64,
            halted: view.halted.map(|halt| halt.to_string()).unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            disk_free_bytes: figures.available_bytes,
            disk_total_bytes: figures.total_bytes,
            accepts_messages: figures.accepts_messages,
            flush_mode: view.flush_mode.map(configuration::flush_mode).unwrap_or_default().into(),
            flush_interval_ms: view.flush_interval_ms,
            config: self.config(view.config.as_ref()),
        }))
    }

    async fn vouch(&self, request: Request<pb::VouchRequest>) -> Result<Response<pb::VouchResponse>, Status> {
        self.check_peer("vouches for its clients")?;
        let living = |client: pb::LivingClient| LiveClient {
            client: ClientHash(client.client),
            connection: ConnectionId(client.connection),
            idle_ms: client.idle_ms,
        };
        let clients = request.into_inner().clients.into_iter().map(living).collect();
        let vouched =
            self.gateway.engine.request(rq_core::queue::request::Request::Vouch(Vouch { clients })).await;
        vouched.map_err(unavailable)?;
        Ok(Response::new(pb::VouchResponse {}))
    }

    async fn take_checks(
        &self,
        request: Request<pb::TakeChecksRequest>,
    ) -> Result<Response<pb::TakeChecksResponse>, Status> {
        self.check_peer("asks producers")?;
        let pb::TakeChecksRequest { topics, most, wait_ms } = request.into_inner();
        let take = TakeChecks { topics: topics.into_iter().map(Name::from).collect(), most, wait_ms };
        let checks = checks::take(&self.gateway, take).await.map_err(unavailable)?;
        Ok(Response::new(pb::TakeChecksResponse { checks }))
    }

    async fn report_checks(
        &self,
        request: Request<pb::ReportChecksRequest>,
    ) -> Result<Response<pb::ReportChecksResponse>, Status> {
        self.check_peer("asks producers")?;
        let pb::ReportChecksRequest { asked, unasked } = request.into_inner();
        let ids = |halves: Vec<u64>| halves.into_iter().map(HeldId).collect();
        let checked = Checked { asked: ids(asked), unasked: ids(unasked) };
        self.gateway.engine.checked(checked).await.map_err(unavailable)?;
        Ok(Response::new(pb::ReportChecksResponse {}))
    }

    async fn hand_over(
        &self,
        request: Request<pb::HandOverRequest>,
    ) -> Result<Response<pb::HandOverResponse>, Status> {
        let store: StoreId = request
            .into_inner()
            .to_store
            .parse()
            .map_err(|error: NoStoreId| Status::invalid_argument(error.to_string()))?;
        promotion::hand_over(&self.gateway.engine, store)?;
        Ok(Response::new(pb::HandOverResponse {}))
    }

    async fn accept_data_loss(
        &self,
        request: Request<pb::AcceptDataLossRequest>,
    ) -> Result<Response<pb::AcceptDataLossResponse>, Status> {
        let remote = request.extensions().get::<Connection>().and_then(|connection| connection.remote);
        let by = remote.map_or_else(|| "unknown".to_owned(), |remote| remote.to_string());
        let pb::AcceptDataLossRequest { shard, epoch } = request.into_inner();
        let acceptance = Acceptance { shard, epoch: Epoch(epoch), by };
        promotion::accept_data_loss(&self.gateway.engine, Session(self.options.session), &acceptance)?;
        Ok(Response::new(pb::AcceptDataLossResponse {}))
    }
}

impl Service {
    fn check_peer(&self, does: &str) -> Result<(), Status> {
        let denied = || Status::permission_denied(format!("only another broker of the cluster {does}"));
        self.from_peers.then_some(()).ok_or_else(denied)
    }

    /// The newest configuration that is kept. One that halted acts on none, and keeps it all the same.
    fn config(&self, seen: Option<&rq_core::config::Config>) -> Option<pb::ShardConfig> {
        match &self.options.kept {
            Some(kept) => kept.borrow().as_ref().map(configuration::told),
            None => seen.map(configuration::told),
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn unavailable(error: EngineError) -> Status {
    Status::unavailable(error.to_string())
}

fn peer(store: StoreId, slave: &SlaveView) -> pb::PeerStatus {
    pb::PeerStatus {
        store_id: store.to_string(),
        phase: phase(slave.phase).into(),
        received_lsn: slave.received.0,
        durable_lsn: slave.durable.0,
    }
}

const fn phase(phase: Phase) -> pb::Phase {
    match phase {
        Phase::Greeting => pb::Phase::Greeting,
        Phase::Truncating => pb::Phase::Truncating,
        Phase::Installing => pb::Phase::Installing,
        Phase::Following => pb::Phase::Following,
    }
}
