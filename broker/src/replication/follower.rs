//! The slave's side of replication: a link to the master that the engine names, and another one whenever it says so
//! again. What the master sends waits for its share of the engine's room, which holds the master up.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rq_core::failover::RECONNECT_MS;
use rq_core::ids::StoreId;
use rq_log::Snapshot;
use rq_proto::reliablequeue::replication_client::ReplicationClient;
use rq_proto::reliablequeue::{FromMaster, FromSlave};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::FROM_MASTER_BYTES_MAX;
use super::link::{Ended, Linked};
use super::snapshot;
use super::wire::{self, Greeting};
use crate::connecting::nobody_listens;
use crate::engine::Engine;
use crate::engine::cluster::{Following, Frames, News, ToPeer};
use crate::peer::PeerLinks;

/// How long a connection may take. The answer to the greeting has no limit of its own: the engine orders anew when it
/// hears nothing.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that a master may send ahead: a frame with the largest record, or what a fast network holds.
const WINDOW_BYTES: u32 = 16 << 20;
/// From one attempt at a master to the next one, at least.
const RECONNECT: Duration = Duration::from_millis(RECONNECT_MS);
/// Pause after a link that the master ended at once, doubled each time up to [`RECONNECT`]: a new master may hear of its
/// mastership a moment after its slave.
const RECONNECT_SOON: Duration = Duration::from_millis(10);
/// How long a master has to close the link of a slave that leaves.
const LEAVE_PATIENCE: Duration = Duration::from_millis(300);

/// Follows whom the engine says. Once this broker leaves, the master is told so, and nobody is followed any more: this replica
/// would come into the set again only to be waited for.
pub(super) async fn follow(engine: Engine, links: PeerLinks, leaving: CancellationToken) {
    let mut orders = engine.following();
    let room = Room::new(engine.receive_room());
    let mut follower = Follower { room, engine, links, leaving, attempt: None };
    loop {
        let order = orders.borrow_and_update().clone();
        tokio::select! {
            biased;
            changed = orders.changed() => if changed.is_err() {
                return;
            },
            () = follower.obey(order) => return,
        }
    }
}

struct Follower {
    engine: Engine,
    links: PeerLinks,
    room: Room,
    leaving: CancellationToken,
    /// The last one, and the pause that the next one keeps.
    attempt: Option<(StoreId, Instant, Duration)>,
}

/// Bytes of frames that may wait for the disk.
struct Room {
    free: Arc<Semaphore>,
    bytes: usize,
}

/// A link to the master.
struct Connection {
    linked: Linked,
    /// What the engine has for the master.
    orders: mpsc::UnboundedReceiver<ToPeer>,
    to_master: mpsc::UnboundedSender<FromSlave>,
    from_master: Streaming<FromMaster>,
    client: ReplicationClient<Channel>,
}

