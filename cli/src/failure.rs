//! Why a command failed, what to do about it, and with which code the process ends.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rq_proto::rocketmq::Code;
use thiserror::Error;

use crate::client::error::CallError;
use crate::endpoint::Unreachable;
use crate::kubectl::failure::KubeFailure;
use crate::local::failure::LocalError;

/// The end of a command that did not do what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// No connection.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// A call of the RocketMQ API.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A call of the Admin service.
    #[error("{}", admin_text(.0))]
    Admin(Box<tonic::Status>),
    /// Some messages were not acknowledged.
    #[error("{}: {error}", not_sent(*.sent, *.failed, *.may_be_stored))]
    NotSent { sent: u64, failed: u64, may_be_stored: u64, error: CallError },
    /// A message may not have been consumed for good.
    #[error("{0} messages were received but could not be acknowledged: they will be delivered again")]
    NotAcked(u64),
    /// Less came than was asked for.
    #[error(
        "{received} of {wanted} messages were received: no more came within the time; wait for them with --follow"
    )]
    TooFew { received: u64, wanted: u64 },
    /// Something to delete that is not there.
    #[error(
        "{} {name} does not exist, so nothing was deleted: `rq {kind} list` shows what there is",
        full_name(kind)
    )]
    NothingToDelete { kind: &'static str, name: String },
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
    /// Somebody was asked and said no.
    #[error("nothing was done")]
    Declined,
    /// No such dead letter.
    #[error("{group} has no dead letter at offset {offset}: `rq dlq list {group}` shows those that it has")]
    NoDeadLetter { group: String, offset: i64 },
    /// Some dead letters stay although they were to go.
    #[error("{0}")]
    LettersStay(String),
    /// Some transactions could not be ended by hand; the first of them says of what kind the failure is.
    #[error("{told}")]
    NotEnded { told: String, first: Box<Self> },
    /// A file of the user's.
    #[error("cannot {doing} {path}: {source}")]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// Standard input or output.
    #[error("cannot {doing}: {source}")]
    Stream { doing: &'static str, source: io::Error },
    /// The log has a damaged place.
    #[error("{file} is damaged at log position {lsn}: {reason}; restore it from a backup or a replica")]
    DamagedLog { file: PathBuf, lsn: u64, reason: String },
    /// Nobody can hand over.
    #[error(
        "the master does not answer: {asked} has heard nothing of it for {}; a slave in sync takes over by itself, see `rq status` and `rq local status`; if nobody does, wake or start the master", humantime::format_duration(*.silent)
    )]
    MasterSilent { silent: Duration, asked: String },
    /// Acknowledged, and never received.
    #[error(
        "{lost} acknowledged {} never received, and the consumer group {group} has nothing left: lost, unless somebody else received for that group",
        if *lost == 1 { "message was" } else { "messages were" }
    )]
    Lost { lost: u64, group: String },
    /// The copies of a cluster are not all whole and the same.
    #[error("{troubles} {}: the copies are not all whole and the same, or could not all be read", if *troubles == 1 { "finding" } else { "findings" })]
    CopiesDiffer { troubles: usize },
    /// Some dead letters could not be listed.
    #[error(
        "{damaged} dead letters are damaged on the disk and were left out: restore the log from a backup or a replica"
    )]
    DamagedLetters { damaged: usize },
    /// Not a data directory, or not one that can be read.
    #[error("cannot inspect {path}: {reason}")]
    Inspect { path: PathBuf, reason: String },
    /// A local cluster.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A queue on Kubernetes.
    #[error(transparent)]
    Kube(#[from] KubeFailure),
    /// What the library or the system reports of itself.
    #[error("the asynchronous runtime did not start: {0}")]
    Runtime(io::Error),
    /// The latencies can not be counted.
    #[error("no histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// A server of ours could not listen.
    #[error("cannot serve on {listen}: {reason}")]
    Listen { listen: String, reason: String },
}

impl Failure {
    /// 1 failed, 2 usage, 3 not found, 4 unreachable, 5 too few messages; clap itself ends with 2.
    pub(crate) fn exit_code(&self) -> ExitCode {
        const FAILED: u8 = 1;
        const USAGE: u8 = 2;
        const NOT_FOUND: u8 = 3;
        const UNREACHABLE: u8 = 4;
        const TOO_FEW: u8 = 5;
        ExitCode::from(match self {
            Self::NotEnded { first, .. } => return first.exit_code(),
            Self::Unreachable(_) | Self::MasterSilent { .. } => UNREACHABLE,
            Self::Usage(_) => USAGE,
            Self::TooFew { .. } => TOO_FEW,
            Self::NothingToDelete { .. } | Self::NoDeadLetter { .. } => NOT_FOUND,
            Self::Call(error) | Self::NotSent { error, .. } => match error {
                CallError::Unreachable { .. } | CallError::NoAnswer(_) => UNREACHABLE,
                CallError::Refused { code, .. } if is_not_found(*code) => NOT_FOUND,
                _ => FAILED,
            },
            Self::Admin(status) => match status.code() {
                tonic::Code::NotFound => NOT_FOUND,
                tonic::Code::Unavailable if is_transport(status) => UNREACHABLE,
                _ => FAILED,
            },
            Self::Local(error) if error.is_not_found() => NOT_FOUND,
            Self::Local(error) if error.is_unreachable() => UNREACHABLE,
            Self::Local(error) if error.is_usage() => USAGE,
            Self::Kube(error) if error.is_not_found() => NOT_FOUND,
            Self::Kube(error) if error.is_unreachable() => UNREACHABLE,
            Self::Kube(error) if error.is_usage() => USAGE,
            _ => FAILED,
        })
    }

