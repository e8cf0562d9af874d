//! The `reliablequeue.v1.Admin` service: topics, consumer groups, dead letters and the state of the broker.
//!
//! Reads go through [`Engine::inspect`] and are figures for people. Changes are requests to the shard like any
//! other and are answered once they are committed. Errors are gRPC codes, as `admin.proto` says.

mod convert;
mod dead_letters;
mod page;
mod reading;
mod reset_offset;
mod transactions;

use std::sync::Arc;
use std::time::Instant;

use rq_core::ids::Lsn;
use rq_core::queue::request::{
    CreateGroup, CreateGroupError, CreateTopic, CreateTopicError, ExistsDifferently, GroupNotFound,
    TopicNotFound,
};
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::admin_server::{Admin, AdminServer};
use tonic::{Request, Response, Status};

use super::promotion;
use crate::engine::cluster::News;
use crate::engine::{Engine, EngineError};

/// What the service tells of the process around it.
#[derive(Clone)]
pub struct AdminOptions {
    /// The cluster's name.
    pub cluster: String,
    /// The data directory, as it was given.
    pub data_dir: String,
    /// Message queues of a topic whose creator names no number.
    pub default_queues: u16,
    /// The figures of the moment; called for each status request and therefore cheap.
    pub figures: Arc<dyn Fn() -> Figures + Send + Sync>,
}

/// The broker's figures at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Number of the shard.
    pub shard: u16,
    /// Id of the store, random since its directory was formatted.
    pub store_id: String,
    /// The mastership in force.
    pub epoch: u32,
    /// Where the log begins.
    pub log_start: Lsn,
    /// All below is flushed on this replica.
    pub durable: Lsn,
    /// All below is flushed on every in-sync replica.
    pub commit: Lsn,
    /// All below is covered by the newest checkpoint.
    pub checkpoint: Lsn,
    /// Bytes left for the log.
    pub disk_free_bytes: u64,
    /// Size of the file system.
    pub disk_total_bytes: u64,
    /// False while the disk is too full for new messages.
    pub accepts_messages: bool,
    /// Clients connected now.
    pub clients: u64,
}

/// The service, to be added to the server of the client port.
pub fn service(engine: Engine, options: AdminOptions) -> AdminServer<AdminService> {
    AdminServer::new(AdminService { engine, options, started: Instant::now() })
}