/// Why there is no link.
#[derive(Debug, Error)]
pub(super) enum NotConnected {
    #[error("the address of the master cannot be read: set it to HOST:PORT")]
    Address(#[source] tonic::transport::Error),
    #[error("no connection to the master")]
    Transport(#[source] tonic::transport::Error),
    #[error("no connection to the master within {CONNECT_PATIENCE:?}")]
    TimedOut,
    #[error("the master did not take the greeting: {0}")]
    Greeting(Status),
    /// With TLS, the master sees the certificate of this slave only when the slave takes the connection for made.
    #[error("the master closed the connection: if it goes on, its log says what it refuses")]
    Closed(#[source] Status),
    #[error(transparent)]
    Ended(#[from] Ended),
}

impl NotConnected {
    /// What the answer to a greeting says that is none: only the transport gives its status a cause.
    fn of(status: Status) -> Self {
        if status.source().is_some() { Self::Closed(status) } else { Self::Greeting(status) }
    }
}

impl Follower {
    /// Keeps a link until this broker leaves. When it has ended before, only another order leads to another one: the
    /// greeting of this one may be outdated.
    async fn obey(&mut self, order: Option<Following>) {
        let leaving = self.leaving.clone();
        if let Some(order) = order
            && let Some(connection) = leaving.run_until_cancelled(self.link(&order)).await
        {
            tracing::info!(master = %order.master, address = order.address, "following the master");
            connection.carry(&self.engine, &self.room, order.master, &leaving).await;
        }
        leaving.cancelled().await;
    }

    /// Tries until there is a link.
    async fn link(&mut self, order: &Following) -> Connection {
        let mut warned = false;
        loop {
            match self.attempt(order).await {
                Ok(connection) => return connection,
                Err(error) if !std::mem::replace(&mut warned, true) => {
                    let (master, error): (_, &(dyn Error + 'static)) = (order.master, &error);
                    tracing::warn!(%master, address = order.address, error, "cannot follow the master yet: trying on");
                }
                Err(_) => {}
            }
        }
    }

    /// Tries once, not too soon after the last time.
    async fn attempt(&mut self, order: &Following) -> Result<Connection, NotConnected> {
        let mut pause = RECONNECT_SOON;
        if let Some((master, last, wait)) = self.attempt
            && master == order.master
        {
            tokio::time::sleep_until(last + wait).await;
            if last.elapsed() < 2 * RECONNECT {
                pause = RECONNECT.min(2 * wait);
            }
        }
        let began = Instant::now();
        let connected = self.connect(order).await;
        let pause = if connected.is_ok() { pause } else { RECONNECT };
        self.attempt = Some((order.master, began, pause));
        if let Err(error) = &connected
            && nobody_listens(error)
        {
            self.engine.tell(News::Refused(order.master));
        }
        connected
    }

    async fn connect(&self, order: &Following) -> Result<Connection, NotConnected> {
        let mut master = ReplicationClient::new(channel(&self.links, &order.address).await?)
            .max_decoding_message_size(FROM_MASTER_BYTES_MAX);
        let (to_master, stream) = mpsc::unbounded_channel();
        let greeting = Greeting {
            shard: self.engine.identity().shard,
            master: order.master,
            hello: order.hello.clone(),
        };
        // Cannot fail: the other half is in this function.
        to_master.send(greeting.write()).map_err(|_| Ended::Closed)?;
        let answered = master.follow(UnboundedReceiverStream::new(stream)).await;
        let from_master = answered.map_err(NotConnected::of)?.into_inner();
        let (peer, orders) = mpsc::unbounded_channel();
        let linked = Linked::new(&self.engine, |link| News::Connected(link, peer))?;
        Ok(Connection { linked, orders, to_master, from_master, client: master })
    }
}

/// A connection to another replica.
pub(super) async fn channel(links: &PeerLinks, address: &str) -> Result<Channel, NotConnected> {
    let endpoint = PeerLinks::endpoint(address)
        .map_err(NotConnected::Address)?
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let connected = tokio::time::timeout(CONNECT_PATIENCE, links.connect(&endpoint)).await;
    connected.map_err(|_| NotConnected::TimedOut)?.map_err(NotConnected::Transport)
}

impl Connection {
    /// Carries messages both ways until the link ends.
    async fn carry(self, engine: &Engine, room: &Room, master: StoreId, leaving: &CancellationToken) {
        let Self { linked, orders, to_master, from_master, client } = self;
        let fetch = || snapshot::fetch(engine.clone(), client.clone(), master);
        let speak = async {
            match leaving.run_until_cancelled(obey_engine(&linked, orders, &to_master, fetch)).await {
                Some(ended) => ended,
                None => leave(&to_master).await,
            }
        };
        let Err(ended) = tokio::select! {
            ended = hear(&linked, from_master, room) => ended,
            ended = speak => ended,
        };
        ended.log(linked.link(), master);
    }
}

/// Tells the master that this slave is about to stop, and gives it some time to close the link: it has heard it then.
async fn leave(to_master: &mpsc::UnboundedSender<FromSlave>) -> Result<Infallible, Ended> {
    to_master.send(wire::write_leaving()).map_err(|_| Ended::Closed)?;
    tokio::time::sleep(LEAVE_PATIENCE).await;
    Err(Ended::Stopping)
}

/// Tells the engine what the master says.
async fn hear(
    linked: &Linked,
    mut from_master: Streaming<FromMaster>,
    room: &Room,
) -> Result<Infallible, Ended> {
    while let Some(message) = from_master.message().await.map_err(Ended::Lost)? {
        let (message, bytes) = wire::read_from_master(message)?;
        linked.tell(message, room.admit(bytes).await?)?;
    }
    Err(Ended::Closed)
}

/// Tells the master what the engine says, and fetches what it wants of the master. While that takes its time, the master
/// hears that this slave lives.
async fn obey_engine<F: Future<Output = Result<Snapshot, Ended>>>(
    linked: &Linked,
    mut orders: mpsc::UnboundedReceiver<ToPeer>,
    to_master: &mpsc::UnboundedSender<FromSlave>,
    fetch: impl Fn() -> F,
) -> Result<Infallible, Ended> {
    let mut fetching = None;
    loop {
        let fetched = async {
            match &mut fetching {
                Some(fetching) => Pin::as_mut(fetching).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = orders.recv() => match order.ok_or(Ended::HungUp)? {
                ToPeer::Message(message) => {
                    to_master.send(wire::write_from_slave(&message)?).map_err(|_| Ended::Closed)?;
                }
                ToPeer::Install => fetching = Some(Box::pin(fetch())),
                ToPeer::Room(free_bytes) => {
                    to_master.send(wire::write_room(free_bytes)).map_err(|_| Ended::Closed)?;
                }
                // A slave ships nothing.
                ToPeer::Ship(..) => {}
            },
            snapshot = fetched => {
                fetching = None;
                linked.tell_snapshot(snapshot?)?;
            }
        }
    }
}

impl Room {
    /// All of it is free: nothing was received yet.
    fn new(free: Arc<Semaphore>) -> Self {
        Self { bytes: free.available_permits(), free }
    }

    /// Waits until these frames may wait for the disk. More than the whole room waits for the whole room.
    async fn admit(&self, bytes: Bytes) -> Result<Frames, Ended> {
        if bytes.is_empty() {
            return Ok(Frames::default());
        }
        let permits = u32::try_from(bytes.len().min(self.bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).acquire_many_owned(permits).await;
        Ok(Frames { bytes, permit: Some(permit.map_err(|_| Ended::EngineStopped)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_told_from_other_failures() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        assert!(nobody_listens(&channel(&PeerLinks::default(), &address).await.unwrap_err()));
        let error = channel(&PeerLinks::default(), "no address").await.unwrap_err();
        assert!(matches!(error, NotConnected::Address(_)) && !nobody_listens(&error));
    }

    #[tokio::test]
    async fn frames_wait_until_others_are_written_and_large_ones_until_all_are() {
        let room = Room::new(Arc::new(Semaphore::new(10)));
        let first = room.admit(Bytes::from_static(&[0; 6])).await.unwrap();
        let free = &room.free;
        let large = room.admit(Bytes::from_static(&[0; 11]));
        tokio::pin!(large);
        assert!(futures::poll!(&mut large).is_pending());
        drop(first);
        let large = large.await.unwrap();
        assert_eq!((large.bytes.len(), free.available_permits()), (11, 0));
        assert!(room.admit(Bytes::new()).await.unwrap().permit.is_none(), "a heartbeat needs no room");
    }
}
