//! The label by which a Service finds the master's pod.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use rq_operator_core::children::ROLE_LABEL;
use serde_json::json;

use crate::StoreError;
use crate::store::answered;

/// What the label says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PodRole {
    /// The master of its shard.
    Master,
    /// Any other replica.
    Slave,
}

impl PodRole {
    /// The value of the label.
    pub const fn value(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Slave => "slave",
        }
    }
}

/// Labels a pod with its role. Nothing that keeps messages depends on it.
pub async fn label_pod(client: &Client, namespace: &str, pod: &str, role: PodRole) -> Result<(), StoreError> {
    let labels = json!({ "metadata": { "labels": { ROLE_LABEL: role.value() } } });
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    answered(pods.patch_metadata(pod, &PatchParams::default(), &Patch::Merge(labels))).await?;
    Ok(())
}
