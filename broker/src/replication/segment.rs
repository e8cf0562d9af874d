//! A full segment from one replica's disk to another's, whose copy is damaged. Who sends need not be the master, and what
//! comes need not be right: the one that asked proves it (see [`rq_log::Replacement`]).

use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rq_core::ids::{Lsn, ShardId, StoreId};
use rq_log::{ReadError, ReplaceError, Replacement, StdDisk};
use rq_proto::reliablequeue::SegmentPart;
use rq_proto::reliablequeue::replication_client::ReplicationClient;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::FROM_MASTER_BYTES_MAX;
use super::follower::channel;
use super::link::Ended;
use super::wire;
use crate::engine::Engine;
use crate::peer::PeerLinks;

/// Bytes of frames that are read and sent at once; the last frame may go beyond.
const CHUNK_BYTES: usize = 256 << 10;
/// Pause after each: a segment takes no more than some 100 MB/s of disk and network.
const PAUSE: Duration = Duration::from_millis(2);
/// How often it is asked whether to go on while nothing comes.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What goes to the other replica.
pub(super) type Parts = ReceiverStream<Result<SegmentPart, Status>>;
type Out = mpsc::Sender<Result<SegmentPart, Status>>;

/// Why no copy of a segment came.
#[derive(Debug, Error)]
pub(crate) enum NotFetched {
    /// There is no way to the other replica.
    #[error("the other replica cannot be reached")]
    Connection(#[source] Box<dyn Error + Send + Sync>),
    /// It does not send what was asked for.
    #[error("the other replica does not send it: {0}")]
    Refused(Status),
    /// It has stopped sending.
    #[error("nothing came from the other replica for {PATIENCE:?}")]
    Silent,
    /// What came was not taken.
    #[error(transparent)]
    Replace(#[from] ReplaceError),
    /// The caller did not want to go on.
    #[error("it was given up")]
    GivenUp,
}

/// Begins to send the frames from `start` to `end`, which are those of one full segment.
pub(super) fn serve(
    engine: &Engine,
    (start, end): (Lsn, Lsn),
    stopping: CancellationToken,
) -> Result<Parts, Status> {
    let full = engine.reader().is_some_and(|reader| {
        reader.full_segment_of(start) == Some(start) && start.plus(reader.segment_bytes()) == end
    });
    if !full {
        return Err(Status::failed_precondition(format!("no full segment lies from {start} to {end} here")));
    }
    tracing::info!(base = start.0, "another replica fetches a segment to repair its own");
    let (out, parts) = mpsc::channel(1);
    let engine = engine.clone();
    tokio::spawn(async move {
        let sent = tokio::select! {
            sent = send(&engine, (start, end), &out) => sent,
            () = stopping.cancelled() => Err(Ended::Stopping.status()),
        };
        if let Err(status) = sent {
            // If nobody listens any more, nobody needs to be told.
            let _ = out.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(parts))
}

async fn send(engine: &Engine, (start, end): (Lsn, Lsn), out: &Out) -> Result<(), Status> {
    let mut at = start;
    while at < end {
        let frames = engine.read_frames(at, CHUNK_BYTES).await.map_err(|error| match error {
            ReadError::Dropped { .. } => Status::failed_precondition(error.to_string()),
            error => Status::data_loss(error.to_string()),
        })?;
        let mut part = BytesMut::new();
        for frame in frames.iter().filter(|frame| frame.lsn < end) {
            part.extend_from_slice(&frame.bytes);
            at = frame.end;
        }
        if part.is_empty() {
            return Err(Ended::NoFrames.status());
        }
        let part = SegmentPart { frames: part.freeze() };
        out.send(Ok(part)).await.map_err(|_| Ended::Closed.status())?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Fetches the segment that `replacement` wants from the store at `address`, and puts it in its place. `go_on` is asked
/// several times a second.
pub(crate) async fn fetch(
    links: &PeerLinks,
    mut replacement: Replacement<StdDisk>,
    (shard, store, address): (ShardId, StoreId, &str),
    go_on: impl Fn() -> bool,
) -> Result<(), NotFetched> {
    let channel = channel(links, address).await.map_err(|error| NotFetched::Connection(error.into()))?;
    let mut client = ReplicationClient::new(channel).max_decoding_message_size(FROM_MASTER_BYTES_MAX);
    let request = wire::write_segment_request(shard, store, (replacement.base(), replacement.end()));
    let asked = tokio::time::timeout(PATIENCE, client.segment(request)).await;
    let mut parts = asked.map_err(|_| NotFetched::Silent)?.map_err(NotFetched::Refused)?.into_inner();
    let mut silent = Duration::ZERO;
    loop {
        if !go_on() {
            return Err(NotFetched::GivenUp);
        }
        let Ok(part) = tokio::time::timeout(ASK_EVERY, parts.message()).await else {
            silent += ASK_EVERY;
            if silent >= PATIENCE {
                return Err(NotFetched::Silent);
            }
            continue;
        };
        silent = Duration::ZERO;
        let Some(part) = part.map_err(NotFetched::Refused)? else { break };
        replacement = on_the_disk(replacement, part.frames).await?;
    }
    let finished = tokio::task::spawn_blocking(move || replacement.finish()).await;
    // Only a runtime that ends runs nothing.
    Ok(finished.map_err(|_| NotFetched::GivenUp)??)
}

async fn on_the_disk(
    mut replacement: Replacement<StdDisk>,
    frames: Bytes,
) -> Result<Replacement<StdDisk>, NotFetched> {
    let written = tokio::task::spawn_blocking(move || replacement.write(&frames).map(|()| replacement));
    Ok(written.await.map_err(|_| NotFetched::GivenUp)??)
}
