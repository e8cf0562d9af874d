//! Half messages and delayed ones.

use std::time::SystemTime;

use rq_proto::reliablequeue::ListTransactionsRequest;
use rq_proto::rocketmq as wire;

use super::{CALL_DEADLINE, Client, Outgoing, answer, outcome_of, outgoing, resource};
use crate::history::Outcome;

impl Client {
    /// Sends a half message once; with its transaction id if it is stored.
    pub async fn send_half(&self, message: &Outgoing<'_>) -> (Outcome, String) {
        let mut half = outgoing(message);
        if let Some(properties) = &mut half.system_properties {
            properties.message_type = wire::MessageType::Transaction.into();
        }
        let (outcome, entry) = self.send_message(half).await;
        (outcome, entry.transaction_id)
    }

    /// Sends a message once that is to be delivered then; with its recall handle if it is stored and waits.
    pub async fn send_delayed(&self, message: &Outgoing<'_>, at: SystemTime) -> (Outcome, String) {
        let mut delayed = outgoing(message);
        if let Some(properties) = &mut delayed.system_properties {
            properties.message_type = wire::MessageType::Delay.into();
            properties.delivery_timestamp = Some(at.into());
        }
        let (outcome, entry) = self.send_message(delayed).await;
        (outcome, entry.recall_handle)
    }

    /// Ends a transaction.
    pub async fn end(&self, topic: &str, transaction_id: &str, commit: bool) -> Outcome {
        let resolution =
            if commit { wire::TransactionResolution::Commit } else { wire::TransactionResolution::Rollback };
        let end = wire::EndTransactionRequest {
            topic: Some(resource(topic)),
            transaction_id: transaction_id.to_owned(),
            resolution: resolution.into(),
            ..Default::default()
        };
        let call = async { self.messaging.clone().end_transaction(self.request(end, CALL_DEADLINE)?).await };
        answer(call).await.map_or_else(|unknown| unknown, |answer| outcome_of(answer.status))
    }

    /// Whether transactions of a topic are open; none where nobody answers.
    pub async fn has_open_transactions(&self, topic: &str) -> Option<bool> {
        let listed = ListTransactionsRequest { topic: topic.to_owned(), from: 0, limit: 1 };
        let mut request = tonic::Request::new(listed);
        request.set_timeout(CALL_DEADLINE);
        let listed = self.admin.clone().list_transactions(request).await.ok()?;
        Some(!listed.into_inner().transactions.is_empty())
    }

    /// Takes a delayed message back.
    pub async fn recall(&self, topic: &str, handle: &str) -> Outcome {
        let recall =
            wire::RecallMessageRequest { topic: Some(resource(topic)), recall_handle: handle.to_owned() };
        let call =
            async { self.messaging.clone().recall_message(self.request(recall, CALL_DEADLINE)?).await };
        answer(call).await.map_or_else(|unknown| unknown, |answer| outcome_of(answer.status))
    }
}
