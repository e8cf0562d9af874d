//! `SendMessage`: stores messages, all of a request or none, and answers when they are committed.

use std::time::Duration;

use prost::Message as _;
use rq_core::handle::{self, RecallHandle, TransactionId};
use rq_core::ids::LogTime;
use rq_core::queue::request::{Name, Sent};
use rq_proto::rocketmq::{Message, MessageType, SendMessageRequest, SendMessageResponse, SendResultEntry};

use super::call::Call;
use super::refusal::{Refusal, ok};
use super::{Gateway, wall_clock_ms};
use crate::engine::EngineError;
use crate::wire::names;
use crate::wire::send::{self, Sender};

/// The answer leaves so long before the deadline of the call, so that it arrives in time.
const DEADLINE_MARGIN: Duration = Duration::from_millis(300);

pub(super) async fn send_message(
    gateway: &Gateway,
    call: &Call,
    request: SendMessageRequest,
) -> Result<SendMessageResponse, Refusal> {
    let bytes = request.encoded_len();
    let _taken = u32::try_from(bytes)
        .ok()
        .and_then(|bytes| gateway.sends.try_acquire_many(bytes).ok())
        .ok_or(Refusal::Engine(EngineError::Overloaded))?;
    let sender = Sender {
        client_id: call.client_id()?,
        remote: call.connection().and_then(|connection| connection.remote),
        now_ms: wall_clock_ms(),
    };
    let send = send::send(&request, sender, &gateway.options.messages)?;
    let deliver_at: Vec<LogTime> = send.messages.iter().map(|message| message.deliver_at).collect();
    let stored = gateway.engine.send(send);
    let stored = match call.deadline().and_then(|deadline| deadline.checked_sub(DEADLINE_MARGIN)) {
        // It goes on without us: whether it is stored is not known then.
        Some(until) => {
            tokio::time::timeout_at(until.into(), stored).await.map_err(|_| Refusal::SendUnknown)?
        }
        None => stored.await,
    };
    let stored = stored.map_err(Refusal::of_send)??;

    let bytes = request.messages.iter().map(|message| message.body.len() as u64).sum();
    gateway.metrics.messages_in.inc_by(stored.len() as u64);
    gateway.metrics.bytes_in.inc_by(bytes);
    let messages = request.messages.into_iter().zip(deliver_at).zip(stored);
    let entries = messages.map(|((message, deliver_at), sent)| entry(gateway, message, deliver_at, sent));
    Ok(SendMessageResponse { status: Some(ok()), entries: entries.collect() })
}

/// The topic of half messages; none of other ones.
pub(super) fn topic_of_halves(request: &SendMessageRequest) -> Option<Name> {
    // All messages of a send are of one topic and one type.
    let first = request.messages.first()?;
    let half = first.system_properties.as_ref()?.message_type() == MessageType::Transaction;
    half.then(|| names::topic(first.topic.as_ref()).ok()).flatten()
}

/// What the producer hears of one message: of one that waits, also how to come back to it.
fn entry(gateway: &Gateway, message: Message, deliver_at: LogTime, sent: Sent) -> SendResultEntry {
    let message_id = message.system_properties.map(|system| system.message_id).unwrap_or_default();
    let shard = gateway.options.shard;
    let (mut transaction_id, mut recall_handle) = (String::new(), String::new());
    match sent.held {
        Some(id) if deliver_at == LogTime(0) => {
            transaction_id = handle::encode_transaction(shard, TransactionId { topic: sent.topic, half: id });
        }
        Some(id) => {
            let message_id = message_id.clone();
            let handle = RecallHandle { topic: sent.topic, deliver_at, id, message_id };
            recall_handle = handle::encode_recall(shard, &handle);
        }
        None => {}
    }
    let offset = sent.offset.0.cast_signed();
    SendResultEntry { status: Some(ok()), message_id, transaction_id, offset, recall_handle }
}
