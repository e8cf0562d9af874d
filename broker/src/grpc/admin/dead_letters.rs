//! Dead letters: pages of them, read without consuming them, those that people give back, and those that they take away. One
//! that is damaged never hides the others.

use std::collections::BTreeMap;

use rq_core::codec::Malformed;
use rq_core::ids::{Offset, TopicId};
use rq_core::message::MessageContent;
use rq_core::queue::dead_letters_of;
use rq_core::queue::request::{
    DeadLetterError, GroupNotFound, PurgeDeadLetters, ReplayDeadLetters, TopicNotFound,
};
use rq_core::queue::view::MessagePlace;
use rq_core::record::StoredMessage;
use rq_proto::reliablequeue as pb;
use tonic::Status;

use super::convert::{keys, properties};
use super::reading::Reading;
use super::{engine, no_group, no_topic, page};
use crate::engine::Engine;

/// A page also ends when so much was read for it, so that it comes in time.
const READ_BYTES: usize = 64 << 20;

pub(super) async fn list(
    broker: &Engine,
    request: pb::ListDeadLettersRequest,
) -> Result<pb::ListDeadLettersResponse, Status> {
    let from = u64::try_from(request.from_offset).map_err(|_| {
        Status::invalid_argument("from_offset is negative: give 0 or an offset listed before")
    })?;
    let limit = page::limit(request.limit)?;
    let filter = request.filter.as_ref();
    let scan = if filter.is_some() { page::LIMIT_MAX } else { limit };
    let mut places = places(broker, &request.group, from, scan).await?;
    let more = places.len() == scan;
    let before = filter.map(|filter| filter.before_offset.cast_unsigned()).filter(|before| *before > 0);
    places.retain(|place| before.is_none_or(|before| place.offset.0 < before));
    // Where the next page begins, if this one ends here.
    let last = places.last().filter(|last| more && before.is_none_or(|before| last.offset.0 + 1 < before));
    let mut next_offset = last.map_or(0, |last| last.offset.next().0.cast_signed());

    let only = match filter.filter(|filter| !filter.topic.is_empty()) {
        Some(filter) => {
            // Letters of a topic that is gone have no name to be found by.
            let gone = || no_topic(&TopicNotFound { topic: filter.topic.as_str().into() });
            Some(topic_id(broker, &filter.topic).await?.ok_or_else(gone)?)
        }
        None => None,
    };
    let mut found = Page::default();
    let mut reading = Reading::new(broker, &places);
    while let Some((offset, read)) = reading.next().await? {
        found.add(&request, only, offset, read);
        if found.is_full(limit) && places.last().is_some_and(|last| offset < last.offset) {
            next_offset = offset.next().0.cast_signed();
            break;
        }
    }
    let Page { mut letters, damaged, .. } = found;
    name_topics(broker, &mut letters).await?;
    let dead_letters = letters.into_iter().map(|(_, letter)| letter).collect();
    Ok(pb::ListDeadLettersResponse { dead_letters, next_offset, damaged })
}

/// What is put together for a page.
#[derive(Default)]
struct Page {
    letters: Vec<(TopicId, pb::DeadLetter)>,
    damaged: Vec<pb::DamagedDeadLetter>,
    /// Of the bodies in it.
    bytes: usize,
    /// Of all that was read for it.
    read: usize,
}

impl Page {
    /// Adds a letter if it is meant; only those of one topic are, if that is said.
    fn add(
        &mut self,
        request: &pb::ListDeadLettersRequest,
        only: Option<TopicId>,
        offset: Offset,
        read: Result<StoredMessage, String>,
    ) {
        let letter = read.and_then(|stored| {
            self.read += stored.content.len();
            let letter =
                letter(offset, &stored).map_err(|error| format!("its bytes are damaged: {error}"))?;
            Ok((stored.topic, letter))
        });
        let (topic, mut letter) = match letter {
            Ok(letter) => letter,
            Err(reason) => return self.damaged.push(damaged_letter(&request.group, offset, reason)),
        };
        let of_topic = only.is_none_or(|only| only == topic);
        if !of_topic || !request.filter.as_ref().is_none_or(|filter| means(filter, &letter)) {
            return;
        }
        if request.without_body {
            letter.body.clear();
        }
        self.bytes += letter.body.len();
        self.letters.push((topic, letter));
    }

    fn is_full(&self, limit: usize) -> bool {
        self.letters.len() == limit || self.bytes > page::BYTES || self.read > READ_BYTES
    }
}

pub(super) async fn count(broker: &Engine, of: String) -> Result<u64, Status> {
    let asked = of.clone();
    let count = broker.inspect(move |shard| shard.count_dead_letters(&asked)).await.map_err(engine)?;
    count.ok_or_else(|| no_group(&GroupNotFound { group: of.into() }))
}

