//! Receives by an expression over properties: what the shard does not know of its messages is read and judged here, and told
//! to it with the same receive again.

use std::time::{Duration, Instant};

use rq_core::queue::request::{Answer, Candidate, Delivery, Filter, Judged, Receive, ReceiveError, Request};
use rq_core::record::StoredMessage;

use super::Gateway;
use super::filters::SqlFilter;
use crate::engine::{EngineError, ReadMessageError};

/// Most verdicts that a receive carries along. When it has more, it forgets them all: most are on messages that were passed
/// over meanwhile, and the others are asked for again.
const VERDICTS_MAX: usize = 16_384;
/// After so long a round ends: the shard lets another receive judge if one does not come back for a second.
const ROUND: Duration = Duration::from_millis(500);
/// Messages judged before other tasks of the thread get their turn.
const STRETCH: usize = 64;
/// Pause after a round in which nothing could be read: its messages were dropped, or are being copied elsewhere.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for messages of which the expression is true. Once `patience` is over it judges no more, and finds none: what was
/// passed over until then stays so, and the next receive goes on there.
pub(super) async fn receive(
    gateway: &Gateway,
    mut receive: Receive,
    filter: &SqlFilter,
    patience: Duration,
) -> Result<Result<Vec<Delivery>, ReceiveError>, EngineError> {
    let (began, wait) = (Instant::now(), Duration::from_millis(receive.wait_ms));
    loop {
        let candidates = match gateway.engine.request(Request::Receive(receive.clone())).await? {
            Answer::Receive(received) => return Ok(received),
            Answer::Judge(candidates) => candidates,
            _ => return Err(EngineError::Unknown),
        };
        if began.elapsed() > patience {
            return Ok(Ok(Vec::new()));
        }
        let Filter::Properties(judged) = &mut receive.filter else { return Err(EngineError::Unknown) };
        if judge(gateway, filter, &candidates, receive.batch as usize, judged).await? == 0 {
            tokio::time::sleep(PAUSE).await;
        }
        receive.wait_ms = wait.saturating_sub(began.elapsed()).as_millis() as u64;
    }
}

/// Judges messages until a batch of them is wanted, and says how many it judged. A batch is all that the receive takes: it is
/// told about those behind when it comes to them, or somebody else is. Verdicts are not shared between receives: 32 consumers of
/// one group judged a backlog 1.2 to 1.9 times in all.
async fn judge(
    gateway: &Gateway,
    filter: &SqlFilter,
    candidates: &[Candidate],
    batch: usize,
    judged: &mut Judged,
) -> Result<usize, EngineError> {
    let began = Instant::now();
    let (mut verdicts, mut wanted, mut at) = (0, 0, 0);
    while at < candidates.len() && wanted < batch && began.elapsed() < ROUND {
        let rest = &candidates[at..];
        let read = gateway.engine.read_ahead(rest.iter().map(|candidate| candidate.lsn)).await;
        for (candidate, read) in rest.iter().zip(read) {
            at += 1;
            let Some(verdict) = verdict(gateway, filter, read)? else { continue };
            note(judged, candidate, verdict);
            verdicts += 1;
            wanted += usize::from(verdict);
        }
        if at.is_multiple_of(STRETCH) {
            tokio::task::yield_now().await;
        }
    }
    Ok(verdicts)
}

/// The verdict on a message that was read. None where only the shard can say what became of it.
fn verdict(
    gateway: &Gateway,
    filter: &SqlFilter,
    read: Result<StoredMessage, ReadMessageError>,
) -> Result<Option<bool>, EngineError> {
    // A damaged message is wanted: its delivery says that it cannot be read, as it does without a filter.
    const DAMAGED: Result<Option<bool>, EngineError> = Ok(Some(true));
    let stored = match read {
        Ok(stored) => stored,
        Err(ReadMessageError::Damaged { .. }) => return DAMAGED,
        // Retention let go of the segment, and may have copied the message before. The shard knows: it passes the message over,
        // or says where it lies now.
        Err(ReadMessageError::Dropped(_)) => return Ok(None),
        Err(ReadMessageError::Reopening) => return Err(EngineError::NotMaster),
    };
    let Ok(verdict) = filter.wants(&stored) else { return DAMAGED };
    gateway.metrics.judged.inc();
    Ok(Some(verdict))
}

fn note(judged: &mut Judged, candidate: &Candidate, verdict: bool) {
    if judged.topic != candidate.topic || judged.verdicts.len() >= VERDICTS_MAX {
        judged.topic = candidate.topic;
        judged.verdicts.clear();
    }
    judged.verdicts.insert((candidate.queue, candidate.offset), verdict);
}
