//! Where the messages of a queue since a time begin: an offset that none of them lies before. It may be an earlier one than it
//! need be, never a later one.

use std::sync::Arc;

use rq_core::ids::{LogTime, Lsn, Offset, QueueId, TopicId};
use rq_core::queue::since::{Fired, Places, came};
use rq_core::queue::view::MessagePlace;
use tonic::Status;

use super::super::engine;
use super::super::reading::Reading;
use crate::engine::Engine;

/// Most messages that retention copied on which are passed over one by one; with more of them the group goes on at the next one.
const COPIED_MAX: usize = 4096;
/// Most messages that are read for one step of the search among delayed ones.
const STEP_MAX: usize = 64;

pub(super) async fn first(
    broker: &Engine,
    topic: TopicId,
    queue: QueueId,
    since: LogTime,
) -> Result<Offset, Status> {
    let look = broker.inspect(move |shard| shard.places(topic, queue));
    // A topic that was deleted meanwhile is told of by the request that follows.
    let Some(places) = look.await.map_err(engine)? else { return Ok(Offset(0)) };
    if let Some(dead_from) = places.dead_from(since) {
        return Ok(dead_from);
    }
    let search = Search { broker, places: Arc::new(places), since };
    let stored = search.stored(search.position().await?).await?;
    if search.places.delayed { search.fired(stored).await } else { Ok(stored) }
}

struct Search<'a> {
    broker: &'a Engine,
    places: Arc<Places>,
    since: LogTime,
}

impl Search<'_> {
    /// A position in the log before which all is older than the time.
    async fn position(&self) -> Result<Lsn, Status> {
        let reader = self.broker.reader().ok_or_else(ended)?;
        let since = self.since;
        let found = tokio::task::spawn_blocking(move || reader.since(since)).await.map_err(|_| ended())?;
        found.map_err(|error| Status::internal(error.to_string()))
    }

    /// The first message that was stored since the time. All of them lie at the position or behind it.
    async fn stored(&self, position: Lsn) -> Result<Offset, Status> {
        let mut from = self.places.oldest();
        for _ in 0..COPIED_MAX {
            let Some(place) = self.stored_from(from, position).await? else { return Ok(self.places.next()) };
            if !self.is_older(place).await?.is_some_and(|(_, older)| older) {
                return Ok(place.offset);
            }
            from = place.offset.next();
        }
        Ok(from)
    }

    /// A queue may be long: not on a thread that others wait for.
    async fn stored_from(&self, from: Offset, position: Lsn) -> Result<Option<MessagePlace>, Status> {
        let places = Arc::clone(&self.places);
        let found = tokio::task::spawn_blocking(move || places.stored_from(from, position));
        found.await.map_err(|_| ended())
    }

    /// The first message before `end` that was due since the time; `end` if there is none.
    async fn fired(&self, end: Offset) -> Result<Offset, Status> {
        let mut search = Fired::among(self.places.oldest(), end);
        loop {
            let (middle, end) = match search.step() {
                Ok(step) => step,
                Err(found) => return Ok(found),
            };
            let mut found = None;
            for place in self.places.first_time(middle, end, STEP_MAX) {
                found = self.is_older(place).await?;
                if found.is_some() {
                    break;
                }
            }
            search.learn(middle, found);
        }
    }

    /// The message and whether it came before the time; None if it cannot be read.
    async fn is_older(&self, place: MessagePlace) -> Result<Option<(Offset, bool)>, Status> {
        let places = [place];
        let read = Reading::new(self.broker, &places).next().await?;
        Ok(read.and_then(|(offset, read)| Some((offset, came(&read.ok()?) < self.since))))
    }
}

fn ended() -> Status {
    Status::unavailable("the broker opens its log anew or ends: try again")
}