pub(super) async fn replay(
    broker: &Engine,
    request: pb::ReplayDeadLettersRequest,
) -> Result<pb::ReplayDeadLettersResponse, Status> {
    let offsets = offsets(&request.offsets)?;
    let asked = request.group.clone();
    let look = broker.inspect(move |shard| shard.dead_letters_at(&asked, &offsets)).await.map_err(engine)?;
    let places = look.ok_or_else(|| no_group(&GroupNotFound { group: request.group.as_str().into() }))?;
    let (mut letters, mut damaged) = (Vec::with_capacity(places.len()), Vec::new());
    let mut reading = Reading::new(broker, &places);
    while let Some((offset, read)) = reading.next().await? {
        match read {
            Ok(stored) => letters.push((offset, stored.topic, stored.queue)),
            Err(reason) => damaged.push(damaged_letter(&request.group, offset, reason)),
        }
    }
    let replayed = if letters.is_empty() {
        0
    } else {
        let replay = ReplayDeadLetters { topic: dead_letters_of(&request.group).into(), letters };
        let replayed = broker.replay_dead_letters(replay).await.map_err(engine)?;
        replayed.map_err(|error| refused(&error))?
    };
    Ok(pb::ReplayDeadLettersResponse { replayed, damaged })
}

pub(super) async fn purge(
    broker: &Engine,
    request: pb::PurgeDeadLettersRequest,
) -> Result<pb::PurgeDeadLettersResponse, Status> {
    let offsets = offsets(&request.offsets)?;
    // A group without dead letters has no topic for them: nothing is to be done.
    if count(broker, request.group.clone()).await? == 0 || offsets.is_empty() {
        return Ok(pb::PurgeDeadLettersResponse { purged: 0 });
    }
    let purge = PurgeDeadLetters { topic: dead_letters_of(&request.group).into(), offsets };
    let purged = broker.purge_dead_letters(purge).await.map_err(engine)?;
    Ok(pb::PurgeDeadLettersResponse { purged: purged.map_err(|error| refused(&error))? })
}

fn refused(error: &DeadLetterError) -> Status {
    match error {
        DeadLetterError::TopicNotFound(error) => no_topic(error),
        DeadLetterError::NoDeadLetterTopic { .. } => Status::invalid_argument(error.to_string()),
    }
}

async fn places(broker: &Engine, of: &str, from: u64, limit: usize) -> Result<Vec<MessagePlace>, Status> {
    let asked = of.to_owned();
    let look = broker.inspect(move |shard| shard.dead_letters(&asked, Offset(from), limit));
    look.await.map_err(engine)?.ok_or_else(|| no_group(&GroupNotFound { group: of.into() }))
}

/// The offsets of a request, in order, each once.
fn offsets(asked: &[i64]) -> Result<Vec<Offset>, Status> {
    if asked.len() > page::LIMIT_MAX {
        return Err(Status::invalid_argument(format!(
            "more than {} offsets: ask part by part",
            page::LIMIT_MAX
        )));
    }
    let offsets = asked.iter().map(|offset| u64::try_from(*offset).map(Offset));
    let mut offsets: Vec<Offset> = offsets
        .collect::<Result<_, _>>()
        .map_err(|_| Status::invalid_argument("an offset is negative: give those that were listed"))?;
    offsets.sort_unstable();
    offsets.dedup();
    Ok(offsets)
}

fn damaged_letter(of: &str, offset: Offset, reason: String) -> pb::DamagedDeadLetter {
    let offset = offset.0.cast_signed();
    tracing::error!(group = of, offset, reason, "a dead letter cannot be read");
    pb::DamagedDeadLetter { offset, reason }
}

async fn topic_id(broker: &Engine, name: &str) -> Result<Option<TopicId>, Status> {
    let name = name.to_owned();
    let look = broker.inspect(move |shard| shard.topic_id(&name));
    look.await.map_err(engine)
}

/// Whether a filter means a dead letter; its topic is looked at elsewhere, for only the id is known here.
fn means(filter: &pb::DeadLetterFilter, letter: &pb::DeadLetter) -> bool {
    let stored = letter.store_time_ms;
    (filter.tag.is_empty() || filter.tag == letter.tag)
        && (filter.key.is_empty() || letter.keys.contains(&filter.key))
        && filter.properties.iter().all(|(key, value)| letter.properties.get(key) == Some(value))
        && stored >= filter.stored_from_ms
        && (filter.stored_before_ms == 0 || stored < filter.stored_before_ms)
}

/// A dead letter without the name of its topic.
fn letter(offset: Offset, stored: &StoredMessage) -> Result<pb::DeadLetter, Malformed> {
    let content = MessageContent::decode(&stored.content)?;
    Ok(pb::DeadLetter {
        offset: offset.0.cast_signed(),
        message_id: content.message_id.to_owned(),
        topic: String::new(),
        tag: content.tag.unwrap_or_default().to_owned(),
        keys: keys(&content),
        message_group: content.message_group.unwrap_or_default().to_owned(),
        properties: properties(&content),
        body: content.body.to_vec(),
        born_time_ms: content.born_ms,
        store_time_ms: stored.stored_at.0.cast_signed(),
        queue: stored.queue.0.into(),
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
