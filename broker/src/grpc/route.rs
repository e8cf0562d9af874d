//! `QueryRoute` and `QueryAssignment`: which queues a topic has, all at the access point that the client came
//! through. Their order and spelling never change, because clients compare them.

use rq_core::queue::request::TopicView;
use rq_proto::rocketmq::{
    Assignment, Broker, Endpoints, MessageQueue, Permission, QueryAssignmentRequest, QueryAssignmentResponse,
    QueryRouteRequest, QueryRouteResponse, Resource,
};

use super::Gateway;
use super::call::Call;
use super::refusal::{Refusal, ok};
use crate::wire::{deliver, endpoints, names};

/// Clients take a broker of another id for a slave.
const MASTER_ID: i32 = 0;
/// "Any queue of the broker".
const ANY_QUEUE: i32 = -1;

pub(super) async fn query_route(
    gateway: &Gateway,
    call: &Call,
    request: QueryRouteRequest,
) -> Result<QueryRouteResponse, Refusal> {
    call.client_id()?;
    let name = names::topic(request.topic.as_ref())?;
    let endpoints = echoed(call, request.endpoints.as_ref())?;
    let topic = gateway.engine.resolve_topic(name).await??;
    let queues = 0..i32::from(topic.settings.queues);
    let message_queues =
        queues.map(|id| queue(gateway, request.topic.clone(), id, endpoints.clone(), &topic)).collect();
    Ok(QueryRouteResponse { status: Some(ok()), message_queues })
}

/// One assignment that stands for all queues: which messages a consumer gets is decided at each receive.
pub(super) async fn query_assignment(
    gateway: &Gateway,
    call: &Call,
    request: QueryAssignmentRequest,
) -> Result<QueryAssignmentResponse, Refusal> {
    call.client_id()?;
    let name = names::topic(request.topic.as_ref())?;
    names::group(request.group.as_ref(), call.namespace())?;
    let endpoints = echoed(call, request.endpoints.as_ref())?;
    let topic = gateway.engine.resolve_topic(name).await??;
    let message_queue = Some(queue(gateway, request.topic, ANY_QUEUE, endpoints, &topic));
    Ok(QueryAssignmentResponse { status: Some(ok()), assignments: vec![Assignment { message_queue }] })
}

fn echoed(call: &Call, asked: Option<&Endpoints>) -> Result<Endpoints, Refusal> {
    Ok(endpoints::echo(asked, call.connection().and_then(|connection| connection.local))?)
}

fn queue(
    gateway: &Gateway,
    asked: Option<Resource>,
    id: i32,
    endpoints: Endpoints,
    topic: &TopicView,
) -> MessageQueue {
    MessageQueue {
        topic: asked,
        id,
        permission: Permission::ReadWrite.into(),
        broker: Some(Broker {
            name: gateway.options.broker_name.clone(),
            id: MASTER_ID,
            endpoints: Some(endpoints),
        }),
        accept_message_types: deliver::accepted_types(topic.settings.kind),
    }
}
