//! One queue on one screen: who is master, each replica, and why it is not safe. Built from what could be asked, with a
//! remark for what could not.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use rq_core::config::Config;
use rq_core::ids::StoreId;
use rq_operator_core::conditions::{ConditionStatus, ConditionType};
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::queue::spec::FlushMode;
use rq_operator_core::queue::status::{Endpoints, LastFailover, ReliableQueueStatus};
use rq_operator_core::shard::QueueShard;
use rq_proto::reliablequeue as pb;
use serde::Serialize;

use super::failure::KubeFailure;
use super::replicas::Answer;
use super::timeline;
use crate::flush_mode;
use crate::output::{self, by_name};

/// What could be asked about a queue.
pub(super) struct Asked<'a> {
    pub(super) queue: &'a ReliableQueue,
    /// Its configuration, or why it could not be read.
    pub(super) shard: Result<Option<QueueShard>, KubeFailure>,
    /// Its pods, each with the answer of its broker; or why they could not be listed.
    pub(super) pods: Result<Vec<(Pod, Answer)>, KubeFailure>,
}

/// A queue as it is shown.
#[derive(Serialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    name: String,
    namespace: String,
    /// Of the condition Ready: `True`, `False` or `Unknown`.
    ready: String,
    master: Option<String>,
    epoch: Option<u32>,
    wanted: i32,
    in_sync: Vec<String>,
    min_in_sync: i32,
    flush_mode: Option<&'static str>,
    replicas: Vec<Replica>,
    /// The conditions that do not hold.
    failing: Vec<Failing>,
    last_failover: Option<LastFailover>,
    endpoints: Option<Endpoints>,
    /// What this may lack or lag in, and why.
    remarks: Vec<String>,
}

/// A replica as it is shown. What only its broker knows is left out where that does not answer.
#[derive(Serialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
struct Replica {
    pod: String,
    node: Option<String>,
    role: Option<&'static str>,
    in_sync: bool,
    /// Bytes of the master's log that it has not flushed.
    lag_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    disk_total_bytes: Option<u64>,
    version: Option<String>,
    /// What is the matter with it.
    remark: Option<String>,
}

/// A condition that does not hold.
#[derive(Serialize, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
struct Failing {
    condition: String,
    status: String,
    reason: String,
    message: String,
    since: String,
}

