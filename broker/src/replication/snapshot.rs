//! The checkpoint with which a slave begins a copy, from the master's disk to the slave's engine. What is sent is
//! committed, so it does not matter whether the master is deposed meanwhile.

use std::sync::Arc;
use std::time::Duration;

use rq_core::ids::StoreId;
use rq_log::{DiskError, Snapshot, SnapshotFile, StdDisk};
use rq_proto::reliablequeue::replication_client::ReplicationClient;
use rq_proto::reliablequeue::{SnapshotPart, snapshot_part::Part};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use super::link::Ended;
use super::wire::{self, WireError};
use crate::engine::Engine;

/// Bytes that are read and sent at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Pause after each: a flush of the log waits behind one small read at most, and a checkpoint takes no more than some
/// 100 MB/s of disk and network. The frames after it need no such limit: the slave's disk sets it.
const PAUSE: Duration = Duration::from_millis(2);

/// What goes to a slave.
pub(super) type Parts = ReceiverStream<Result<SnapshotPart, Status>>;
type Out = mpsc::Sender<Result<SnapshotPart, Status>>;

/// Begins to send the newest checkpoint.
pub(super) async fn serve(engine: &Engine, stopping: CancellationToken) -> Result<Parts, Status> {
    let found = engine.snapshot().await.map_err(|error| {
        let error: &(dyn std::error::Error + 'static) = &error;
        tracing::warn!(error, "a slave gets no checkpoint now: it asks again");
        Status::unavailable(error.to_string())
    })?;
    let file = found.ok_or_else(|| Status::failed_precondition("there is no checkpoint yet: greet again"))?;
    // One part waits while the next is read.
    let (out, parts) = mpsc::channel(1);
    tokio::spawn(async move {
        let sent = tokio::select! {
            sent = send(Arc::new(file), &out) => sent,
            () = stopping.cancelled() => Err(Ended::Stopping.status()),
        };
        if let Err(status) = sent {
            // If nobody listens any more, nobody needs to be told.
            let _ = out.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(parts))
}

async fn send(file: Arc<SnapshotFile<StdDisk>>, out: &Out) -> Result<(), Status> {
    let part = |part| Ok(SnapshotPart { part: Some(part) });
    let gone = |_| Ended::Closed.status();
    out.send(part(Part::Head(wire::write_snapshot_head(file.head())))).await.map_err(gone)?;
    let mut at = 0;
    while at < file.head().bytes {
        let bytes = tokio::task::spawn_blocking({
            let file = Arc::clone(&file);
            move || file.read(at, CHUNK_BYTES)
        });
        let bytes = bytes.await.map_err(|_| Ended::Stopping.status())?;
        let bytes = bytes.map_err(|error: DiskError| {
            tracing::error!(
                error = &error as &(dyn std::error::Error + 'static),
                "a checkpoint cannot be read"
            );
            Status::data_loss(error.to_string())
        })?;
        at += bytes.len() as u64;
        out.send(part(Part::Checkpoint(bytes))).await.map_err(gone)?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Fetches the checkpoint of the store that this connection leads to.
pub(super) async fn fetch(
    engine: Engine,
    mut master: ReplicationClient<Channel>,
    store: StoreId,
) -> Result<Snapshot, Ended> {
    let request = wire::write_snapshot_request(engine.identity().shard, store);
    let mut parts = master.snapshot(request).await.map_err(Ended::Lost)?.into_inner();
    let first = parts.message().await.map_err(Ended::Lost)?;
    let Some(Part::Head(head)) = first.and_then(|first| first.part) else {
        return Err(WireError::UnknownKind.into());
    };
    let head = wire::read_snapshot_head(head);
    tracing::info!(
        master = %store, start = head.start.0, checkpoint = head.checkpoint.0, bytes = head.bytes,
        "the master's log starts after the end of this one: a copy is begun with its checkpoint"
    );
    let mut file = Vec::new();
    while let Some(part) = parts.message().await.map_err(Ended::Lost)? {
        let Some(Part::Checkpoint(bytes)) = part.part else { return Err(WireError::UnknownKind.into()) };
        file.extend_from_slice(&bytes);
        if file.len() as u64 > head.bytes {
            return Err(WireError::TooLong(head.bytes).into());
        }
    }
    let check = move || {
        let identity = engine.identity();
        Snapshot::new(&identity.cluster, identity.shard, head, file)
    };
    let checked = tokio::task::spawn_blocking(check).await.map_err(|_| Ended::EngineStopped)?;
    Ok(checked?)
}
