//! Why a command on Kubernetes failed, and what to do about it.

use std::time::Duration;

use kube::core::Status;
use thiserror::Error;

use crate::endpoint::innermost;

/// The end of a command on Kubernetes that did not do what it was asked for.
#[derive(Debug, Error)]
pub(crate) enum KubeFailure {
    /// Nothing says where the cluster is.
    #[error("no cluster: {0}; say which with --kubeconfig, --context or KUBECONFIG")]
    NoCluster(String),
    /// The API server, or the way to it.
    #[error("cannot reach the API server at {url}: {reason}; see `kubectl cluster-info`")]
    Unreachable { url: String, reason: String },
    /// It takes too long.
    #[error("the API server did not {doing} within {}; try again, or give it longer with --timeout", humantime::format_duration(*.waited))]
    Silent { doing: String, waited: Duration },
    /// The API server does not know us.
    #[error("the API server does not accept the credentials of the context: log in again ({0})")]
    Unauthorized(String),
    /// The API server does not let us.
    #[error("you may not {doing}: {message}; ask for a role that allows it")]
    Forbidden { doing: String, message: String },
    /// The resource is unknown.
    #[error(
        "this cluster has no ReliableQueues: install the operator with `helm install` of the chart reliablequeue-operator, or look into another cluster with --context"
    )]
    NotInstalled,
    /// No queue of this name.
    #[error("there is no queue {name} in the namespace {namespace}: {}", instead(there))]
    NoQueue { name: String, namespace: String, there: Vec<String> },
    /// No pod of this name.
    #[error("the queue {queue} has no pod {pod}: {}", instead(there))]
    NoPod { pod: String, queue: String, there: Vec<String> },
    /// Nobody to ask.
    #[error("no pod of the queue {queue} is ready: see `kubectl rq status {queue}`")]
    NoneReady { queue: String },
    /// Another epoch than was named.
    #[error(
        "{named} is not what ends: the present mastership is {present}; look again with `kubectl rq status`, and name it if it still is what you give up"
    )]
    OtherEpoch { named: String, present: String },
    /// A shard that the queue does not have.
    #[error("the queue has no shard {named}: name shard {shard}")]
    OtherShard { named: u16, shard: u16 },
    /// The operator did not do it.
    #[error(
        "{pod} is not master after {}: the request is withdrawn. The operator acts only while no copy of the in-sync set answers, and must run: see `kubectl rq events {queue}`, and the log of the operator", humantime::format_duration(*.waited)
    )]
    NotAccepted { pod: String, queue: String, waited: Duration },
    /// Whoever asked the operator for it interrupted the command.
    #[error(
        "interrupted: it is withdrawn that {pod} may be master with what it has; the operator may have done it before, see `kubectl rq status {queue}`"
    )]
    Withdrawn { pod: String, queue: String },
    /// The master cannot hand over.
    #[error("the master of {queue} does not answer{}, so that it cannot hand over: {next}", because(reason.as_ref()))]
    MasterAway { queue: String, reason: Option<String>, next: String },
    /// A port of a pod.
    #[error("cannot reach the broker of {pod} through the API server: {reason}")]
    NotForwarded { pod: String, reason: String },
    /// An answer of another shape.
    #[error(
        "cannot {doing}: the answer is not as expected ({reason}); take the rq of the operator's release"
    )]
    Unreadable { doing: String, reason: String },
    /// What else the API server says.
    #[error("the API server refused to {doing}: {message}")]
    Refused { doing: String, message: String },
}

impl KubeFailure {
    /// Of a call that did this, such as `list queues`.
    pub(super) fn of(error: kube::Error, doing: &str, url: &str) -> Self {
        match error {
            kube::Error::Api(status) => Self::refused(&status, doing),
            kube::Error::SerdeError(error) => {
                Self::Unreadable { doing: doing.to_owned(), reason: error.to_string() }
            }
            other => Self::Unreachable { url: url.to_owned(), reason: innermost(&other) },
        }
    }

    fn refused(status: &Status, doing: &str) -> Self {
        const UNAUTHORIZED: u16 = 401;
        let (doing, message) = (doing.to_owned(), status.message.clone());
        match status {
            status if status.code == UNAUTHORIZED => Self::Unauthorized(message),
            status if status.is_forbidden() => Self::Forbidden { doing, message },
            _ => Self::Refused { doing, message },
        }
    }

    /// There is no such thing.
    pub(crate) const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotInstalled | Self::NoQueue { .. } | Self::NoPod { .. })
    }

    /// Somebody does not answer.
    pub(crate) const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::NoCluster(_)
                | Self::Unreachable { .. }
                | Self::Silent { .. }
                | Self::NoneReady { .. }
                | Self::MasterAway { .. }
                | Self::NotForwarded { .. }
        )
    }

    /// The command itself names what is not so.
    pub(crate) const fn is_usage(&self) -> bool {
        matches!(self, Self::OtherEpoch { .. } | Self::OtherShard { .. })
    }
}

fn instead(there: &[String]) -> String {
    if there.is_empty() {
        return "there is none at all; see other namespaces with `kubectl rq status -A`".to_owned();
    }
    format!("there is {}", there.join(", "))
}

fn because(reason: Option<&String>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, reason: &str) -> KubeFailure {
        let status = Status {
            code,
            reason: reason.to_owned(),
            message: "User \"eve\" cannot list".to_owned(),
            ..Status::default()
        };
        KubeFailure::of(kube::Error::Api(Box::new(status)), "list queues", "https://a:6443")
    }

    #[test]
    fn what_the_api_server_refuses_is_told_with_what_to_do() {
        let told = refused(403, "Forbidden").to_string();
        assert!(told.contains("may not list queues") && told.contains("ask for a role"), "{told}");
        assert!(refused(401, "Unauthorized").to_string().contains("log in again"));
        assert!(refused(500, "InternalError").to_string().contains("refused to list queues"));
    }

    #[test]
    fn a_queue_that_is_not_there_is_told_with_those_that_are() {
        let none = |there: &[&str]| KubeFailure::NoQueue {
            name: "order".to_owned(),
            namespace: "shop".to_owned(),
            there: there.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert_eq!(
            none(&["orders", "mails"]).to_string(),
            "there is no queue order in the namespace shop: there is orders, mails"
        );
        assert!(none(&[]).to_string().contains("kubectl rq status -A"));
        assert!(none(&[]).is_not_found());
    }
}