impl Shown {
    pub(super) fn of(asked: Asked<'_>) -> Self {
        let Asked { queue, shard, pods } = asked;
        let status = queue.status.clone().unwrap_or_default();
        let mut remarks = Vec::new();
        let config = config(shard, &status, &mut remarks);
        remarks.extend(lagging(queue, &status, config.as_ref()));
        let are_listed = pods.is_ok();
        let pods = pods.unwrap_or_else(|failure| {
            remarks.push(format!("nothing is known of the pods, for {failure}"));
            Vec::new()
        });
        let of_store = |config: &Config, store: &StoreId| {
            let name = &config.members.get(store)?.name;
            // A pod whose volume was lost has another store: it is not the copy that had its name.
            let is_another = |(pod, answer): &(Pod, Answer)| {
                let store_id = answer.as_ref().map(|told| told.store_id.as_str()).unwrap_or_default();
                pod.name_any() == *name && !store_id.is_empty() && store_id != store.to_string()
            };
            (!pods.iter().any(is_another)).then(|| name.clone())
        };
        let (master, epoch, mut in_sync) = match &config {
            Some(config) => (
                of_store(config, &config.master),
                Some(config.epoch.0),
                config.in_sync.keys().filter_map(|store| of_store(config, store)).collect(),
            ),
            None => (
                status.master.clone(),
                status.epoch.and_then(|epoch| u32::try_from(epoch).ok()),
                status.in_sync.clone(),
            ),
        };
        in_sync.sort_by(|one, other| by_name(one, other));
        let mode_before = status.flush_mode.map(|mode| match mode {
            FlushMode::Sync => pb::FlushMode::Sync,
            FlushMode::Async => pb::FlushMode::Async,
        });
        let flush = pods.iter().filter_map(|(_, answer)| answer.as_ref().ok()).find(|told| told.serving);
        Self {
            name: queue.name_any(),
            namespace: queue.namespace().unwrap_or_default(),
            ready: ready(&status),
            wanted: queue.spec.replicas,
            min_in_sync: queue.spec.min_in_sync(),
            flush_mode: flush.map(pb::ReplicaStatus::flush_mode).or(mode_before).map(flush_mode::told),
            replicas: if are_listed {
                replicas(queue, &pods, master.as_deref(), &in_sync)
            } else {
                Vec::new()
            },
            master,
            epoch,
            in_sync,
            failing: failing(&status),
            last_failover: status.last_failover,
            endpoints: status.endpoints,
            remarks,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let missing = || "-".to_owned();
        let safe = match self.ready.as_str() {
            "True" => "yes".to_owned(),
            "False" => "NO, see below".to_owned(),
            _ => "unknown, see below".to_owned(),
        };
        let epoch = self.epoch.map_or_else(String::new, |epoch| format!(", epoch {epoch}"));
        let master = self.master.as_ref().map_or_else(|| "NOBODY".to_owned(), Clone::clone);
        let mut fields = vec![
            ("queue", format!("{} in namespace {}", self.name, self.namespace)),
            ("ready", safe),
            ("master", format!("{master}{epoch}")),
            (
                "in sync",
                format!(
                    "{} of {}: {}; producers need {}",
                    self.in_sync.len(),
                    self.wanted,
                    output::or_dash(&self.in_sync.join(", ")),
                    self.min_in_sync
                ),
            ),
            ("flush mode", self.flush_mode.map_or_else(missing, str::to_owned)),
        ];
        if let Some(endpoints) = &self.endpoints {
            fields.push(("clients", endpoints.bootstrap.clone()));
        }
        if let Some(failover) = &self.last_failover {
            fields.push(("last failover", timeline::in_short(failover)));
        }
        let header = ["POD", "ROLE", "IN SYNC", "BEHIND", "DISK FREE", "NODE", "REMARK"];
        let table = output::columns(&header, self.replicas.iter().map(Replica::row), false);
        let mut parts = vec![output::pairs(&fields)];
        if !self.replicas.is_empty() {
            parts.push(table);
        }
        if !self.failing.is_empty() {
            let told: Vec<_> = self.failing.iter().map(Failing::told).collect();
            parts.push(format!("Why it is not as it should be:\n{}", told.join("\n")));
        }
        if !self.remarks.is_empty() {
            let told: Vec<_> = self.remarks.iter().map(|remark| format!("  {remark}")).collect();
            parts.push(format!("Note:\n{}", told.join("\n")));
        }
        parts.join("\n\n")
    }
}

/// The configuration, which is newer than what the operator says of it.
fn config(
    shard: Result<Option<QueueShard>, KubeFailure>,
    status: &ReliableQueueStatus,
    remarks: &mut Vec<String>,
) -> Option<Config> {
    let missing = match shard {
        Ok(Some(shard)) => match shard.spec.config() {
            Ok(config) => return config,
            Err(malformed) => malformed.to_string(),
        },
        // A queue that was just made has none.
        Ok(None) if status.epoch.is_none() => return None,
        Ok(None) => "the QueueShard is gone: the operator brings it back once all brokers answer".to_owned(),
        Err(failure) => failure.to_string(),
    };
    remarks.push(format!("master and in-sync set are those that the operator saw last, for {missing}"));
    None
}

/// How the operator is behind.
fn lagging(queue: &ReliableQueue, status: &ReliableQueueStatus, config: Option<&Config>) -> Option<String> {
    let see = "is it running? See `kubectl get pods -A -l app.kubernetes.io/name=reliablequeue-operator`";
    if status.observed_generation < queue.metadata.generation {
        return Some(format!("the operator has not looked at the newest spec yet: {see}"));
    }
    let epoch = config.map(|config| i64::from(config.epoch.0));
    (epoch.is_some() && epoch != status.epoch).then(|| {
        format!("the conditions are older than the present epoch, the operator has not looked since: {see}")
    })
}

fn ready(status: &ReliableQueueStatus) -> String {
    let ready = status.conditions.iter().find(|found| found.type_ == ConditionType::Ready.as_str());
    ready.map_or_else(|| ConditionStatus::Unknown.as_str().to_owned(), |found| found.status.clone())
}

/// Ready only repeats another one.
fn failing(status: &ReliableQueueStatus) -> Vec<Failing> {
    let fails = status.conditions.iter().filter(|found| {
        found.status != ConditionStatus::True.as_str() && found.type_ != ConditionType::Ready.as_str()
    });
    fails
        .map(|found| Failing {
            condition: found.type_.clone(),
            status: found.status.clone(),
            reason: found.reason.clone(),
            message: found.message.clone(),
            since: found.last_transition_time.0.to_string(),
        })
        .collect()
}

impl Failing {
    fn told(&self) -> String {
        let Self { condition, status, reason, message, since } = self;
        format!("  {condition} is {status} ({reason}) since {since}\n    {message}")
    }
}

/// Those that run, and those that should.
fn replicas(
    queue: &ReliableQueue,
    pods: &[(Pod, Answer)],
    master: Option<&str>,
    in_sync: &[String],
) -> Vec<Replica> {
    let wanted = (0..queue.spec.replicas).map(|ordinal| format!("{}-{ordinal}", queue.name_any()));
    let names: BTreeSet<_> = pods.iter().map(|(pod, _)| pod.name_any()).chain(wanted).collect();
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by(|one, other| by_name(one, other));
    let answers = pods.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let end = answers.filter(|told| told.role() == pb::Role::Master).max_by_key(|told| told.epoch);
    let end = end.map(|told| told.end_lsn);
    let replica = |name: String| {
        let found = pods.iter().find(|(pod, _)| pod.name_any() == name);
        let answer = found.map(|(_, answer)| answer);
        let told = answer.and_then(|answer| answer.as_ref().ok());
        let remark = match answer {
            None => Some("there is no pod".to_owned()),
            Some(Err(why)) => Some(why.clone()),
            Some(Ok(told)) => remark(told),
        };
        Replica {
            node: found.and_then(|(pod, _)| pod.spec.as_ref()?.node_name.clone()),
            role: told.and_then(role).or_else(|| (master == Some(&name)).then_some("master")),
            in_sync: in_sync.contains(&name),
            lag_bytes: told.and_then(|told| Some(end?.saturating_sub(told.durable_lsn))),
            disk_free_bytes: told.map(|told| told.disk_free_bytes),
            disk_total_bytes: told.map(|told| told.disk_total_bytes),
            version: told.map(|told| told.version.clone()),
            remark,
            pod: name,
        }
    };
    names.into_iter().map(replica).collect()
}

fn role(told: &pb::ReplicaStatus) -> Option<&'static str> {
    match told.role() {
        pb::Role::Unspecified => None,
        pb::Role::Slave => Some("slave"),
        pb::Role::Master => Some("master"),
    }
}

