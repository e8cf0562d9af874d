//! Why a call is answered with anything but OK: the one map from the errors of the gateway, the shard and the
//! engine to RocketMQ's codes.

use rq_core::handle::{NotAHandle, NotARecallHandle, NotATransactionId};
use rq_core::queue::request::{
    ChangeInvisibleError, ConsumeError, DiskFull, EndTransactionError, GroupNotFound, KindMismatch,
    NoSuchDelayed, NoSuchTransaction, RecallError, ReceiveError, SendError, StaleHandle, TooMany,
    TopicNotFound, TopicOnUseError, TransactionEnded,
};
use rq_proto::rocketmq::{Code, Status};
use thiserror::Error;

use crate::engine::EngineError;
use crate::forwarding::headers::Fate;
use crate::wire::Invalid;

/// Why a call was not carried out. The text is what users see.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    NotAHandle(#[from] NotAHandle),
    #[error(transparent)]
    TopicNotFound(#[from] TopicNotFound),
    #[error(transparent)]
    GroupNotFound(#[from] GroupNotFound),
    #[error(transparent)]
    KindMismatch(#[from] KindMismatch),
    #[error(transparent)]
    DiskFull(#[from] DiskFull),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(transparent)]
    StaleHandle(#[from] StaleHandle),
    #[error(transparent)]
    NotATransactionId(#[from] NotATransactionId),
    #[error(transparent)]
    NoSuchTransaction(#[from] NoSuchTransaction),
    #[error(transparent)]
    TransactionEnded(#[from] TransactionEnded),
    #[error(transparent)]
    NotARecallHandle(#[from] NotARecallHandle),
    #[error(transparent)]
    NoSuchDelayed(#[from] NoSuchDelayed),
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A send of which nobody knows whether it was stored.
    #[error("the message may or may not have been stored: send it again with the same message id")]
    SendUnknown,
    /// Nothing was found to receive.
    #[error("no message arrived within the polling time")]
    NothingFound,
}

impl Refusal {
    /// For a send: where the engine does not know, the answer says so.
    pub(crate) const fn of_send(error: EngineError) -> Self {
        match error {
            EngineError::Unknown => Self::SendUnknown,
            EngineError::Overloaded
            | EngineError::TooLarge { .. }
            | EngineError::NotMaster
            | EngineError::TooFewInSync
            | EngineError::Stopping => Self::Engine(error),
        }
    }

    /// What became of the call, where another master may carry it out.
    pub(crate) const fn fate(&self) -> Option<Fate> {
        match self {
            Self::Engine(EngineError::NotMaster) => Some(Fate::Nothing),
            Self::Engine(EngineError::Unknown) | Self::SendUnknown => Some(Fate::Unknown),
            _ => None,
        }
    }

    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Invalid(invalid) => invalid.code(),
            Self::NotAHandle(NotAHandle) | Self::StaleHandle(StaleHandle) => Code::InvalidReceiptHandle,
            Self::NotATransactionId(_) | Self::NoSuchTransaction(_) | Self::TransactionEnded(_) => {
                Code::InvalidTransactionId
            }
            Self::NotARecallHandle(_) | Self::NoSuchDelayed(_) => Code::BadRequest,
            Self::TopicNotFound(_) => Code::TopicNotFound,
            Self::GroupNotFound(_) => Code::ConsumerGroupNotFound,
            Self::KindMismatch(_) => Code::MessagePropertyConflictWithType,
            // Surely nothing was done: clients back off and try again, and keep the endpoint.
            Self::DiskFull(_)
            | Self::TooMany(_)
            | Self::Engine(
                EngineError::Overloaded
                | EngineError::NotMaster
                | EngineError::TooFewInSync
                | EngineError::Stopping,
            ) => Code::TooManyRequests,
            Self::Engine(EngineError::TooLarge { .. }) => Code::PayloadTooLarge,
            Self::Engine(EngineError::Unknown) => Code::InternalServerError,
            Self::SendUnknown => Code::MasterPersistenceTimeout,
            Self::NothingFound => Code::MessageNotFound,
        }
    }

    pub(crate) fn status(&self) -> Status {
        Status { code: self.code().into(), message: self.to_string() }
    }
}

/// The status of success.
pub(crate) fn ok() -> Status {
    Status { code: Code::Ok.into(), message: "OK".to_owned() }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TopicNotFound(error) => error.into(),
            SendError::KindMismatch(error) => error.into(),
            SendError::DiskFull(error) => error.into(),
            SendError::TooMany(error) => error.into(),
        }
    }
}

impl From<ReceiveError> for Refusal {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::TopicNotFound(error) => error.into(),
            ReceiveError::GroupNotFound(error) => error.into(),
            ReceiveError::TooMany(error) => error.into(),
            ReceiveError::DiskFull(error) => error.into(),
            // Whoever still reads that answer need not ask for the same a third time.
            ReceiveError::Repeated => Self::NothingFound,
        }
    }
}

impl From<TopicOnUseError> for Refusal {
    fn from(error: TopicOnUseError) -> Self {
        match error {
            TopicOnUseError::TopicNotFound(error) => error.into(),
            TopicOnUseError::TooMany(error) => error.into(),
            TopicOnUseError::DiskFull(error) => error.into(),
        }
    }
}

impl From<ConsumeError> for Refusal {
    fn from(error: ConsumeError) -> Self {
        match error {
            ConsumeError::GroupNotFound(error) => error.into(),
            ConsumeError::TooMany(error) => error.into(),
        }
    }
}

impl From<EndTransactionError> for Refusal {
    fn from(error: EndTransactionError) -> Self {
        match error {
            EndTransactionError::TopicNotFound(error) => error.into(),
            EndTransactionError::NoSuchTransaction(error) => error.into(),
            EndTransactionError::TransactionEnded(error) => error.into(),
        }
    }
}

impl From<RecallError> for Refusal {
    fn from(error: RecallError) -> Self {
        match error {
            RecallError::TopicNotFound(error) => error.into(),
            RecallError::KindMismatch(error) => error.into(),
            RecallError::NoSuchDelayed(error) => error.into(),
        }
    }
}

impl From<ChangeInvisibleError> for Refusal {
    fn from(error: ChangeInvisibleError) -> Self {
        match error {
            ChangeInvisibleError::GroupNotFound(error) => error.into(),
            ChangeInvisibleError::StaleHandle(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rq_core::queue::settings::TopicKind;

    use super::*;

    #[test]
    fn each_error_has_its_code_and_says_what_to_do() {
        let rows: Vec<(Refusal, Code)> = vec![
            (Invalid::ClientIdRequired.into(), Code::ClientIdRequired),
            (NotAHandle.into(), Code::InvalidReceiptHandle),
            (ReceiveError::from(TopicNotFound { topic: "t".into() }).into(), Code::TopicNotFound),
            (ConsumeError::from(GroupNotFound { group: "g".into() }).into(), Code::ConsumerGroupNotFound),
            (
                SendError::from(KindMismatch { topic: TopicKind::Fifo, message: TopicKind::Normal }).into(),
                Code::MessagePropertyConflictWithType,
            ),
            (SendError::from(DiskFull { free_bytes: 1, pinned_by: None }).into(), Code::TooManyRequests),
            (ReceiveError::from(TooMany { what: "topics", limit: 1 }).into(), Code::TooManyRequests),
            (ChangeInvisibleError::from(StaleHandle).into(), Code::InvalidReceiptHandle),
            (NotATransactionId.into(), Code::InvalidTransactionId),
            (EndTransactionError::from(NoSuchTransaction).into(), Code::InvalidTransactionId),
            (TransactionEnded::Committed.into(), Code::InvalidTransactionId),
            (TransactionEnded::RolledBack.into(), Code::InvalidTransactionId),
            (TransactionEnded::GivenUp.into(), Code::InvalidTransactionId),
            (NotARecallHandle.into(), Code::BadRequest),
            (RecallError::from(NoSuchDelayed).into(), Code::BadRequest),
            (EngineError::Overloaded.into(), Code::TooManyRequests),
            (EngineError::Stopping.into(), Code::TooManyRequests),
            (EngineError::TooFewInSync.into(), Code::TooManyRequests),
            (EngineError::TooLarge { bytes: 2, limit: 1 }.into(), Code::PayloadTooLarge),
            (EngineError::Unknown.into(), Code::InternalServerError),
            (Refusal::of_send(EngineError::Unknown), Code::MasterPersistenceTimeout),
            (Refusal::of_send(EngineError::Overloaded), Code::TooManyRequests),
            (Refusal::NothingFound, Code::MessageNotFound),
        ];
        for (refusal, code) in rows {
            assert_eq!(refusal.code(), code, "{refusal}");
            let text = refusal.status().message;
            assert!(text.starts_with(char::is_lowercase) && !text.ends_with('.'), "{text}");
        }
    }
}
