//! Transactions that have not ended: pages of them, one with its message, and their end by hand.

use rq_core::codec::Malformed;
use rq_core::handle::{self, TransactionId};
use rq_core::ids::HeldId;
use rq_core::message::MessageContent;
use rq_core::queue::request::{EndTransaction, EndTransactionError, TopicNotFound};
use rq_core::queue::view::OpenTransaction;
use rq_core::record::StoredMessage;
use rq_proto::reliablequeue as pb;
use tonic::Status;

use super::convert::{keys, properties};
use super::{engine, no_topic, page};
use crate::engine::{Engine, ReadMessageError};
use crate::grpc::wall_clock_ms;

pub(super) async fn list(
    broker: &Engine,
    request: &pb::ListTransactionsRequest,
) -> Result<pb::ListTransactionsResponse, Status> {
    let limit = page::limit(request.limit)?;
    let (topic, from) = (Some(request.topic.clone()).filter(|topic| !topic.is_empty()), HeldId(request.from));
    // One more tells whether there is another page.
    let look = broker.inspect(move |shard| match topic {
        Some(topic) if shard.topic_id(&topic).is_none() => Err(TopicNotFound { topic: topic.into() }),
        topic => Ok(shard.open_transactions(topic.as_deref(), from, limit + 1)),
    });
    let open = look.await.map_err(engine)?.map_err(|error| no_topic(&error))?;
    let (mut transactions, mut bytes) = (Vec::new(), 0);
    let mut next = open.get(limit).map_or(0, |next| next.half.0);
    for open in open.iter().take(limit) {
        if bytes > page::BYTES {
            next = open.half.0;
            break;
        }
        let Some(mut transaction) = read(broker, open).await? else { continue };
        bytes += transaction.body.len();
        transaction.body.clear();
        transactions.push(transaction);
    }
    Ok(pb::ListTransactionsResponse { transactions, next, now_ms: wall_clock_ms() })
}

pub(super) async fn describe(broker: &Engine, id: &str) -> Result<pb::Transaction, Status> {
    let TransactionId { topic, half } = named(broker, id)?;
    let look = broker.inspect(move |shard| {
        let found = shard.open_transactions(None, half, 1);
        found.into_iter().find(|open| open.half == half && open.topic == topic)
    });
    let gone = || {
        Status::not_found(
            "no transaction with this id is open: `rq tx list` shows those that are, and `rq dlq list TRANS_CHECK_MAX_TIME_TOPIC` those that nobody ended in time",
        )
    };
    let open = look.await.map_err(engine)?.ok_or_else(gone)?;
    read(broker, &open).await?.ok_or_else(gone)
}

pub(super) async fn end(
    broker: &Engine,
    request: &pb::EndTransactionRequest,
) -> Result<pb::EndTransactionResponse, Status> {
    let TransactionId { topic: incarnation, half } = named(broker, &request.transaction_id)?;
    let name = broker.inspect(move |shard| shard.topic_name(incarnation)).await.map_err(engine)?;
    let topic = name.ok_or_else(|| Status::not_found("the topic of this transaction was deleted"))?;
    let commit = request.commit;
    let end = EndTransaction { topic: topic.clone(), incarnation, half, commit };
    broker.end_transaction(end).await.map_err(engine)?.map_err(|error| match error {
        EndTransactionError::TopicNotFound(error) => no_topic(&error),
        EndTransactionError::NoSuchTransaction(error) => Status::not_found(error.to_string()),
        EndTransactionError::TransactionEnded(error) => Status::failed_precondition(error.to_string()),
    })?;
    let resolution = if commit { "committed" } else { "rolled back" };
    tracing::info!(%topic, transaction = request.transaction_id, resolution, "a transaction was ended by hand");
    Ok(pb::EndTransactionResponse { topic: topic.to_string() })
}

fn named(broker: &Engine, id: &str) -> Result<TransactionId, Status> {
    handle::decode_transaction(broker.identity().shard, id)
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

/// With what its half message says. None: it ended meanwhile, and retention let go of it.
async fn read(broker: &Engine, open: &OpenTransaction) -> Result<Option<pb::Transaction>, Status> {
    let transaction = match broker.read(open.lsn).await {
        Ok(stored) => message(&stored).map_err(|error| format!("its bytes are damaged: {error}")),
        Err(ReadMessageError::Dropped(_)) => return Ok(None),
        Err(error @ ReadMessageError::Reopening) => return Err(Status::unavailable(error.to_string())),
        Err(error @ ReadMessageError::Damaged { .. }) => Err(error.to_string()),
    };
    let id = TransactionId { topic: open.topic, half: open.half };
    Ok(Some(pb::Transaction {
        transaction_id: handle::encode_transaction(broker.identity().shard, id),
        topic: open.topic_name.to_string(),
        queue: open.queue.0.into(),
        checks: open.checks,
        next_check_ms: open.next_check.0.cast_signed(),
        ..transaction.unwrap_or_else(|damage| pb::Transaction { damage, ..pb::Transaction::default() })
    }))
}

fn message(stored: &StoredMessage) -> Result<pb::Transaction, Malformed> {
    let content = MessageContent::decode(&stored.content)?;
    Ok(pb::Transaction {
        message_id: content.message_id.to_owned(),
        tag: content.tag.unwrap_or_default().to_owned(),
        keys: keys(&content),
        properties: properties(&content),
        body: content.body.to_vec(),
        born_time_ms: content.born_ms,
        store_time_ms: stored.stored_at.0.cast_signed(),
        ..pb::Transaction::default()
    })
}
