//! Why a call failed, and what that says of what was asked for.

use std::time::Duration;

use rq_proto::rocketmq as pb;
use thiserror::Error;

use crate::endpoint::innermost;

/// How tonic begins to tell of an answer that is HTTP alone.
const NO_GRPC_STATUS: &str = "grpc-status header missing";

/// Why a call failed.
#[derive(Clone, Debug, Error)]
pub(crate) enum CallError {
    /// No connection: surely not done.
    #[error("cannot reach the broker: {reason}; is it running, and is --endpoint right?")]
    Unreachable { reason: String },
    /// No answer in time: may have been done.
    #[error("the broker did not answer within {}: it may have carried out the request; try again, or raise --timeout", humantime::format_duration(*.0))]
    NoAnswer(Duration),
    /// The connection broke, or what answers is no RocketMQ broker: may have been done.
    #[error("the call broke off (gRPC {code:?}): {message}")]
    Broken { code: tonic::Code, message: String },
    /// The broker's answer.
    #[error("{}: {message}", code_name(*.code))]
    Refused { code: i32, message: String },
    /// An answer that misses what it must have.
    #[error("the broker's answer has no {0}: is it a RocketMQ 5 broker?")]
    Incomplete(&'static str),
}

/// What is known of a call that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// Surely not done.
    NotDone,
    /// Done or not.
    Unknown,
}

impl CallError {
    /// Was it surely not done?
    pub(crate) fn fate(&self) -> Fate {
        match self {
            Self::Unreachable { .. } => Fate::NotDone,
            Self::NoAnswer(_) | Self::Broken { .. } | Self::Incomplete(_) => Fate::Unknown,
            Self::Refused { code, .. } => match pb::Code::try_from(*code) {
                Ok(
                    pb::Code::InternalError
                    | pb::Code::InternalServerError
                    | pb::Code::HaNotAvailable
                    | pb::Code::ProxyTimeout
                    | pb::Code::MasterPersistenceTimeout
                    | pb::Code::SlavePersistenceTimeout
                    | pb::Code::RequestTimeout,
                )
                | Err(_) => Fate::Unknown,
                Ok(_) => Fate::NotDone,
            },
        }
    }

    /// May the same call succeed later?
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Refused { code, .. } => {
                self.fate() == Fate::Unknown || *code == i32::from(pb::Code::TooManyRequests)
            }
            // An HTTP error without a gRPC status is not a broker's: a balancer on the way has nobody behind it for now.
            Self::Broken { code, message } => {
                *code != tonic::Code::Unimplemented || message.starts_with(NO_GRPC_STATUS)
            }
            Self::Unreachable { .. } | Self::NoAnswer(_) => true,
            Self::Incomplete(_) => false,
        }
    }

    /// One word for counting: the name of the code, or what happened to the call.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Unreachable { .. } => "UNREACHABLE".to_owned(),
            Self::NoAnswer(_) => "NO_ANSWER".to_owned(),
            Self::Broken { .. } => "BROKEN".to_owned(),
            Self::Refused { code, .. } => code_name(*code),
            Self::Incomplete(_) => "INCOMPLETE".to_owned(),
        }
    }
}

impl CallError {
    /// What a gRPC error means for a call with that deadline.
    pub(crate) fn of(status: &tonic::Status, deadline: Duration) -> Self {
        let mut cause = std::error::Error::source(status);
        while let Some(error) = cause {
            if error.is::<tonic::ConnectError>() {
                return Self::Unreachable { reason: innermost(error) };
            }
            if error.is::<tonic::TimeoutExpired>() {
                return Self::NoAnswer(deadline);
            }
            cause = error.source();
        }
        if status.code() == tonic::Code::DeadlineExceeded {
            return Self::NoAnswer(deadline);
        }
        Self::Broken { code: status.code(), message: status.message().to_owned() }
    }
}

fn code_name(code: i32) -> String {
    pb::Code::try_from(code).map_or_else(|_| format!("code {code}"), |code| code.as_str_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_of_persistence_leaves_the_fate_open() {
        let fate = |code: pb::Code| CallError::Refused { code: code.into(), message: String::new() }.fate();
        assert_eq!(fate(pb::Code::MasterPersistenceTimeout), Fate::Unknown);
        assert_eq!(fate(pb::Code::HaNotAvailable), Fate::Unknown);
        assert_eq!(fate(pb::Code::TooManyRequests), Fate::NotDone);
        assert_eq!(fate(pb::Code::TopicNotFound), Fate::NotDone);
        assert_eq!(CallError::NoAnswer(Duration::from_secs(1)).fate(), Fate::Unknown);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let temporary =
            |code: pb::Code| CallError::Refused { code: code.into(), message: String::new() }.is_temporary();
        assert!(temporary(pb::Code::TooManyRequests));
        assert!(temporary(pb::Code::SlavePersistenceTimeout));
        assert!(!temporary(pb::Code::TopicNotFound));
        assert!(!temporary(pb::Code::MessageBodyTooLarge));
    }

    #[test]
    fn codes_of_newer_brokers_are_shown_as_numbers() {
        assert_eq!(CallError::Refused { code: 49999, message: "x".to_owned() }.to_string(), "code 49999: x");
    }
}
