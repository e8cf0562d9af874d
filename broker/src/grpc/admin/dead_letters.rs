//! Pages of a group's dead letters, read without consuming them. One that is damaged never hides the others.

use std::collections::BTreeMap;

use rq_core::codec::Malformed;
use rq_core::ids::{Offset, TopicId};
use rq_core::message::MessageContent;
use rq_core::queue::request::GroupNotFound;
use rq_core::record::StoredMessage;
use rq_proto::reliablequeue as pb;
use tonic::Status;

use super::{engine, no_group};
use crate::engine::{Engine, ReadMessageError};

/// Dead letters of a page, when the request names no number.
const DEFAULT_LIMIT: u32 = 100;
/// Most dead letters of a page.
const LIMIT_MAX: u32 = 1000;
/// A page ends with the letter that passes this many bytes, so that an answer stays far below gRPC limits.
const PAGE_BYTES: usize = 8 << 20;

pub(super) async fn list(
    broker: &Engine,
    request: pb::ListDeadLettersRequest,
) -> Result<pb::ListDeadLettersResponse, Status> {
    let from = u64::try_from(request.from_offset).map_err(|_| {
        Status::invalid_argument("from_offset is negative: give 0 or an offset listed before")
    })?;
    let limit = match request.limit {
        0 => DEFAULT_LIMIT,
        limit if limit <= LIMIT_MAX => limit,
        _ => return Err(Status::invalid_argument(format!("limit is over {LIMIT_MAX}: ask page by page"))),
    };
    let group = request.group.clone();
    let look = broker.inspect(move |shard| shard.dead_letters(&group, Offset(from), limit as usize));
    let positions = look
        .await
        .map_err(engine)?
        .ok_or_else(|| no_group(&GroupNotFound { group: request.group.as_str().into() }))?;

    let full = positions.len() == limit as usize;
    let mut next_offset =
        positions.last().filter(|_| full).map_or(0, |last| last.offset.next().0.cast_signed());
    let mut letters = Vec::with_capacity(positions.len());
    let mut damaged = Vec::new();
    let mut bytes = 0;
    for (at, position) in positions.iter().enumerate() {
        let read = match broker.read(position.lsn).await {
            Ok(stored) => letter(position.offset, &stored)
                .map(|letter| (letter, stored.topic))
                .map_err(|error| format!("its bytes are damaged: {error}")),
            // Retention let go of it after we looked.
            Err(ReadMessageError::Dropped(_)) => continue,
            Err(error @ ReadMessageError::Reopening) => return Err(Status::unavailable(error.to_string())),
            Err(error @ ReadMessageError::Damaged { .. }) => Err(error.to_string()),
        };
        let (mut letter, topic) = match read {
            Ok(read) => read,
            Err(reason) => {
                let offset = position.offset.0.cast_signed();
                tracing::error!(group = request.group, offset, reason, "a dead letter cannot be listed");
                damaged.push(pb::DamagedDeadLetter { offset, reason });
                continue;
            }
        };
        if request.without_body {
            letter.body.clear();
        }
        bytes += letter.body.len();
        letters.push((topic, letter));
        if bytes > PAGE_BYTES && at + 1 < positions.len() {
            next_offset = position.offset.next().0.cast_signed();
            break;
        }
    }
    name_topics(broker, &mut letters).await?;
    let dead_letters = letters.into_iter().map(|(_, letter)| letter).collect();
    Ok(pb::ListDeadLettersResponse { dead_letters, next_offset, damaged })
}

/// A dead letter without the name of its topic.
fn letter(offset: Offset, stored: &StoredMessage) -> Result<pb::DeadLetter, Malformed> {
    let content = MessageContent::decode(&stored.content)?;
    Ok(pb::DeadLetter {
        offset: offset.0.cast_signed(),
        message_id: content.message_id.to_owned(),
        topic: String::new(),
        tag: content.tag.unwrap_or_default().to_owned(),
        keys: content.keys.iter().map(|key| (*key).to_owned()).collect(),
        message_group: content.message_group.unwrap_or_default().to_owned(),
        properties: content
            .properties
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        body: content.body.to_vec(),
        born_time_ms: content.born_ms,
        store_time_ms: stored.stored_at.0.cast_signed(),
    })
}

/// Fills in the names of the topics that still exist, with one look at the shard.
async fn name_topics(broker: &Engine, letters: &mut [(TopicId, pb::DeadLetter)]) -> Result<(), Status> {
    let ids: Vec<TopicId> = letters.iter().map(|(topic, _)| *topic).collect();
    let look = broker.inspect(move |shard| {
        let named = ids.into_iter().filter_map(|id| Some((id, shard.topic_name(id)?)));
        named.collect::<BTreeMap<_, _>>()
    });
    let names = look.await.map_err(engine)?;
    for (topic, letter) in letters {
        letter.topic = names.get(topic).map_or_else(|| format!("deleted topic {topic}"), ToString::to_string);
    }
    Ok(())
}
