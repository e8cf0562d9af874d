//! `SendMessage`: stores messages, all of a request or none, and answers when they are committed.

use std::time::Duration;

use prost::Message as _;
use rq_core::handle::{self, RecallHandle, TransactionId};
use rq_core::ids::{LogTime, Lsn};
use rq_core::queue::request::{Name, NewMessage, Sent};
use rq_core::queue::settings::TopicKind;
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
    // Of a kind that does not wait it is never asked.
    let waits = |message: &NewMessage| match message.kind {
        TopicKind::Transaction => Waits::Transaction,
        _ => Waits::Until(message.deliver_at),
    };
    let waits: Vec<Waits> = send.messages.iter().map(waits).collect();
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
    let mut entries = Vec::with_capacity(stored.len());
    for ((message, waits), sent) in request.messages.into_iter().zip(waits).zip(stored) {
        let waits = match waits {
            Waits::Until(asked) => Waits::Until(deliver_at(gateway, &sent, asked).await),
            Waits::Transaction => Waits::Transaction,
        };
        entries.push(entry(gateway, message, waits, sent));
    }
    Ok(SendMessageResponse { status: Some(ok()), entries })
}

/// The topic of half messages; none of other ones.
pub(super) fn topic_of_halves(request: &SendMessageRequest) -> Option<Name> {
    // All messages of a send are of one topic and one type.
    let first = request.messages.first()?;
    let half = first.system_properties.as_ref()?.message_type() == MessageType::Transaction;
    half.then(|| names::topic(first.topic.as_ref()).ok()).flatten()
}

/// What a message waits for, if it waits. A repeated one waits for the same as the first, which was of the same topic.
#[derive(Clone, Copy)]
enum Waits {
    /// The end of its transaction.
    Transaction,
    /// Its delivery time.
    Until(LogTime),
}

/// When a message is delivered that waits or did. A repeated send may ask for another time than the first, whose time it is: its
/// record tells. Where that is gone by now, there is hardly anything left to recall.
async fn deliver_at(gateway: &Gateway, sent: &Sent, asked: LogTime) -> LogTime {
    match sent.held {
        Some(id) if sent.duplicate => {
            gateway.engine.read(Lsn(id.0)).await.map_or(asked, |stored| stored.deliver_at)
        }
        _ => asked,
    }
}

/// What the producer hears of one message: of one that waits, also how to come back to it.
fn entry(gateway: &Gateway, message: Message, waits: Waits, sent: Sent) -> SendResultEntry {
    let message_id = message.system_properties.map(|system| system.message_id).unwrap_or_default();
    let shard = gateway.options.shard;
    let (mut transaction_id, mut recall_handle) = (String::new(), String::new());
    match (sent.held, waits) {
        (Some(id), Waits::Transaction) => {
            transaction_id = handle::encode_transaction(shard, TransactionId { topic: sent.topic, half: id });
        }
        (Some(id), Waits::Until(deliver_at)) => {
            let message_id = message_id.clone();
            let handle = RecallHandle { topic: sent.topic, deliver_at, id, message_id };
            recall_handle = handle::encode_recall(shard, &handle);
        }
        (None, _) => {}
    }
    let offset = sent.offset.0.cast_signed();
    SendResultEntry { status: Some(ok()), message_id, transaction_id, offset, recall_handle }
}
