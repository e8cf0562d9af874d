//! What replicas say to each other, as it goes over the wire and as the core knows it. Everything that comes is checked
//! for its form here; what it means is for the core.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use rq_core::ids::{Epoch, Lsn, Session, ShardId, StoreId};
use rq_core::replication::{Catchup, EpochHistory, EpochStart, Hello, Message};
use rq_log::SnapshotHead;
use rq_proto::reliablequeue as proto;
use rq_proto::reliablequeue::from_master::Message as MasterSays;
use rq_proto::reliablequeue::from_slave::Message as SlaveSays;
use rq_proto::reliablequeue::welcome;
use thiserror::Error;

/// A message that has no place on a link.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum WireError {
    /// It says nothing, or something that a newer version says.
    #[error("a message of an unknown kind: run the same version on all replicas")]
    UnknownKind,
    /// A slave spoke before it introduced itself.
    #[error("the first message of a slave must be a hello")]
    NoHello,
    /// A slave introduced itself twice.
    #[error("a second hello on one stream: open another stream for it")]
    SecondHello,
    /// Not the id of a store.
    #[error("the id of a store has 16 bytes, not {0}")]
    StoreId(usize),
    /// Not the number of a shard.
    #[error("{0} is no number of a shard: the largest is {max}", max = u16::MAX)]
    Shard(u32),
    /// Epochs that no log can have.
    #[error("epoch {} at {} follows an epoch that is not older, or that did not begin before it", .0.epoch, .0.start)]
    Epochs(EpochStart),
    /// More than was announced.
    #[error("the checkpoint was to have {0} bytes, and there are more")]
    TooLong(u64),
    /// It goes the other way on a link, if it goes at all.
    #[error("not a message for this end of a link: {0:?}")]
    WrongWay(Message),
}

/// A slave's first message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Greeting {
    /// The shard that it has.
    pub(super) shard: ShardId,
    /// The store that it takes for its master.
    pub(super) master: StoreId,
    /// Who it is.
    pub(super) hello: Hello,
}

impl Greeting {
    /// Reads the first message of a stream.
    pub(super) fn read(message: proto::FromSlave) -> Result<Self, WireError> {
        let hello = match message.message {
            Some(SlaveSays::Hello(hello)) => hello,
            Some(_) => return Err(WireError::NoHello),
            None => return Err(WireError::UnknownKind),
        };
        Ok(Self {
            shard: shard(hello.shard)?,
            master: store_id(&hello.master)?,
            hello: Hello {
                store: store_id(&hello.store)?,
                session: Session(hello.session),
                promised: Epoch(hello.promised),
                history: history(&hello.epochs)?,
                end: Lsn(hello.end),
            },
        })
    }

    /// As it goes over the wire.
    pub(super) fn write(&self) -> proto::FromSlave {
        let Self { shard, master, hello } = self;
        let epochs = hello.history.epochs().iter();
        from_slave(SlaveSays::Hello(proto::Hello {
            shard: u32::from(shard.0),
            master: master.0.to_be_bytes().to_vec(),
            store: hello.store.0.to_be_bytes().to_vec(),
            session: hello.session.0,
            promised: hello.promised.0,
            epochs: epochs
                .map(|begin| proto::EpochBegin { epoch: begin.epoch.0, start: begin.start.0 })
                .collect(),
            end: hello.end.0,
        }))
    }
}

/// Reads what a slave asks a snapshot of: a shard and a store.
pub(super) fn read_snapshot_request(
    request: &proto::SnapshotRequest,
) -> Result<(ShardId, StoreId), WireError> {
    Ok((shard(request.shard)?, store_id(&request.master)?))
}

/// Asks for a snapshot.
pub(super) fn write_snapshot_request(shard: ShardId, master: StoreId) -> proto::SnapshotRequest {
    proto::SnapshotRequest { shard: u32::from(shard.0), master: master.0.to_be_bytes().to_vec() }
}

/// Reads what goes before a checkpoint.
pub(super) fn read_snapshot_head(head: proto::SnapshotHead) -> SnapshotHead {
    let proto::SnapshotHead { start, chain, checkpoint, bytes } = head;
    SnapshotHead { start: Lsn(start), chain, checkpoint: Lsn(checkpoint), bytes }
}

/// What goes before a checkpoint, as it goes over the wire.
pub(super) fn write_snapshot_head(head: SnapshotHead) -> proto::SnapshotHead {
    let SnapshotHead { start, chain, checkpoint, bytes } = head;
    proto::SnapshotHead { start: start.0, chain, checkpoint: checkpoint.0, bytes }
}

/// Reads what somebody asks the segment of: a shard, a store, and from where to where.
pub(super) fn read_segment_request(
    request: &proto::SegmentRequest,
) -> Result<(ShardId, StoreId, Lsn, Lsn), WireError> {
    Ok((shard(request.shard)?, store_id(&request.store)?, Lsn(request.start), Lsn(request.end)))
}

/// Asks for a segment.
pub(super) fn write_segment_request(
    shard: ShardId,
    store: StoreId,
    (start, end): (Lsn, Lsn),
) -> proto::SegmentRequest {
    let store = store.0.to_be_bytes().to_vec();
    proto::SegmentRequest { shard: u32::from(shard.0), store, start: start.0, end: end.0 }
}

fn shard(number: u32) -> Result<ShardId, WireError> {
    u16::try_from(number).map(ShardId).map_err(|_| WireError::Shard(number))
}

fn store_id(bytes: &[u8]) -> Result<StoreId, WireError> {
    let bytes = bytes.try_into().map_err(|_| WireError::StoreId(bytes.len()))?;
    Ok(StoreId(u128::from_be_bytes(bytes)))
}

