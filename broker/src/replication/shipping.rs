//! What a master sends on one link: messages of the engine, heartbeats, and the log from where the slave's ends. One
//! thing at a time, and none before there is room for it, so that a heartbeat never waits behind more than a few chunks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rq_core::ids::{Epoch, Lsn};
use rq_core::replication::{Message, timers};
use rq_log::{Frame, ReadError};
use rq_proto::reliablequeue::FromMaster;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};
use tonic::Status;

use super::link::Ended;
use super::wire;
use crate::engine::Engine;
use crate::engine::cluster::{Progress, ToPeer};

/// Bytes of frames that are read and sent at once; the last frame may go beyond.
const CHUNK_BYTES: usize = 1 << 20;

/// The way to the slave.
pub(super) type Out = mpsc::Sender<Result<FromMaster, Status>>;

/// What one link's slave gets.
pub(super) struct Shipping {
    engine: Engine,
    progress: watch::Receiver<Progress>,
    heartbeat: Interval,
    /// Messages that wait for room.
    waiting: VecDeque<Message>,
    /// That of the newest order: before there is one, nothing can be said of the log.
    epoch: Option<Epoch>,
    /// Where the next frame starts, once the engine has said so.
    from: Option<Lsn>,
}

/// Frames that lie one after the other.
struct Chunk {
    from: Lsn,
    end: Lsn,
    commit: Lsn,
    bytes: Bytes,
}

impl Shipping {
    /// A link that has sent nothing yet.
    pub(super) fn new(engine: &Engine) -> Self {
        let mut heartbeat = tokio::time::interval(Duration::from_millis(timers::HEARTBEAT_MS));
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            engine: engine.clone(),
            progress: engine.progress(),
            heartbeat,
            waiting: VecDeque::new(),
            epoch: None,
            from: None,
        }
    }

    /// Sends what the orders of the engine say, until it hangs up.
    pub(super) async fn run(
        mut self,
        mut orders: mpsc::UnboundedReceiver<ToPeer>,
        out: &Out,
    ) -> Result<Infallible, Ended> {
        loop {
            let next = tokio::select! {
                biased;
                order = orders.recv() => {
                    self.obey(order.ok_or(Ended::HungUp)?);
                    continue;
                }
                next = self.next(out) => next,
            };
            // A master that is deposed hangs up before its log changes: what was read until here is of its epoch.
            if orders.is_closed() {
                return Err(Ended::HungUp);
            }
            let (room, message, frames) = next?;
            room.send(Ok(wire::write_from_master(&message, frames)?));
        }
    }

    fn obey(&mut self, order: ToPeer) {
        match order {
            ToPeer::Message(message) => {
                self.epoch = Some(message.epoch());
                self.waiting.push_back(message);
            }
            ToPeer::Ship(epoch, from) => {
                self.epoch = Some(epoch);
                self.from = Some(from);
            }
            // For slaves.
            ToPeer::Install | ToPeer::Room(_) => {}
        }
    }

    /// What goes next, and the room for it. Nothing is lost if this is dropped before it is done.
    async fn next<'a>(
        &mut self,
        out: &'a Out,
    ) -> Result<(mpsc::Permit<'a, Result<FromMaster, Status>>, Message, Bytes), Ended> {
        let room = out.reserve().await.map_err(|_| Ended::Closed)?;
        if let Some(message) = self.waiting.pop_front() {
            return Ok((room, message, Bytes::new()));
        }
        let Some(epoch) = self.epoch else { return std::future::pending().await };
        tokio::select! {
            biased;
            _ = self.heartbeat.tick() => {
                let commit = self.progress.borrow().commit;
                Ok((room, Message::Heartbeat { epoch, commit }, Bytes::new()))
            }
            chunk = chunk(&self.engine, &mut self.progress, self.from) => {
                let Chunk { from, end, commit, bytes } = chunk?;
                self.from = Some(end);
                Ok((room, Message::Frames { epoch, from, end, commit }, bytes))
            }
        }
    }
}

/// The frames from here on, as soon as there are some.
async fn chunk(
    engine: &Engine,
    progress: &mut watch::Receiver<Progress>,
    from: Option<Lsn>,
) -> Result<Chunk, Ended> {
    let Some(from) = from else { return std::future::pending().await };
    let progress = *progress.wait_for(|log| log.end > from).await.map_err(|_| Ended::EngineStopped)?;
    let frames = engine.frames(from, CHUNK_BYTES).await;
    let frames = frames.map_err(|error| match error {
        ReadError::Dropped { .. } => Ended::Dropped { from },
        error => Ended::Unreadable { from, error },
    })?;
    let end = frames.last().ok_or(Ended::NoFrames)?.end;
    Ok(Chunk { from, end, commit: progress.commit, bytes: joined(&frames) })
}

/// The bytes of all frames; those of a single one are not copied.
fn joined(frames: &[Frame]) -> Bytes {
    if let [frame] = frames {
        return frame.bytes.clone();
    }
    let mut bytes = BytesMut::with_capacity(frames.iter().map(|frame| frame.bytes.len()).sum());
    for frame in frames {
        bytes.extend_from_slice(&frame.bytes);
    }
    bytes.freeze()
}