/// Implements the service on an engine.
pub struct AdminService {
    engine: Engine,
    options: AdminOptions,
    started: Instant,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Admin for AdminService {
    async fn create_topic(&self, request: Request<pb::CreateTopicRequest>) -> Answer<pb::Topic> {
        let (name, settings) = convert::new_topic(request.into_inner(), self.options.default_queues)?;
        let created =
            self.engine.create_topic(CreateTopic { name: name.clone(), settings }).await.map_err(engine)?;
        created.map_err(|error| create_topic(&error))?;
        self.topic(name.to_string()).await
    }

    async fn delete_topic(
        &self,
        request: Request<pb::DeleteTopicRequest>,
    ) -> Answer<pb::DeleteTopicResponse> {
        let name = request.into_inner().name.into();
        self.engine.delete_topic(name).await.map_err(engine)?.map_err(|error| no_topic(&error))?;
        Ok(Response::new(pb::DeleteTopicResponse {}))
    }

    async fn describe_topic(&self, request: Request<pb::DescribeTopicRequest>) -> Answer<pb::Topic> {
        self.topic(request.into_inner().name).await
    }

    async fn list_topics(&self, request: Request<pb::ListTopicsRequest>) -> Answer<pb::ListTopicsResponse> {
        let wanted = request.into_inner().name_contains;
        let topics = self.engine.inspect(move |shard| shard.topics(&wanted)).await.map_err(engine)?;
        Ok(Response::new(pb::ListTopicsResponse { topics: topics.iter().map(convert::topic).collect() }))
    }

    async fn create_group(&self, request: Request<pb::CreateGroupRequest>) -> Answer<pb::Group> {
        let (name, settings) = convert::new_group(request.into_inner())?;
        let created =
            self.engine.create_group(CreateGroup { name: name.clone(), settings }).await.map_err(engine)?;
        created.map_err(|error| create_group(&error))?;
        self.group(name.to_string()).await
    }

    async fn update_group(&self, request: Request<pb::UpdateGroupRequest>) -> Answer<pb::Group> {
        let update = convert::group_update(request.into_inner())?;
        let name = update.name.to_string();
        self.engine.update_group(update).await.map_err(engine)?.map_err(|error| no_group(&error))?;
        self.group(name).await
    }

    async fn delete_group(
        &self,
        request: Request<pb::DeleteGroupRequest>,
    ) -> Answer<pb::DeleteGroupResponse> {
        let name = request.into_inner().name.into();
        self.engine.delete_group(name).await.map_err(engine)?.map_err(|error| no_group(&error))?;
        Ok(Response::new(pb::DeleteGroupResponse {}))
    }

    async fn describe_group(&self, request: Request<pb::DescribeGroupRequest>) -> Answer<pb::Group> {
        self.group(request.into_inner().name).await
    }

    async fn list_groups(&self, request: Request<pb::ListGroupsRequest>) -> Answer<pb::ListGroupsResponse> {
        let wanted = request.into_inner().name_contains;
        let groups = self.engine.inspect(move |shard| shard.groups(&wanted)).await.map_err(engine)?;
        let idle = self.engine.idle_groups();
        let groups = groups.into_iter().map(|group| {
            let idle = idle.iter().find(|idle| idle.group == group.group.name);
            convert::group(group, idle.map(Arc::as_ref))
        });
        Ok(Response::new(pb::ListGroupsResponse { groups: groups.collect() }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Answer<pb::ListDeadLettersResponse> {
        dead_letters::list(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn count_dead_letters(
        &self,
        request: Request<pb::CountDeadLettersRequest>,
    ) -> Answer<pb::CountDeadLettersResponse> {
        let count = dead_letters::count(&self.engine, request.into_inner().group).await?;
        Ok(Response::new(pb::CountDeadLettersResponse { count }))
    }

    async fn replay_dead_letters(
        &self,
        request: Request<pb::ReplayDeadLettersRequest>,
    ) -> Answer<pb::ReplayDeadLettersResponse> {
        dead_letters::replay(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn purge_dead_letters(
        &self,
        request: Request<pb::PurgeDeadLettersRequest>,
    ) -> Answer<pb::PurgeDeadLettersResponse> {
        dead_letters::purge(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn reset_offset(
        &self,
        request: Request<pb::ResetOffsetRequest>,
    ) -> Answer<pb::ResetOffsetResponse> {
        reset_offset::reset(&self.engine, request.into_inner()).await.map(Response::new)
    }

    async fn list_transactions(
        &self,
        request: Request<pb::ListTransactionsRequest>,
    ) -> Answer<pb::ListTransactionsResponse> {
        transactions::list(&self.engine, &request.into_inner()).await.map(Response::new)
    }

    async fn describe_transaction(
        &self,
        request: Request<pb::DescribeTransactionRequest>,
    ) -> Answer<pb::Transaction> {
        transactions::describe(&self.engine, &request.into_inner().transaction_id).await.map(Response::new)
    }

    async fn end_transaction(
        &self,
        request: Request<pb::EndTransactionRequest>,
    ) -> Answer<pb::EndTransactionResponse> {
        transactions::end(&self.engine, &request.into_inner()).await.map(Response::new)
    }

    async fn promote(&self, request: Request<pb::PromoteRequest>) -> Answer<pb::PromoteResponse> {
        promotion::promote(&self.engine, &request.into_inner().replica)?;
        Ok(Response::new(pb::PromoteResponse {}))
    }

    async fn mark_state(&self, _: Request<pb::MarkStateRequest>) -> Answer<pb::MarkStateResponse> {
        let lsn = self.engine.mark().await.map_err(engine)?;
        Ok(Response::new(pb::MarkStateResponse { lsn: lsn.0 }))
    }

    async fn set_flush_mode(
        &self,
        request: Request<pb::SetFlushModeRequest>,
    ) -> Answer<pb::SetFlushModeResponse> {
        let policy = convert::flush_policy(request.into_inner())?;
        let view = self.engine.view().borrow().clone();
        if view.is_alone() {
            return Err(Status::failed_precondition(
                "a broker that is alone flushes each record before it answers: give it a slave first",
            ));
        }
        if !view.serves() {
            return Err(engine(EngineError::NotMaster));
        }
        self.engine.tell(News::SetFlushPolicy(policy));
        Ok(Response::new(pb::SetFlushModeResponse {}))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Answer<pb::StatusResponse> {
        let look = self.engine.inspect(|shard| (shard.topic_count(), shard.group_count(), shard.log_time()));
        let (topics, groups, log_time) = look.await.map_err(engine)?;
        let now = (self.options.figures)();
        let view = self.engine.view().borrow().clone();
        Ok(Response::new(pb::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.options.cluster.clone(),
            shard: now.shard.to_string(),
            store_id: now.store_id,
            epoch: now.epoch,
            log_start_lsn: now.log_start.0,
            durable_lsn: now.durable.0,
            commit_lsn: now.commit.0,
            checkpoint_lsn: now.checkpoint.0,
            disk_free_bytes: now.disk_free_bytes,
            disk_total_bytes: now.disk_total_bytes,
            accepts_messages: now.accepts_messages,
            topics: topics as u64,
            groups: groups as u64,
            clients: now.clients,
            uptime_ms: self.started.elapsed().as_millis() as u64,
            data_dir: self.options.data_dir.clone(),
            log_time_ms: log_time.0.cast_signed(),
            members: convert::members(&view, now.durable),
            min_in_sync: if view.is_alone() {
                0
            } else {
                view.config.as_ref().map_or(0, |config| config.min_in_sync.into())
            },
            flush_mode: convert::flush_mode(view.flush_mode).into(),
            unclean_epoch: view.config.and_then(|config| config.unclean).map_or(0, |epoch| epoch.0),
            idle_groups: self.engine.idle_groups().iter().map(|idle| convert::idle_group(idle)).collect(),
            expired_messages: self.engine.figures().expired_messages,
        }))
    }
}

impl AdminService {
    async fn topic(&self, name: String) -> Answer<pb::Topic> {
        let asked = name.clone();
        let found = self.engine.inspect(move |shard| shard.topic_status(&asked)).await.map_err(engine)?;
        let topic = found.ok_or_else(|| no_topic(&TopicNotFound { topic: name.into() }))?;
        Ok(Response::new(convert::topic(&topic)))
    }

    async fn group(&self, name: String) -> Answer<pb::Group> {
        let asked = name.clone();
        let found = self.engine.inspect(move |shard| shard.group_status(&asked)).await.map_err(engine)?;
        let group = found.ok_or_else(|| no_group(&GroupNotFound { group: name.into() }))?;
        let idle = self.engine.idle_groups();
        let idle = idle.iter().find(|idle| idle.group == group.group.name);
        Ok(Response::new(convert::group(group, idle.map(Arc::as_ref))))
    }
}

fn engine(error: EngineError) -> Status {
    match error {
        EngineError::Overloaded
        | EngineError::NotMaster
        | EngineError::TooFewInSync
        | EngineError::Stopping => Status::unavailable(error.to_string()),
        EngineError::TooLarge { .. } => Status::invalid_argument(error.to_string()),
        EngineError::Unknown => Status::unknown(error.to_string()),
    }
}

fn no_topic(error: &TopicNotFound) -> Status {
    Status::not_found(error.to_string())
}

fn no_group(error: &GroupNotFound) -> Status {
    Status::not_found(error.to_string())
}

fn create_topic(error: &CreateTopicError) -> Status {
    let message = error.to_string();
    match error {
        CreateTopicError::ExistsDifferently(_) => Status::already_exists(message),
        CreateTopicError::TooMany(_) => Status::resource_exhausted(message),
        CreateTopicError::DiskFull(_) => Status::failed_precondition(message),
    }
}

fn create_group(error: &CreateGroupError) -> Status {
    let message = error.to_string();
    match error {
        CreateGroupError::ExistsDifferently(ExistsDifferently { name }) => Status::already_exists(format!(
            "consumer group {name} exists already with other settings: `rq group update` changes its attempts and delays and keeps its positions; its order and where it begins are for good"
        )),
        CreateGroupError::TooMany(_) => Status::resource_exhausted(message),
        CreateGroupError::DiskFull(_) => Status::failed_precondition(message),
    }
}
