//! Where a consumer group goes on in a topic: at its begin, at its end, or at a time.

mod since;

use std::sync::Arc;

use rq_core::ids::{LogTime, Offset, QueueId};
use rq_core::queue::request::{GroupNotFound, Name, ResetOffset, ResetOffsetError, TopicNotFound};
use rq_core::queue::view::{GroupStatus, TopicStatus};
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::reset_offset_request::To;
use tonic::Status;

use super::{engine, no_group, no_topic};
use crate::engine::Engine;

pub(super) async fn reset(
    broker: &Engine,
    request: pb::ResetOffsetRequest,
) -> Result<pb::ResetOffsetResponse, Status> {
    let to = request
        .to
        .ok_or_else(|| Status::invalid_argument("say where to go on: earliest, latest or a time"))?;
    let (group, topic): (Name, Name) = (request.group.into(), request.topic.into());
    let (of_group, of_topic) = look(broker, &group, &topic).await?;
    let mut queues = Vec::with_capacity(of_topic.queues.len());
    for (number, (oldest, next)) in (0_u16..).zip(of_topic.queues.iter().copied()) {
        let after = match &to {
            To::Earliest(_) => oldest,
            To::Latest(_) => next,
            To::TimeMs(ms) => {
                let since = LogTime(u64::try_from(*ms).unwrap_or(0));
                since::first(broker, of_topic.topic.id, QueueId(number), since).await?.min(next)
            }
        };
        let before = of_group.progress.iter().find(|row| row.topic == topic && row.queue == QueueId(number));
        queues.push(pb::QueueReset {
            queue: number.into(),
            before: before.map(|row| row.next.0.cast_signed()),
            after: after.0.cast_signed(),
            next_offset: next.0.cast_signed(),
        });
    }
    if !request.dry_run {
        let positions = queues.iter().map(|queue| Offset(queue.after.cast_unsigned())).collect();
        let reset = ResetOffset { group, topic, positions };
        broker.reset_offset(reset).await.map_err(engine)?.map_err(|error| refused(&error))?;
    }
    Ok(pb::ResetOffsetResponse { queues })
}

async fn look(broker: &Engine, group: &Name, topic: &Name) -> Result<(GroupStatus, TopicStatus), Status> {
    let (asked, about) = (Arc::clone(group), Arc::clone(topic));
    let look = broker.inspect(move |shard| (shard.group_status(&asked), shard.topic_status(&about)));
    let (found, about) = look.await.map_err(engine)?;
    let found = found.ok_or_else(|| no_group(&GroupNotFound { group: Arc::clone(group) }))?;
    let about = about.ok_or_else(|| no_topic(&TopicNotFound { topic: Arc::clone(topic) }))?;
    Ok((found, about))
}

fn refused(error: &ResetOffsetError) -> Status {
    match error {
        ResetOffsetError::GroupNotFound(error) => no_group(error),
        ResetOffsetError::TopicNotFound(error) => no_topic(error),
        ResetOffsetError::OtherQueues { .. } => Status::unavailable(error.to_string()),
    }
}