fn history(epochs: &[proto::EpochBegin]) -> Result<EpochHistory, WireError> {
    let mut begins: Vec<EpochStart> = Vec::with_capacity(epochs.len());
    for begin in epochs {
        let begin = EpochStart { epoch: Epoch(begin.epoch), start: Lsn(begin.start) };
        if begins.last().is_some_and(|last| last.epoch >= begin.epoch || last.start >= begin.start) {
            return Err(WireError::Epochs(begin));
        }
        begins.push(begin);
    }
    Ok(EpochHistory::new(begins))
}

fn from_slave(message: SlaveSays) -> proto::FromSlave {
    proto::FromSlave { message: Some(message) }
}

/// Reads a message of a slave that has introduced itself.
pub(super) fn read_from_slave(message: proto::FromSlave) -> Result<Message, WireError> {
    match message.message.ok_or(WireError::UnknownKind)? {
        SlaveSays::Hello(_) => Err(WireError::SecondHello),
        SlaveSays::Ack(ack) => Ok(Message::Ack {
            epoch: Epoch(ack.epoch),
            received: Lsn(ack.received),
            durable: Lsn(ack.durable),
        }),
        SlaveSays::Refused(refused) => Ok(Message::Refused { promised: Epoch(refused.promised) }),
        // Not words between replicas, but between their disks and their processes: see `read_room` and `is_leaving`.
        SlaveSays::Room(_) | SlaveSays::Leaving(_) => Err(WireError::UnknownKind),
    }
}

/// What a slave says its disk has left, in bytes, if that is what it says.
pub(super) fn read_room(message: &proto::FromSlave) -> Option<u64> {
    match &message.message {
        Some(SlaveSays::Room(room)) => Some(room.free_bytes),
        _ => None,
    }
}

/// What the disk of this slave has left, as it goes over the wire.
pub(super) fn write_room(free_bytes: u64) -> proto::FromSlave {
    from_slave(SlaveSays::Room(proto::Room { free_bytes }))
}

/// Whether a slave says that it is about to stop.
pub(super) fn is_leaving(message: &proto::FromSlave) -> bool {
    matches!(message.message, Some(SlaveSays::Leaving(_)))
}

/// That this slave is about to stop, as it goes over the wire.
pub(super) fn write_leaving() -> proto::FromSlave {
    from_slave(SlaveSays::Leaving(proto::Leaving {}))
}

/// A slave's message as it goes over the wire.
pub(super) fn write_from_slave(message: &Message) -> Result<proto::FromSlave, WireError> {
    Ok(from_slave(match message {
        Message::Ack { epoch, received, durable } => {
            SlaveSays::Ack(proto::Ack { epoch: epoch.0, received: received.0, durable: durable.0 })
        }
        Message::Refused { promised } => SlaveSays::Refused(proto::Refused { promised: promised.0 }),
        Message::Welcome { .. } | Message::Frames { .. } | Message::Heartbeat { .. } => {
            return Err(WireError::WrongWay(message.clone()));
        }
    }))
}

/// Reads a message of a master, and the frames that came with it.
pub(super) fn read_from_master(message: proto::FromMaster) -> Result<(Message, Bytes), WireError> {
    let message = match message.message.ok_or(WireError::UnknownKind)? {
        MasterSays::Frames(frames) => {
            let message = Message::Frames {
                epoch: Epoch(frames.epoch),
                from: Lsn(frames.from),
                end: Lsn(frames.end),
                commit: Lsn(frames.commit),
            };
            return Ok((message, frames.frames));
        }
        MasterSays::Welcome(welcome) => Message::Welcome {
            epoch: Epoch(welcome.epoch),
            catchup: match welcome.catchup.ok_or(WireError::UnknownKind)? {
                welcome::Catchup::Resume(_) => Catchup::Resume,
                welcome::Catchup::Truncate(to) => Catchup::Truncate(Lsn(to)),
                welcome::Catchup::Install(install) => Catchup::Install(Lsn(install.start)),
            },
        },
        MasterSays::Heartbeat(heartbeat) => {
            Message::Heartbeat { epoch: Epoch(heartbeat.epoch), commit: Lsn(heartbeat.commit) }
        }
        MasterSays::Refused(refused) => Message::Refused { promised: Epoch(refused.promised) },
    };
    Ok((message, Bytes::new()))
}

/// A master's message as it goes over the wire, with the frames that belong to it.
pub(super) fn write_from_master(message: &Message, frames: Bytes) -> Result<proto::FromMaster, WireError> {
    let message = match message {
        Message::Welcome { epoch, catchup } => MasterSays::Welcome(proto::Welcome {
            epoch: epoch.0,
            catchup: Some(match catchup {
                Catchup::Resume => welcome::Catchup::Resume(proto::Resume {}),
                Catchup::Truncate(to) => welcome::Catchup::Truncate(to.0),
                Catchup::Install(start) => welcome::Catchup::Install(proto::Install { start: start.0 }),
            }),
        }),
        Message::Frames { epoch, from, end, commit } => MasterSays::Frames(proto::Frames {
            epoch: epoch.0,
            from: from.0,
            end: end.0,
            commit: commit.0,
            frames,
        }),
        Message::Heartbeat { epoch, commit } => {
            MasterSays::Heartbeat(proto::Heartbeat { epoch: epoch.0, commit: commit.0 })
        }
        Message::Refused { promised } => MasterSays::Refused(proto::Refused { promised: promised.0 }),
        Message::Ack { .. } => return Err(WireError::WrongWay(message.clone())),
    };
    Ok(proto::FromMaster { message: Some(message) })
}
