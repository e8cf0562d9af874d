//! The end of a transaction, as its producer says it.

use rq_proto::rocketmq as pb;

use super::{CallError, Client, check, in_time, named};

impl Client {
    /// Commits a half message: consumers get it from then on. The same again is OK too.
    pub(crate) async fn commit(
        &self,
        topic: &str,
        message_id: &str,
        transaction_id: &str,
    ) -> Result<(), CallError> {
        let end = pb::EndTransactionRequest {
            topic: Some(named(topic)),
            message_id: message_id.to_owned(),
            transaction_id: transaction_id.to_owned(),
            resolution: pb::TransactionResolution::Commit.into(),
            source: pb::TransactionSource::SourceClient.into(),
            trace_context: String::new(),
        };
        let mut rpc = self.rpc.clone();
        let answer = in_time(self.timeout, rpc.end_transaction(self.request(end))).await?;
        check(answer.into_inner().status)
    }
}
