//! How the replicas of a shard talk: a slave opens a stream to its master, which answers with frames of its log. The
//! tasks here carry what the engine says and hears (see [`crate::engine::cluster`]) and decide nothing but when to try
//! a connection again.
//!
//! ```text
//!   engine ──Following──► follower ──Follow(Hello, Ack..)──► service ──Greeted, Message──► engine of the master
//!   engine ◄──Connected, Message── follower ◄──Welcome, Frames, Heartbeat── service ◄──ToPeer, Progress, frames──
//!   engine ◄──Snapshot── follower ◄──checkpoint of a log that starts too late for the slave── service
//! ```

mod follower;
mod link;
pub(crate) mod segment;
mod service;
mod shipping;
mod snapshot;
#[cfg(test)]
mod tests;
mod wire;

use rq_proto::reliablequeue::replication_server::ReplicationServer;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::peer::PeerLinks;

pub use self::service::Master;

/// Largest message from a master, in bytes: a frame whose single record is as large as a record may be, twice over.
const FROM_MASTER_BYTES_MAX: usize = 32 << 20;
/// Largest message from a slave, in bytes: a [`rq_core::replication::Hello`] with more epochs than a log ever has.
const FROM_SLAVE_BYTES_MAX: usize = 4 << 20;

/// Follows whom the engine says, until the engine stops, or `leaving` is cancelled: then the master is told so, which takes
/// some 100 ms at most. To be started before the engine gets its first frame.
pub fn start_follower(engine: Engine, links: PeerLinks, leaving: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(follower::follow(engine, links, leaving))
}

/// The service that slaves connect to. Its streams end when `stopping` is cancelled.
pub fn service(engine: Engine, stopping: CancellationToken) -> ReplicationServer<Master> {
    ReplicationServer::new(Master::new(engine, stopping))
        .max_decoding_message_size(FROM_SLAVE_BYTES_MAX)
        .max_encoding_message_size(FROM_MASTER_BYTES_MAX)
}
