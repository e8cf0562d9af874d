//! Where a consumer group goes on in a topic: at its begin, at its end, or at a time.

use std::sync::Arc;

use rq_core::ids::{LogTime, Offset, QueueId, TopicId};
use rq_core::queue::request::{GroupNotFound, Name, ResetOffset, ResetOffsetError, TopicNotFound};
use rq_core::queue::view::{GroupStatus, TopicStatus};
use rq_core::record::StoredMessage;
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::reset_offset_request::To;
use tonic::Status;

use super::reading::Reading;
use super::{engine, no_group, no_topic};
use crate::engine::Engine;

/// Messages read for one step of the search: not all are in the order of their times, so one alone says little.
const STEP: u64 = 8;
/// Messages before the place that the search found which are looked at one by one.
const BEFORE: u64 = 64;

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
                Search { broker, topic: of_topic.topic.id, queue: QueueId(number), since }
                    .first(oldest, next)
                    .await?
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

/// A search for a time in one queue.
struct Search<'a> {
    broker: &'a Engine,
    topic: TopicId,
    queue: QueueId,
    since: LogTime,
}

impl Search<'_> {
    /// The first message since the time, or one before it: never one after it, as far as times rise with offsets. Messages of
    /// transactions and replayed dead letters came into the queue later than they were stored; where [`STEP`] of them lie side
    /// by side they can mislead the search, by which it misses what was stored since the time more than [`BEFORE`] messages
    /// earlier.
    async fn first(&self, oldest: Offset, next: Offset) -> Result<Offset, Status> {
        let (mut low, mut high) = (oldest.0, next.0);
        while low < high {
            let middle = low + (high - low) / 2;
            let end = high.min(middle + STEP);
            match self.since_in(middle, end).await? {
                Seen::Since(offset) => high = offset,
                Seen::Older => low = end,
                // What cannot be read may be of any time.
                Seen::Nothing => high = middle,
            }
        }
        let before = low.saturating_sub(BEFORE).max(oldest.0);
        match self.since_in(before, low).await? {
            Seen::Since(offset) => Ok(Offset(offset)),
            Seen::Older | Seen::Nothing => Ok(Offset(low)),
        }
    }

    /// The first message since the time at some offsets.
    async fn since_in(&self, from: u64, end: u64) -> Result<Seen, Status> {
        let (topic, queue, limit) = (self.topic, self.queue, end - from);
        let look = self.broker.inspect(move |shard| shard.messages(topic, queue, Offset(from), limit));
        let places = look.await.map_err(engine)?;
        let mut reading = Reading::new(self.broker, &places);
        let mut seen = Seen::Nothing;
        while let Some((offset, read)) = reading.next().await? {
            match read {
                Ok(stored) if came(&stored) >= self.since => return Ok(Seen::Since(offset.0)),
                Ok(_) => seen = Seen::Older,
                Err(_) => {}
            }
        }
        Ok(seen)
    }
}

/// What is among some messages.
enum Seen {
    /// This one is since the time.
    Since(u64),
    /// All that can be read are older.
    Older,
    /// Nothing can be read.
    Nothing,
}

/// When a message came, as far as it says so: a delayed one when it was due.
fn came(stored: &StoredMessage) -> LogTime {
    stored.stored_at.max(stored.deliver_at)
}
