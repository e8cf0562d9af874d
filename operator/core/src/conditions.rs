//! The conditions of a `ReliableQueue` by the conventions of Kubernetes: `True` is good, the reason is one word for
//! machines, the message a sentence for people. Merging keeps the time of a condition whose status did not change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Most characters of a message that the API server takes.
pub const MESSAGE_MAX: usize = 32_768;

/// What is said about a queue. The order is the one in which [`ConditionType::ALL`] shows them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConditionType {
    /// The summary: all that the user asked for is there.
    Ready,
    /// Producers get their answers.
    WritesAvailable,
    /// Every replica is in sync.
    FullyReplicated,
    /// The loss of the master now would be survived, without loss and without help.
    FailoverReady,
    /// The replicas are spread as asked for.
    TopologySatisfied,
    /// The volumes have room, and the size that was asked for.
    StorageHealthy,
    /// Every pod is as the spec says.
    UpToDate,
    /// The brokers took `spec.config`.
    ConfigAccepted,
    /// Brokers and operator know each other by a certificate that is renewed in time.
    CertificateHealthy,
}

impl ConditionType {
    /// All of them, the summary first.
    pub const ALL: [Self; 9] = [
        Self::Ready,
        Self::WritesAvailable,
        Self::FullyReplicated,
        Self::FailoverReady,
        Self::TopologySatisfied,
        Self::StorageHealthy,
        Self::UpToDate,
        Self::ConfigAccepted,
        Self::CertificateHealthy,
    ];

    /// Its name in the resource.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::WritesAvailable => "WritesAvailable",
            Self::FullyReplicated => "FullyReplicated",
            Self::FailoverReady => "FailoverReady",
            Self::TopologySatisfied => "TopologySatisfied",
            Self::StorageHealthy => "StorageHealthy",
            Self::UpToDate => "UpToDate",
            Self::ConfigAccepted => "ConfigAccepted",
            Self::CertificateHealthy => "CertificateHealthy",
        }
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not; the reason and the message say why.
    False,
    /// Nobody can tell now.
    Unknown,
}

impl ConditionStatus {
    /// Its name in the resource.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Why a condition is as it is. [`Reason::AsExpected`] goes with `True`, the others with `False` or `Unknown`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// All is as it should be.
    AsExpected,
    /// The operator has not seen the queue yet.
    NotReconciled,
    /// The shard was never formed, its first replica is starting.
    Forming,
    /// Nobody is master, and nobody is about to be.
    NoMaster,
    /// A replica is becoming master.
    Promoting,
    /// Fewer copies in sync than `replication.minInSync`.
    NotEnoughInSync,
    /// A volume is too full to take messages.
    StorageFull,
    /// A replica is not running.
    MemberDown,
    /// A replica is being deleted.
    MemberTerminating,
    /// A replica is catching up.
    CatchingUp,
    /// One copy alone holds everything acknowledged.
    SingleInSync,
    /// Brokers may not promote themselves, so that a failover needs the operator.
    OperatorOnly,
    /// `failover.mode` is `Manual`.
    Manual,
    /// A failover is due and cannot be done.
    FailoverStalled,
    /// The configuration is older than what brokers have seen: etcd was restored from a backup, or the object changed by hand.
    ConfigRegressed,
    /// Replicas share a node.
    SameHost,
    /// Replicas share a zone.
    SameZone,
    /// A pod finds no node.
    Unschedulable,
    /// A volume is nearly full.
    NearFull,
    /// A volume is full.
    Full,
    /// A volume is growing.
    ResizePending,
    /// A volume could not grow.
    ResizeFailed,
    /// Pods are being replaced, one by one.
    Rolling,
    /// A new pod does not come up, and the rollout has stopped.
    RolloutFailed,
    /// The API server refuses what the spec makes of an object.
    Refused,
    /// A pod is not ready, so that its Service does not lead to it.
    PodNotReady,
    /// An object that the queue needs has the name of one that somebody else made.
    NameTaken,
    /// `reconcile` is `Paused`, and something waits for it.
    Paused,
    /// A key of `spec.config` is unknown.
    UnknownKey,
    /// A value of `spec.config` is not taken.
    InvalidValue,
    /// The authority of the certificates ends in some months, or has ended.
    AuthorityEnds,
}

impl Reason {
    /// Its name in the resource.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AsExpected => "AsExpected",
            Self::NotReconciled => "NotReconciled",
            Self::Forming => "Forming",
            Self::NoMaster => "NoMaster",
            Self::Promoting => "Promoting",
            Self::NotEnoughInSync => "NotEnoughInSync",
            Self::StorageFull => "StorageFull",
            Self::MemberDown => "MemberDown",
            Self::MemberTerminating => "MemberTerminating",
            Self::CatchingUp => "CatchingUp",
            Self::SingleInSync => "SingleInSync",
            Self::OperatorOnly => "OperatorOnly",
            Self::Manual => "Manual",
            Self::FailoverStalled => "FailoverStalled",
            Self::ConfigRegressed => "ConfigRegressed",
            Self::SameHost => "SameHost",
            Self::SameZone => "SameZone",
            Self::Unschedulable => "Unschedulable",
            Self::NearFull => "NearFull",
            Self::Full => "Full",
            Self::ResizePending => "ResizePending",
            Self::ResizeFailed => "ResizeFailed",
            Self::Rolling => "Rolling",
            Self::RolloutFailed => "RolloutFailed",
            Self::Refused => "Refused",
            Self::PodNotReady => "PodNotReady",
            Self::NameTaken => "NameTaken",
            Self::Paused => "Paused",
            Self::UnknownKey => "UnknownKey",
            Self::InvalidValue => "InvalidValue",
            Self::AuthorityEnds => "AuthorityEnds",
        }
    }
}

/// What is found about one condition now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which.
    pub condition: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// The same for people, and what to do; at most [`MESSAGE_MAX`] characters are kept.
    pub message: String,
}

/// The conditions after these findings: one each for what was found, whatever else stood there kept, in its place.
/// `generation` is that of the spec which was looked at. A condition's time changes only with its status.
#[must_use]
pub fn merge(old: &[Condition], found: &[Finding], generation: i64, now: &Time) -> Vec<Condition> {
    let mut merged = old.to_vec();
    for finding in found {
        let status = finding.status.as_str();
        let at = merged.iter().position(|condition| condition.type_ == finding.condition.as_str());
        let since = at.map(|at| &merged[at]).filter(|before| before.status == status);
        let condition = Condition {
            type_: finding.condition.as_str().to_owned(),
            status: status.to_owned(),
            reason: finding.reason.as_str().to_owned(),
            message: finding.message.chars().take(MESSAGE_MAX).collect(),
            observed_generation: Some(generation),
            last_transition_time: since
                .map_or_else(|| now.clone(), |before| before.last_transition_time.clone()),
        };
        match at {
            Some(at) => merged[at] = condition,
            None => merged.push(condition),
        }
    }
    merged
}
