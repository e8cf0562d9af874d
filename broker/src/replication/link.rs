//! What both ends of a link share: the engine hears of its end once, and everybody says why it ended.

use rq_core::ids::{Lsn, StoreId};
use rq_core::replication::{Link, Message};
use rq_log::{ReadError, Snapshot, SnapshotError};
use thiserror::Error;
use tonic::Status;

use super::wire::WireError;
use crate::engine::Engine;
use crate::engine::cluster::{Frames, News};

/// A link that the engine knows. Dropped, it tells the engine that the link ended.
pub(super) struct Linked {
    engine: Engine,
    link: Link,
}

impl Linked {
    /// Tells the engine of a link by its first news.
    pub(super) fn new(engine: &Engine, first: impl FnOnce(Link) -> News) -> Result<Self, Ended> {
        let link = engine.next_link();
        if engine.tell(first(link)) {
            Ok(Self { engine: engine.clone(), link })
        } else {
            Err(Ended::EngineStopped)
        }
    }

    /// Its number.
    pub(super) fn link(&self) -> Link {
        self.link
    }

    /// Tells the engine what came over the link.
    pub(super) fn tell(&self, message: Message, frames: Frames) -> Result<(), Ended> {
        self.news(News::Message(self.link, message, frames))
    }

    /// Tells the engine what the slave's disk has left.
    pub(super) fn tell_room(&self, free_bytes: u64) -> Result<(), Ended> {
        self.news(News::Room(self.link, free_bytes))
    }

    /// Tells the engine that the slave is about to stop.
    pub(super) fn tell_leaving(&self) -> Result<(), Ended> {
        self.news(News::Leaving(self.link))
    }

    /// Gives the engine what it has asked for.
    pub(super) fn tell_snapshot(&self, snapshot: Snapshot) -> Result<(), Ended> {
        self.news(News::Snapshot(self.link, snapshot))
    }

    fn news(&self, news: News) -> Result<(), Ended> {
        if self.engine.tell(news) { Ok(()) } else { Err(Ended::EngineStopped) }
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        self.engine.tell(News::Disconnected(self.link));
    }
}

/// Why a link ended, or could not be had.
#[derive(Debug, Error)]
pub(super) enum Ended {
    /// The engine wants it no more.
    #[error("this replica hung up")]
    HungUp,
    /// The engine takes nothing any more.
    #[error("the engine of this replica has stopped")]
    EngineStopped,
    /// The broker stops.
    #[error("this broker is stopping")]
    Stopping,
    /// The other end closed it.
    #[error("the other replica closed the link")]
    Closed,
    /// The connection failed, or the other end says why it closed.
    #[error("{0}")]
    Lost(Status),
    /// What came, or was to go, is no message of this protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// What came is no checkpoint to begin a copy with.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What the slave needs next was dropped from the log. It begins a copy anew.
    #[error("the log was dropped beyond {from}, where the slave's ends")]
    Dropped {
        /// Where the slave's log ends.
        from: Lsn,
    },
    /// The log cannot be read where the slave wants it.
    #[error("the log cannot be shipped from {from} on: {error}")]
    Unreadable {
        /// Where the slave's log ends.
        from: Lsn,
        /// What is wrong there.
        error: ReadError,
    },
    /// The log has nothing to read, though it has grown: its mastership has ended.
    #[error("the log is being opened anew")]
    NoFrames,
}

impl Ended {
    /// Says to people that a link to this store has ended.
    pub(super) fn log(&self, link: Link, other: StoreId) {
        let link = link.0;
        if matches!(self, Self::Wire(_) | Self::Snapshot(_) | Self::Unreadable { .. }) {
            tracing::error!(%other, link, reason = %self, "a replication link failed");
        } else {
            tracing::info!(%other, link, reason = %self, "a replication link ended");
        }
    }

    /// What the other end is told.
    pub(super) fn status(&self) -> Status {
        let message = self.to_string();
        match self {
            Self::Wire(_) | Self::Snapshot(_) => Status::invalid_argument(message),
            Self::Unreadable { .. } => Status::data_loss(message),
            Self::HungUp
            | Self::EngineStopped
            | Self::Stopping
            | Self::Closed
            | Self::Lost(_)
            | Self::Dropped { .. }
            | Self::NoFrames => Status::unavailable(message),
        }
    }
}
