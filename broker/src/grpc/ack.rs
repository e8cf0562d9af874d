//! `AckMessage`, `ChangeInvisibleDuration` and `ForwardMessageToDeadLetterQueue`: what becomes of a delivery.

use rq_core::handle;
use rq_core::queue::request::{Ack, ChangeInvisible, ForwardToDeadLetters, Handle, StaleHandle};
use rq_proto::rocketmq::{
    AckMessageEntry, AckMessageRequest, AckMessageResponse, AckMessageResultEntry,
    ChangeInvisibleDurationRequest, ChangeInvisibleDurationResponse, Code,
    ForwardMessageToDeadLetterQueueRequest, ForwardMessageToDeadLetterQueueResponse, Status,
};

use super::Gateway;
use super::call::Call;
use super::refusal::{Refusal, ok};
use crate::wire::{Invalid, names, receive};

pub(super) async fn ack_message(
    gateway: &Gateway,
    call: &Call,
    request: AckMessageRequest,
) -> Result<AckMessageResponse, Refusal> {
    call.client_id()?;
    names::topic(request.topic.as_ref())?;
    let group = names::group(request.group.as_ref(), call.namespace())?;
    let count = request.entries.len();
    if count == 0 {
        return Err(Invalid::NoEntries.into());
    }
    let limit = gateway.options.ack_entries;
    if count > limit {
        return Err(Invalid::TooManyEntries { count, limit }.into());
    }
    let decoded: Vec<_> =
        request.entries.iter().map(|entry| decode(gateway, &entry.receipt_handle)).collect();
    let handles: Vec<Handle> = decoded.iter().filter_map(|handle| handle.as_ref().ok().copied()).collect();
    let acked =
        if handles.is_empty() { Vec::new() } else { gateway.engine.ack(Ack { group, handles }).await?? };
    let mut acked = acked.into_iter();
    let statuses = decoded.into_iter().map(|handle| match handle {
        // One answer a handle; a missing one would be the engine's fault and is no success.
        Ok(_) => acked.next().unwrap_or(Err(StaleHandle)).map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    });
    Ok(ack_response(request.entries.into_iter().zip(statuses)))
}

fn ack_response(results: impl Iterator<Item = (AckMessageEntry, Result<(), Refusal>)>) -> AckMessageResponse {
    let entry = |(entry, result): (AckMessageEntry, Result<(), Refusal>)| AckMessageResultEntry {
        message_id: entry.message_id,
        receipt_handle: entry.receipt_handle,
        status: Some(result.map_or_else(|refusal| refusal.status(), |()| ok())),
    };
    let entries: Vec<_> = results.map(entry).collect();
    let status = common_status(entries.iter().filter_map(|entry| entry.status.as_ref()));
    AckMessageResponse { status: Some(status), entries }
}

/// The status of the whole: that of the entries where all have the same code.
fn common_status<'a>(mut statuses: impl Iterator<Item = &'a Status>) -> Status {
    let first = statuses.next().cloned().unwrap_or_else(ok);
    if statuses.all(|status| status.code == first.code) {
        first
    } else {
        Status {
            code: Code::MultipleResults.into(),
            message: "the entries have different results".to_owned(),
        }
    }
}

pub(super) async fn change_invisible_duration(
    gateway: &Gateway,
    call: &Call,
    request: ChangeInvisibleDurationRequest,
) -> (Result<ChangeInvisibleDurationResponse, Refusal>, String) {
    let changed = change_invisible(gateway, call, &request).await;
    let done = ChangeInvisibleDurationResponse { status: Some(ok()), ..Default::default() };
    (changed.map(|()| done), request.receipt_handle)
}

async fn change_invisible(
    gateway: &Gateway,
    call: &Call,
    request: &ChangeInvisibleDurationRequest,
) -> Result<(), Refusal> {
    call.client_id()?;
    names::topic(request.topic.as_ref())?;
    let group = names::group(request.group.as_ref(), call.namespace())?;
    let limits = &gateway.options.receives;
    let invisible_ms = receive::changed_invisible_ms(request.invisible_duration.as_ref(), limits)?;
    let handle = decode(gateway, &request.receipt_handle)?;
    let suspend = request.suspend.unwrap_or(false);
    gateway.engine.change_invisible(ChangeInvisible { group, handle, invisible_ms, suspend }).await??;
    Ok(())
}

pub(super) async fn forward_to_dead_letters(
    gateway: &Gateway,
    call: &Call,
    request: ForwardMessageToDeadLetterQueueRequest,
) -> Result<ForwardMessageToDeadLetterQueueResponse, Refusal> {
    call.client_id()?;
    names::topic(request.topic.as_ref())?;
    let group = names::group(request.group.as_ref(), call.namespace())?;
    let handle = decode(gateway, &request.receipt_handle)?;
    gateway.engine.forward_to_dead_letters(ForwardToDeadLetters { group, handle }).await??;
    Ok(ForwardMessageToDeadLetterQueueResponse { status: Some(ok()) })
}

fn decode(gateway: &Gateway, text: &str) -> Result<Handle, Refusal> {
    Ok(handle::decode(gateway.options.shard, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(results: Vec<Result<(), Refusal>>) -> Code {
        let entries = std::iter::repeat_with(AckMessageEntry::default);
        let response = ack_response(entries.zip(results));
        assert!(response.entries.iter().all(|entry| entry.status.is_some()));
        response.status.unwrap().code()
    }

    #[test]
    fn the_top_level_has_the_code_of_its_entries_or_says_that_they_differ() {
        let stale = || Err(Refusal::from(StaleHandle));
        assert_eq!(top(vec![Ok(())]), Code::Ok);
        assert_eq!(top(vec![stale()]), Code::InvalidReceiptHandle);
        assert_eq!(top(vec![Ok(()), Ok(())]), Code::Ok);
        assert_eq!(top(vec![Ok(()), stale()]), Code::MultipleResults);
    }
}
