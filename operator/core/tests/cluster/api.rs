//! The API server of the test: objects with versions that no write goes back on, defaults that it fills in, and a history of
//! what caches may still show.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Resource, ResourceExt as _};
use rq_core::config::{self, Change, Config};
use rq_operator_core::observed::{CertificateSeen, Existing};
use rq_operator_core::plan::Child;
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::shard::{QueueShard, QueueShardSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Why a write was refused. Whoever wrote looks again.
#[derive(Debug)]
pub(crate) struct Refused;

/// All objects, as they are or as they were.
#[derive(Clone)]
pub(crate) struct Objects {
    pub(crate) queue: ReliableQueue,
    pub(crate) existing: Existing,
    pub(crate) shard: Option<QueueShard>,
    pub(crate) pods: BTreeMap<String, Pod>,
    pub(crate) claims: BTreeMap<String, PersistentVolumeClaim>,
    pub(crate) certificate: Option<CertificateSeen>,
    /// Versions and uids are made from it.
    pub(crate) number: u64,
}

impl Objects {
    pub(crate) fn next(&mut self) -> String {
        self.number += 1;
        self.number.to_string()
    }

    /// Server-side apply by the only manager of the object. What cannot be changed is refused.
    pub(crate) fn apply(&mut self, child: &Child) -> Result<(), Refused> {
        let version = self.next();
        let there = &mut self.existing;
        match child {
            Child::ServiceAccount(wanted) => put(&mut there.service_account, wanted, &version),
            Child::Role(wanted) => put(&mut there.role, wanted, &version),
            Child::RoleBinding(wanted) => put(&mut there.role_binding, wanted, &version),
            Child::PodDisruptionBudget(wanted) => put(&mut there.disruption_budget, wanted, &version),
            Child::StatefulSet(wanted) => put(&mut there.stateful_set, wanted, &version),
            Child::Service(wanted) if wanted.name_any().ends_with("-pods") => {
                put(&mut there.pod_service, wanted, &version)
            }
            Child::Service(wanted) => put(&mut there.service, wanted, &version),
        }
    }

    pub(crate) fn config(&self) -> Option<Config> {
        self.shard.as_ref().and_then(|shard| shard.spec.config().unwrap())
    }

    /// A compare-and-set of the shard; what is written must follow what was there.
    pub(crate) fn change(&mut self, from: &Config, change: &Change) -> Result<(), Refused> {
        let old = self.config().filter(|config| config == from).ok_or(Refused)?;
        let new = config::next(&old, change).map_err(|_| Refused)?;
        config::check(&old, &new).unwrap();
        self.write(&new);
        Ok(())
    }

    /// Writes it over what is there, or anew.
    pub(crate) fn write(&mut self, config: &Config) {
        let version = self.next();
        let name = self.queue.name_any();
        let shard = self.shard.get_or_insert_with(|| QueueShard::new(&name, QueueShardSpec::unformed()));
        shard.spec = config.into();
        shard.metadata.resource_version = Some(version);
    }
}

/// Whether what was seen still is there.
pub(crate) fn same_version(seen: Option<&impl Resource>, there: Option<&impl Resource>) -> bool {
    seen.map(kube::ResourceExt::resource_version) == there.map(kube::ResourceExt::resource_version)
}

fn put<K>(slot: &mut Option<K>, wanted: &K, version: &str) -> Result<(), Refused>
where
    K: k8s_openapi::Resource + Serialize + DeserializeOwned,
{
    let mut new = serde_json::to_value(wanted).unwrap();
    let old = serde_json::to_value(&*slot).unwrap();
    fill(K::KIND, &mut new);
    let fixed = match K::KIND {
        "StatefulSet" => &["volumeClaimTemplates", "selector", "serviceName", "podManagementPolicy"][..],
        "Service" => &["clusterIP"],
        _ => &[],
    };
    if old["spec"].is_object() && fixed.iter().any(|field| new["spec"][field] != old["spec"][field]) {
        return Err(Refused);
    }
    let changed = new["spec"] != old["spec"];
    let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + i64::from(changed);
    new["metadata"]["generation"] = generation.into();
    let uid = &old["metadata"]["uid"];
    new["metadata"]["uid"] = if uid.is_null() { format!("uid-{version}").into() } else { uid.clone() };
    new["metadata"]["resourceVersion"] = version.into();
    new["status"] = old["status"].clone();
    if new["status"].is_null() {
        new.as_object_mut().unwrap().remove("status");
    }
    *slot = Some(serde_json::from_value(new).unwrap());
    Ok(())
}

/// Some of what a real one fills in, and how it spells amounts.
fn fill(kind: &str, object: &mut Value) {
    if kind == "Service" {
        let spec = object["spec"].as_object_mut().unwrap();
        spec.entry("clusterIP").or_insert(json!("10.96.0.7"));
        spec.insert("sessionAffinity".to_owned(), json!("None"));
        for port in spec["ports"].as_array_mut().unwrap() {
            port["protocol"] = json!("TCP");
        }
    }
    if kind == "StatefulSet" {
        object["spec"]["revisionHistoryLimit"] = json!(10);
        object["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"] = json!("Filesystem");
        object["spec"]["volumeClaimTemplates"][0]["status"] = json!({ "phase": "Pending" });
        let pod = &mut object["spec"]["template"]["spec"];
        pod["restartPolicy"] = json!("Always");
        pod["dnsPolicy"] = json!("ClusterFirst");
        let container = &mut pod["containers"][0];
        container["terminationMessagePath"] = json!("/dev/termination-log");
        if container["resources"]["limits"]["cpu"] == "1000m" {
            container["resources"]["limits"]["cpu"] = json!("1");
        }
    }
}
