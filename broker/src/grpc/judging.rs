//! Receives by an expression over properties: what the shard does not know of its messages is read and judged here, and told
//! to it with the same receive again.

pub(super) mod slices;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rq_core::queue::request::{Answer, Candidate, Delivery, Filter, Judged, Receive, ReceiveError, Request};

use self::slices::Read;
use super::Gateway;
use super::filters::SqlFilter;
use crate::engine::EngineError;

/// Most verdicts that a receive carries along. When it has more, it forgets them all: most are on messages that were passed
/// over meanwhile, and the others are asked for again.
const VERDICTS_MAX: usize = 16_384;
/// After so long a round ends: the shard lets another receive judge if one does not come back for a second.
const ROUND: Duration = Duration::from_millis(500);
/// Most messages that are read before they are judged, and the bytes with which that ends.
const READ_MAX: usize = 64;
const READ_BYTES: usize = 1 << 20;
/// Pause after a round in which nothing could be read: its messages were dropped, or are being copied elsewhere.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for messages of which the expression is true. Once `patience` is over it judges no more, and finds none: what was
/// passed over until then stays so, and the next receive goes on there.
pub(super) async fn receive(
    gateway: &Gateway,
    mut receive: Receive,
    filter: &Arc<SqlFilter>,
    patience: Duration,
) -> Result<Result<Vec<Delivery>, ReceiveError>, EngineError> {
    let (began, wait) = (Instant::now(), Duration::from_millis(receive.wait_ms));
    loop {
        if let Filter::Properties(judged) = &mut receive.filter {
            judged.most = filter.likely_holds(receive.batch);
        }
        let candidates = match gateway.engine.request(Request::Receive(receive.clone())).await? {
            Answer::Receive(received) => return Ok(received),
            Answer::Judge(candidates) => candidates,
            _ => return Err(EngineError::Unknown),
        };
        if began.elapsed() > patience {
            return Ok(Ok(Vec::new()));
        }
        let Filter::Properties(judged) = &mut receive.filter else { return Err(EngineError::Unknown) };
        // What was judged until its time is over is told to the shard, however many others want to judge.
        let judging = judge(gateway, filter, &candidates, receive.batch as usize, judged);
        let judging = tokio::time::timeout(patience.saturating_sub(began.elapsed()), judging);
        let judged = tokio::select! {
            judged = judging => judged,
            // Between the shard's answers nothing is popped.
            () = gateway.stopping.cancelled() => return Err(EngineError::Stopping),
        };
        match judged {
            Ok(judged) if judged? == 0 => tokio::time::sleep(PAUSE).await,
            Ok(_) | Err(_) => {}
        }
        receive.wait_ms = wait.saturating_sub(began.elapsed()).as_millis() as u64;
    }
}

/// Judges messages until a batch of them is wanted, and says how many it judged. A batch is all that the receive takes: it is
/// told about those behind when it comes to them, or somebody else is. Verdicts are not shared between receives: 32 consumers of
/// one group, each told about 1,024 messages at a time, judged a backlog 1.2 to 1.9 times in all.
async fn judge(
    gateway: &Gateway,
    filter: &Arc<SqlFilter>,
    candidates: &[Candidate],
    batch: usize,
    judged: &mut Judged,
) -> Result<usize, EngineError> {
    let began = Instant::now();
    let (mut verdicts, mut wanted, mut at) = (0, 0, 0);
    let mut read = VecDeque::new();
    while at < candidates.len() && wanted < batch && began.elapsed() < ROUND {
        if read.is_empty() {
            read = read_some(gateway, &candidates[at..]).await;
        }
        let (slice, rest) = gateway.slices.judge(filter, read, batch - wanted).await?;
        read = rest;
        let before = (verdicts, wanted);
        for (candidate, verdict) in candidates[at..].iter().zip(slice) {
            at += 1;
            let Some(verdict) = verdict? else { continue };
            note(judged, candidate, verdict);
            verdicts += 1;
            wanted += usize::from(verdict);
        }
        gateway.metrics.judged.inc_by((verdicts - before.0) as u64);
        filter.note((verdicts - before.0) as u64, (wanted - before.1) as u64);
    }
    Ok(verdicts)
}

/// Reads messages from the first on: at least one, and more while they are few and small.
async fn read_some(gateway: &Gateway, candidates: &[Candidate]) -> VecDeque<Read> {
    let (mut read, mut bytes) = (VecDeque::new(), 0);
    while read.len() < candidates.len().min(READ_MAX) && bytes < READ_BYTES {
        let rest = candidates[read.len()..].iter();
        let more = gateway.engine.read_ahead(rest.map(|candidate| candidate.lsn)).await;
        let sizes = more.iter().map(|read| read.as_ref().map_or(0, |stored| stored.content.len()));
        bytes += sizes.sum::<usize>();
        read.extend(more);
    }
    read
}

fn note(judged: &mut Judged, candidate: &Candidate, verdict: bool) {
    if judged.topic != candidate.topic || judged.verdicts.len() >= VERDICTS_MAX {
        judged.topic = candidate.topic;
        judged.verdicts.clear();
    }
    judged.verdicts.insert((candidate.queue, candidate.offset), verdict);
}
