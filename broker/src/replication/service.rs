//! The master's side of replication: takes slaves that mean this store, and carries what they and the engine say to each
//! other. Whether this replica is a master at all, the engine knows: if not, it hangs up.

use std::convert::Infallible;
use std::time::Duration;

use rq_core::ids::{ShardId, StoreId};
use rq_proto::reliablequeue::replication_server::Replication;
use rq_proto::reliablequeue::{FromMaster, FromSlave, SegmentRequest, SnapshotRequest};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::link::{Ended, Linked};
use super::segment;
use super::shipping::{Out, Shipping};
use super::snapshot::{self, Parts};
use super::wire::{self, Greeting};
use crate::engine::Engine;
use crate::engine::cluster::{Frames, News};

/// Messages that wait for HTTP/2. Each may be a chunk of frames.
const QUEUED_MAX: usize = 2;
/// How long a slave may take to say who it is.
const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// How long the reason for a link's end may take to find room behind what was sent before.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);

/// The service for slaves.
pub struct Master {
    engine: Engine,
    stopping: CancellationToken,
}

impl Master {
    pub(super) fn new(engine: Engine, stopping: CancellationToken) -> Self {
        Self { engine, stopping }
    }

    async fn greeting(&self, from_slave: &mut Streaming<FromSlave>) -> Result<Greeting, Status> {
        let first = tokio::select! {
            first = tokio::time::timeout(HELLO_PATIENCE, from_slave.message()) => first,
            () = self.stopping.cancelled() => return Err(Ended::Stopping.status()),
        };
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came in time"))??;
        let first = first.ok_or_else(|| Ended::Closed.status())?;
        let greeting = Greeting::read(first).map_err(|error| Ended::from(error).status())?;
        let identity = self.engine.identity();
        check_greeting(identity.shard, identity.store_id, &greeting).map_err(|error| {
            tracing::warn!(slave = %greeting.hello.store, %error, "a replica is refused as a slave");
            Status::failed_precondition(error.to_string())
        })?;
        Ok(greeting)
    }
}

#[tonic::async_trait]
impl Replication for Master {
    type FollowStream = ReceiverStream<Result<FromMaster, Status>>;
    type SegmentStream = segment::Parts;
    type SnapshotStream = Parts;

    async fn snapshot(&self, request: Request<SnapshotRequest>) -> Result<Response<Parts>, Status> {
        let asked = wire::read_snapshot_request(&request.into_inner());
        let (shard, master) = asked.map_err(|error| Ended::from(error).status())?;
        let identity = self.engine.identity();
        check(identity.shard, identity.store_id, shard, master)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        snapshot::serve(&self.engine, self.stopping.clone()).await.map(Response::new)
    }

    async fn segment(&self, request: Request<SegmentRequest>) -> Result<Response<segment::Parts>, Status> {
        let asked = wire::read_segment_request(&request.into_inner());
        let (shard, store, start, end) = asked.map_err(|error| Ended::from(error).status())?;
        let identity = self.engine.identity();
        check(identity.shard, identity.store_id, shard, store)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        segment::serve(&self.engine, (start, end), self.stopping.clone()).map(Response::new)
    }

    async fn follow(
        &self,
        request: Request<Streaming<FromSlave>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let mut from_slave = request.into_inner();
        let hello = self.greeting(&mut from_slave).await?.hello;
        let slave = hello.store;
        let (peer, orders) = mpsc::unbounded_channel();
        let linked = Linked::new(&self.engine, |link| News::Greeted(link, hello, peer))
            .map_err(|ended| ended.status())?;
        tracing::info!(%slave, link = linked.link().0, "a slave has connected");
        let (out, stream) = mpsc::channel(QUEUED_MAX);
        let shipping = Shipping::new(&self.engine);
        let stopping = self.stopping.clone();
        tokio::spawn(async move {
            let Err(ended) = tokio::select! {
                ended = hear(&linked, from_slave) => ended,
                ended = shipping.run(orders, &out) => ended,
                () = stopping.cancelled() => Err(Ended::Stopping),
            };
            ended.log(linked.link(), slave);
            drop(linked);
            say_farewell(&out, &ended).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Why a slave is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
enum HelloRefused {
    #[error("this is a replica of shard {here}, not of shard {wanted}: read the configuration anew")]
    Shard { here: ShardId, wanted: ShardId },
    #[error("this is store {here}, not {wanted}, which served at this address: read the configuration anew")]
    Master { here: StoreId, wanted: StoreId },
    #[error("the slave has the id {0} of this store: empty its data directory, which was copied from here")]
    SameStore(StoreId),
}

/// Whether a slave means this store. Addresses are given to another replica sometimes.
fn check(shard: ShardId, store: StoreId, wanted_shard: ShardId, wanted: StoreId) -> Result<(), HelloRefused> {
    if wanted_shard != shard {
        return Err(HelloRefused::Shard { here: shard, wanted: wanted_shard });
    }
    if wanted != store {
        return Err(HelloRefused::Master { here: store, wanted });
    }
    Ok(())
}

fn check_greeting(shard: ShardId, store: StoreId, greeting: &Greeting) -> Result<(), HelloRefused> {
    check(shard, store, greeting.shard, greeting.master)?;
    if greeting.hello.store == store {
        return Err(HelloRefused::SameStore(store));
    }
    Ok(())
}

/// Tells the engine what the slave says.
async fn hear(linked: &Linked, mut from_slave: Streaming<FromSlave>) -> Result<Infallible, Ended> {
    while let Some(message) = from_slave.message().await.map_err(Ended::Lost)? {
        if let Some(free_bytes) = wire::read_room(&message) {
            linked.tell_room(free_bytes)?;
        } else if wire::is_leaving(&message) {
            linked.tell_leaving()?;
        } else {
            linked.tell(wire::read_from_slave(message)?, Frames::default())?;
        }
    }
    Err(Ended::Closed)
}

/// Tells the slave why the link ends, if it still listens.
async fn say_farewell(out: &Out, ended: &Ended) {
    if out.send_timeout(Err(ended.status()), FAREWELL_PATIENCE).await.is_err() {
        tracing::debug!(%ended, "a slave was not told why its link ended");
    }
}

#[cfg(test)]
mod tests {
    use rq_core::ids::{Epoch, Lsn, Session};
    use rq_core::replication::{EpochHistory, Hello};

    use super::*;

    const HERE: StoreId = StoreId(1);
    const SLAVE: StoreId = StoreId(2);
    const OTHER: StoreId = StoreId(3);

    fn greets(shard: u16, master: StoreId, slave: StoreId) -> Result<(), HelloRefused> {
        let hello = Hello {
            store: slave,
            session: Session(1),
            promised: Epoch(1),
            history: EpochHistory::default(),
            end: Lsn(0),
        };
        check_greeting(ShardId(0), HERE, &Greeting { shard: ShardId(shard), master, hello })
    }

    #[test]
    fn only_a_slave_that_means_this_store_is_taken() {
        assert_eq!(greets(0, HERE, SLAVE), Ok(()));
        assert_eq!(greets(0, OTHER, SLAVE), Err(HelloRefused::Master { here: HERE, wanted: OTHER }));
        let wrong_shard = HelloRefused::Shard { here: ShardId(0), wanted: ShardId(1) };
        assert_eq!(greets(1, HERE, SLAVE), Err(wrong_shard));
        assert_eq!(greets(0, HERE, HERE), Err(HelloRefused::SameStore(HERE)));
    }
}
