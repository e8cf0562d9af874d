//! `RecallMessage`: takes a delayed message back; answered when that is committed.

use rq_core::handle;
use rq_core::queue::request::Recall;
use rq_proto::rocketmq::{RecallMessageRequest, RecallMessageResponse};

use super::Gateway;
use super::call::Call;
use super::refusal::{Refusal, ok};
use crate::wire::names;

pub(super) async fn recall_message(
    gateway: &Gateway,
    call: &Call,
    request: &RecallMessageRequest,
) -> Result<RecallMessageResponse, Refusal> {
    call.client_id()?;
    let topic = names::topic(request.topic.as_ref())?;
    let handle = handle::decode_recall(gateway.options.shard, &request.recall_handle)?;
    let (deliver_at, id) = (handle.deliver_at, handle.id);
    gateway.engine.recall(Recall { topic, incarnation: handle.topic, deliver_at, id }).await??;
    Ok(RecallMessageResponse { status: Some(ok()), message_id: handle.message_id })
}
