//! `EndTransaction`: answered when the end is committed, so that OK means it.

use rq_core::handle;
use rq_core::queue::request::EndTransaction;
use rq_proto::rocketmq::{EndTransactionRequest, EndTransactionResponse, TransactionResolution};

use super::Gateway;
use super::call::Call;
use super::refusal::{Refusal, ok};
use crate::wire::names;

/// A producer that does not know yet changes nothing: it is asked again.
pub(super) async fn end_transaction(
    gateway: &Gateway,
    call: &Call,
    request: &EndTransactionRequest,
) -> Result<EndTransactionResponse, Refusal> {
    call.client_id()?;
    let topic = names::topic(request.topic.as_ref())?;
    let transaction = handle::decode_transaction(gateway.options.shard, &request.transaction_id)?;
    let commit = match request.resolution() {
        TransactionResolution::Commit => true,
        TransactionResolution::Rollback => false,
        TransactionResolution::Unspecified => return Ok(EndTransactionResponse { status: Some(ok()) }),
    };
    let end = EndTransaction { topic, incarnation: transaction.topic, half: transaction.half, commit };
    gateway.engine.end_transaction(end).await??;
    Ok(EndTransactionResponse { status: Some(ok()) })
}
