//! What a queue's status says, from what is seen of it: one file for each group of conditions. A queue at rest has the same
//! status at each look, so that no sentence holds a number that moves by itself.

mod certificate;
mod copies;
mod pods;
mod settings;
mod shown;
mod storage;
mod topology;
mod writes;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use rq_core::config::FlushMode as CoreFlushMode;

use self::shown::Shown;
use super::children;
use super::rollout::Rollout;
use super::{Note, Release};
use crate::children::{CLIENT_PORT, pod_service_name, selector};
use crate::conditions::{ConditionStatus, ConditionType, Finding, Reason, merge};
use crate::observed::Observed;
use crate::queue::ReliableQueue;
use crate::queue::spec::FlushMode;
use crate::queue::status::{Endpoints, LastFailover, ReliableQueueStatus};

/// Conditions whose changes people are told as events. Another master is told by who sees it, the failure detector.
const TOLD: [ConditionType; 9] = [
    ConditionType::WritesAvailable,
    ConditionType::FullyReplicated,
    ConditionType::FailoverReady,
    ConditionType::UpToDate,
    ConditionType::ConfigAccepted,
    ConditionType::CertificateHealthy,
    ConditionType::StorageHealthy,
    ConditionType::TopologySatisfied,
    ConditionType::Ready,
];

/// The whole status. It takes from the one before only the times of conditions that stay, and the last failover.
pub(crate) fn status(observed: &Observed, release: &Release, rollout: &Rollout) -> ReliableQueueStatus {
    let shown = Shown::of(observed);
    let queue = &observed.queue;
    let before = queue.status.clone().unwrap_or_default();
    let mut findings = vec![
        writes::available(&shown),
        copies::replicated(&shown),
        copies::failover_ready(&shown),
        topology::satisfied(&shown),
        storage::healthy(&shown),
        settings::up_to_date(rollout),
        settings::accepted(&shown),
        certificate::healthy(&shown),
    ];
    findings.insert(0, ready(&shown, &findings));
    let generation = queue.metadata.generation.unwrap_or_default();
    let in_sync = shown.in_sync();
    let copies = count(in_sync.len());
    let ready = observed.pods.iter().filter(|pod| pods::is_ready(pod)).count();
    ReliableQueueStatus {
        observed_generation: queue.metadata.generation,
        conditions: merge(&before.conditions, &findings, generation, &observed.now),
        replicas: count(observed.pods.len()),
        ready_replicas: count(ready),
        in_sync_replicas: copies,
        copies: Some(format!("{copies}/{}", queue.spec.replicas)),
        selector: Some(query(queue)),
        master: master(&shown, &findings),
        epoch: shown.config.as_ref().map(|config| config.epoch.0.into()),
        in_sync: in_sync.into_iter().map(str::to_owned).collect(),
        flush_mode: flush_mode(&shown),
        image: Some(children::image(observed, release)),
        endpoints: Some(endpoints(&shown)),
        last_failover: newest(before.last_failover, observed.failover.clone()),
    }
}

/// All that the user asked for is there, or the first that is not.
fn ready(shown: &Shown<'_>, findings: &[Finding]) -> Finding {
    let counts = |finding: &&Finding| match (finding.condition, finding.reason) {
        // The user has the first as asked for; the others are warnings, and nothing is refused yet.
        (ConditionType::FailoverReady, Reason::Manual | Reason::OperatorOnly)
        | (ConditionType::StorageHealthy, Reason::NearFull)
        | (ConditionType::CertificateHealthy, Reason::AuthorityEnds) => false,
        (ConditionType::FailoverReady, Reason::SingleInSync) => shown.wanted.len() > 1,
        (ConditionType::TopologySatisfied, reason) => topology::is_demanded(shown, reason),
        _ => true,
    };
    let first = |status: ConditionStatus| {
        findings.iter().filter(|finding| finding.status == status).find(counts).cloned()
    };
    if let Some(worst) = first(ConditionStatus::False).or_else(|| first(ConditionStatus::Unknown)) {
        return Finding { condition: ConditionType::Ready, ..worst };
    }
    match shown.wanted.iter().find(|name| !shown.pod(name).is_some_and(pods::is_ready)) {
        Some(name) => {
            let message = format!("{name} is well and not ready yet: its Services do not lead to it");
            fails(ConditionType::Ready, Reason::PodNotReady, message)
        }
        None => holds(ConditionType::Ready, "the queue is as its spec asks".to_owned()),
    }
}