    /// May the same call of the Admin service succeed later?
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Admin(status) => is_transport(status) || is_unanswered(status.code()),
            Self::Call(error) => error.is_temporary(),
            Self::Unreachable(_) => true,
            _ => false,
        }
    }

    /// What answers there has no Admin service.
    pub(crate) fn is_no_admin(&self) -> bool {
        matches!(self, Self::Admin(status) if status.code() == tonic::Code::Unimplemented)
    }

    /// In words for a command that deletes: what is not there is not to be made first.
    pub(crate) fn of_deletion(self, kind: &'static str, name: &str) -> Self {
        match self {
            Self::Admin(status) if status.code() == tonic::Code::NotFound => {
                Self::NothingToDelete { kind, name: name.to_owned() }
            }
            other => other,
        }
    }

    /// In words for whoever types ids and handles. The broker speaks to programs, which have them from the API.
    pub(crate) fn of_typed(self, source_of_ids: &str) -> Self {
        const FROM_API: &str = "as SendMessage returned it";
        match self {
            Self::Admin(status) if status.message().contains(FROM_API) => {
                let message = status.message().replace(FROM_API, source_of_ids);
                tonic::Status::new(status.code(), message).into()
            }
            Self::Call(CallError::Refused { code, message }) => {
                let message = message.replace(FROM_API, source_of_ids);
                Self::Call(CallError::Refused { code, message })
            }
            other => other,
        }
    }

    /// The reader of our output has seen enough (`rq … | head`): no failure of ours.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Stream { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Admin(Box::new(status))
    }
}

/// How far a `produce` came.
fn not_sent(sent: u64, failed: u64, may_be_stored: u64) -> String {
    match (sent, failed, may_be_stored) {
        (0, 1, 0) => "the message is not stored".to_owned(),
        (0, 1, _) => "the message may be stored or not".to_owned(),
        (_, _, 0) => format!("{sent} messages sent, {failed} not stored"),
        _ => {
            format!("{sent} messages sent, {failed} not acknowledged, {may_be_stored} of which may be stored")
        }
    }
}

/// As the command names it, and as people do.
fn full_name<'k>(kind: &&'k str) -> &'k str {
    if *kind == "group" { "consumer group" } else { kind }
}

fn is_not_found(code: i32) -> bool {
    matches!(
        Code::try_from(code),
        Ok(Code::NotFound | Code::TopicNotFound | Code::ConsumerGroupNotFound | Code::MessageNotFound)
    )
}

/// Did the master not answer whoever forwards to it, or not in time?
const fn is_unanswered(code: tonic::Code) -> bool {
    matches!(code, tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::DeadlineExceeded)
}

/// Did the connection fail, rather than the broker answer?
fn is_transport(status: &tonic::Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// The broker's own words where they suffice; otherwise the name of the gRPC code with them.
fn admin_text(status: &tonic::Status) -> String {
    use tonic::Code as Grpc;
    match status.code() {
        Grpc::NotFound
        | Grpc::InvalidArgument
        | Grpc::AlreadyExists
        | Grpc::FailedPrecondition
        | Grpc::DeadlineExceeded => status.message().to_owned(),
        Grpc::Unimplemented => {
            "what answers there has no Admin service: is it a ReliableQueue broker?".to_owned()
        }
        code => format!("{code:?}: {}", status.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: Code) -> CallError {
        CallError::Refused { code: code.into(), message: "m".to_owned() }
    }

    #[test]
    fn exit_codes_tell_what_kind_of_failure_it_was() {
        let code = |failure: Failure| failure.exit_code();
        assert_eq!(code(Failure::Usage("x".to_owned())), ExitCode::from(2));
        assert_eq!(code(Failure::Call(refused(Code::TopicNotFound))), ExitCode::from(3));
        assert_eq!(code(Failure::from(tonic::Status::not_found("no topic"))), ExitCode::from(3));
        assert_eq!(code(Failure::Call(refused(Code::MessageBodyEmpty))), ExitCode::from(1));
        let unreachable =
            Failure::Unreachable(Unreachable { endpoint: "a:1".to_owned(), reason: "refused".to_owned() });
        assert_eq!(code(unreachable), ExitCode::from(4));
        let gone = Box::new(Failure::from(tonic::Status::not_found("no such transaction")));
        assert_eq!(code(Failure::NotEnded { told: String::new(), first: gone }), ExitCode::from(3));
    }

    #[test]
    fn a_refusal_names_its_code() {
        assert_eq!(Failure::Call(refused(Code::MessageBodyEmpty)).to_string(), "MESSAGE_BODY_EMPTY: m");
    }
}
