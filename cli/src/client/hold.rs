//! What becomes of a message that waits: a transaction ends as its producer says, a delayed message is recalled.

use rq_proto::rocketmq as pb;

use super::{CallError, Client, check, in_time, named};

impl Client {
    /// Ends the transaction of a half message: consumers get it from then on, or never. The same again is OK too.
    pub(crate) async fn end(
        &self,
        topic: &str,
        message_id: &str,
        transaction_id: &str,
        resolution: pb::TransactionResolution,
    ) -> Result<(), CallError> {
        let end = pb::EndTransactionRequest {
            topic: Some(named(topic)),
            message_id: message_id.to_owned(),
            transaction_id: transaction_id.to_owned(),
            resolution: resolution.into(),
            source: pb::TransactionSource::SourceClient.into(),
            trace_context: String::new(),
        };
        let mut rpc = self.rpc.clone();
        let answer = in_time(self.timeout, rpc.end_transaction(self.request(end))).await?;
        check(answer.into_inner().status)
    }

    /// Takes back a delayed message that is not out yet, and tells its id. The same again is OK too.
    pub(crate) async fn recall(&self, topic: &str, handle: &str) -> Result<String, CallError> {
        let recall = pb::RecallMessageRequest { topic: Some(named(topic)), recall_handle: handle.to_owned() };
        let mut rpc = self.rpc.clone();
        let answer = in_time(self.timeout, rpc.recall_message(self.request(recall))).await?.into_inner();
        check(answer.status)?;
        Ok(answer.message_id)
    }
}