/// The pod that is master, or is becoming it.
fn master(shown: &Shown<'_>, findings: &[Finding]) -> Option<String> {
    let lost = findings.iter().any(|finding| {
        finding.condition == ConditionType::WritesAvailable
            && finding.status == ConditionStatus::False
            && finding.reason == Reason::NoMaster
    });
    shown.serving().or_else(|| shown.appointed().filter(|_| !lost)).map(str::to_owned)
}

/// As the log says now; on the way from one mode to the other, as the configuration says.
fn flush_mode(shown: &Shown<'_>) -> Option<FlushMode> {
    let told = shown.serving().and_then(|master| shown.told(master)).and_then(|told| told.flush_policy);
    let mode =
        told.map(|policy| policy.mode).or_else(|| shown.config.as_ref().map(|config| config.flush_mode));
    mode.map(|mode| match mode {
        CoreFlushMode::Sync => FlushMode::Sync,
        CoreFlushMode::Async => FlushMode::Async,
    })
}

fn endpoints(shown: &Shown<'_>) -> Endpoints {
    let queue = &shown.observed.queue;
    let namespace = queue.namespace().unwrap_or_default();
    let pods = pod_service_name(queue);
    Endpoints {
        bootstrap: format!("{}.{namespace}.svc:{CLIENT_PORT}", queue.name_any()),
        replicas: shown
            .wanted
            .iter()
            .map(|pod| format!("{pod}.{pods}.{namespace}.svc:{CLIENT_PORT}"))
            .collect(),
    }
}

fn query(queue: &ReliableQueue) -> String {
    let label = |(key, value): (String, String)| format!("{key}={value}");
    selector(queue).into_iter().map(label).collect::<Vec<_>>().join(",")
}

/// What an operator that has just started has not seen is still known from the status before.
fn newest(before: Option<LastFailover>, seen: Option<LastFailover>) -> Option<LastFailover> {
    match (before, seen) {
        (Some(before), Some(seen)) if before.epoch > seen.epoch => Some(before),
        (before, seen) => seen.or(before),
    }
}

fn count(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}

/// What is told of a change of the conditions. A condition that nobody had looked at before is told only if it fails.
pub(crate) fn events(before: Option<&ReliableQueueStatus>, after: &ReliableQueueStatus) -> Vec<Note> {
    let find = |status: &ReliableQueueStatus, type_: ConditionType| {
        status.conditions.iter().find(|condition| condition.type_ == type_.as_str()).cloned()
    };
    let mut notes: Vec<Note> = Vec::new();
    for type_ in TOLD {
        let Some(now) = find(after, type_) else { continue };
        let then = before
            .and_then(|before| find(before, type_))
            .filter(|then| then.reason != Reason::NotReconciled.as_str());
        let changed = match &then {
            Some(then) => then.status != now.status || then.reason != now.reason,
            None => now.status == ConditionStatus::False.as_str(),
        };
        // One cause is told once, by the first condition that it changes: the others repeat it.
        if changed && !notes.iter().any(|note| note.reason == told_as(type_, &now)) {
            notes.push(note(type_, &now));
        }
    }
    notes
}

fn note(type_: ConditionType, now: &Condition) -> Note {
    Note {
        warning: now.status != ConditionStatus::True.as_str() && !PASSING.contains(&now.reason.as_str()),
        reason: told_as(type_, now),
        action: "Observe".to_owned(),
        note: now.message.clone(),
    }
}

/// A condition that holds is told by its name, another one by its reason.
fn told_as(type_: ConditionType, now: &Condition) -> String {
    let holds = now.status == ConditionStatus::True.as_str();
    if holds { type_.as_str().to_owned() } else { now.reason.clone() }
}

/// Reasons that pass by themselves: nobody has to worry.
const PASSING: [&str; 8] = [
    Reason::PodNotReady.as_str(),
    Reason::NotReconciled.as_str(),
    Reason::Forming.as_str(),
    Reason::Promoting.as_str(),
    Reason::CatchingUp.as_str(),
    Reason::MemberTerminating.as_str(),
    Reason::Rolling.as_str(),
    Reason::Paused.as_str(),
];

fn holds(condition: ConditionType, message: String) -> Finding {
    Finding { condition, status: ConditionStatus::True, reason: Reason::AsExpected, message }
}

fn fails(condition: ConditionType, reason: Reason, message: String) -> Finding {
    Finding { condition, status: ConditionStatus::False, reason, message }
}

fn unknown(condition: ConditionType, reason: Reason, message: String) -> Finding {
    Finding { condition, status: ConditionStatus::Unknown, reason, message }
}

#[cfg(test)]
mod tests;
