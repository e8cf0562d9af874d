//! What this replica has, for who compares it with the others: its full segments, read again from the disk, and the hash
//! of its state at a mark.

use rq_core::ids::Lsn;
use rq_log::{CheckError, LogReader, SegmentSum, StdDisk};
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::segment_check::What;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::engine::Engine;
use crate::scrub::{URGENT_RATE, paced};

/// Messages that wait for the one who asked.
const QUEUED_MAX: usize = 4;

/// What goes to the one who asked.
pub(super) type Checks = ReceiverStream<Result<pb::SegmentCheck, Status>>;
type Out = mpsc::Sender<Result<pb::SegmentCheck, Status>>;

/// The hash of the state at a mark, as soon as it is known.
pub(super) async fn state_hash(
    engine: &Engine,
    mark: Lsn,
    stopping: &CancellationToken,
) -> Result<pb::StateHashResponse, Status> {
    let mut hashes = engine.hashes();
    let known = tokio::select! {
        known = hashes.wait_for(|hashes| hashes.iter().any(|(of, _)| *of >= mark)) => known,
        () = stopping.cancelled() => return Err(Status::unavailable("this broker is stopping")),
    };
    let known = known.map_err(|_| Status::unavailable("the engine of this replica has stopped"))?;
    let found = known.iter().find(|(of, _)| *of == mark);
    let (_, hash) = found.ok_or_else(|| {
        Status::not_found(format!("this replica has not hashed its state at {mark}: make another mark"))
    })?;
    Ok(pb::StateHashResponse { hash: format!("{hash:032x}") })
}

/// Reads every full segment again.
pub(super) fn segments(engine: &Engine, check_only: bool, stopping: &CancellationToken) -> Checks {
    let (out, checks) = mpsc::channel(QUEUED_MAX);
    let (engine, stopping) = (engine.clone(), stopping.clone());
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let found_damage = |base: Lsn| {
            if !check_only {
                let engine = engine.clone();
                runtime.spawn(async move { engine.repaired(base).await });
            }
        };
        if let Err(status) = check_all(&engine, &stopping, &out, found_damage) {
            // If nobody listens any more, nobody needs to be told.
            let _ = out.blocking_send(Err(status));
        }
    });
    ReceiverStream::new(checks)
}

fn check_all(
    engine: &Engine,
    stopping: &CancellationToken,
    out: &Out,
    found_damage: impl Fn(Lsn),
) -> Result<(), Status> {
    let reader = engine.reader().ok_or_else(not_open)?;
    let full = reader.full_segments();
    tell(out, What::TotalBytes(full.len() as u64 * reader.segment_bytes()))?;
    let go_on = paced(engine.clone(), stopping.clone(), URGENT_RATE);
    for base in full {
        let checked = reader.check(base, |bytes| tell(out, What::ReadBytes(bytes)).is_ok() && go_on(bytes));
        match checked {
            Ok(sum) => tell(out, What::Segment(whole(sum)))?,
            Err(error) if error.is_damage() => {
                found_damage(base);
                tell(out, What::Segment(damaged(&reader, base, &error)))?;
            }
            // Dropped meanwhile.
            Err(CheckError::NotSealed(_)) => {}
            Err(CheckError::GivenUp) => return Err(not_open()),
            Err(error) => return Err(Status::internal(error.to_string())),
        }
    }
    Ok(())
}

fn tell(out: &Out, what: What) -> Result<(), Status> {
    out.blocking_send(Ok(pb::SegmentCheck { what: Some(what) }))
        .map_err(|_| Status::cancelled("nobody listens"))
}

fn not_open() -> Status {
    Status::unavailable("the log is being opened anew, or the broker stops: check again")
}

fn whole(SegmentSum { base, end, sum }: SegmentSum) -> pb::CheckedSegment {
    pb::CheckedSegment { base: base.0, end: end.0, sum, damage: String::new() }
}

fn damaged(reader: &LogReader<StdDisk>, base: Lsn, error: &CheckError) -> pb::CheckedSegment {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let end = base.plus(reader.segment_bytes());
    pb::CheckedSegment { base: base.0, end: end.0, sum: 0, damage: format!("{error}{source}") }
}