/// What a replica says that is the matter with it.
fn remark(told: &pb::ReplicaStatus) -> Option<String> {
    if !told.halted.is_empty() {
        return Some(format!("has stopped: {}", told.halted));
    }
    let text = match (told.role(), told.phase()) {
        (pb::Role::Master, _) if !told.serving => "does not serve yet",
        (pb::Role::Master, _) if !told.accepts_messages => "takes no messages: a disk is too full",
        (pb::Role::Slave, pb::Phase::Greeting | pb::Phase::Unspecified) => "has no link to the master",
        (pb::Role::Slave, pb::Phase::Truncating) => "cuts off what the master does not have",
        (pb::Role::Slave, pb::Phase::Installing) => "fetches the log of the master",
        (pb::Role::Unspecified, _) => "waits for its configuration",
        _ => return None,
    };
    Some(text.to_owned())
}

impl Replica {
    fn row(&self) -> Vec<String> {
        let missing = || "-".to_owned();
        let disk = self.disk_free_bytes.zip(self.disk_total_bytes).filter(|(_, total)| *total > 0);
        vec![
            self.pod.clone(),
            self.role.map_or_else(missing, str::to_owned),
            if self.in_sync { "yes" } else { "NO" }.to_owned(),
            self.lag_bytes.map_or_else(missing, output::bytes),
            disk.map_or_else(missing, |(free, total)| {
                format!("{} of {}", output::bytes(free), output::bytes(total))
            }),
            self.node.clone().unwrap_or_else(missing),
            self.remark.clone().unwrap_or_default(),
        ]
    }
}

#[cfg(test)]
mod tests;
