//! The settings of the brokers: `spec.config` as the environment variables that the broker reads. A running broker reads
//! none of them again, so that a number for all of them goes into the pods.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;

use super::metadata;
use crate::queue::ReliableQueue;

pub(super) fn config_map(queue: &ReliableQueue) -> ConfigMap {
    let variable = |key: &String| format!("RQ_{}", key.to_ascii_uppercase().replace('-', "_"));
    let data = queue.spec.config.iter().map(|(key, value)| (variable(key), value.clone()));
    ConfigMap {
        metadata: metadata(queue, queue.name_any()),
        data: Some(data.collect()),
        ..ConfigMap::default()
    }
}

/// Another number for other settings. It must never depend on a release: another number replaces every pod.
pub(super) fn revision(settings: &ConfigMap) -> String {
    let line = |(name, value): (&String, &String)| format!("{name}={value}\n");
    let lines: String = settings.data.iter().flatten().map(line).collect();
    format!("{:08x}", rq_core::hash::crc32c(lines.as_bytes()))
}
