//! Where the replicas of a queue run, and what their pods carry besides what the operator puts there. Labels and variables
//! of the operator are refused here, because a pod with the wrong ones would not be found or would not start.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVarSource, Toleration};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::texts;
use super::{annotations_rule, labels_rule};

/// How strictly the replicas are kept apart.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spread {
    /// Where there is room.
    #[default]
    Preferred,
    /// A replica that finds no place of its own does not start.
    Required,
    /// Not at all.
    None,
}

/// Where the replicas run, and what their pods carry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// Whether each replica has a node of its own.
    #[serde(default)]
    pub host_spread: Spread,
    /// Whether the replicas are in different zones.
    #[serde(default)]
    pub zone_spread: Spread,
    /// Seconds until a replica on a lost node is replaced. A master on it is replaced by a slave long before.
    #[schemars(range(min = 0, max = 3600))]
    #[serde(default = "node_lost_seconds")]
    pub node_lost_seconds: i64,
    /// Labels that a node must have.
    #[schemars(schema_with = "texts::<16, 63>")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the replicas tolerate.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// `PriorityClass` of the pods.
    #[schemars(length(min = 1, max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// What the pods carry besides what the operator puts there.
    #[serde(default)]
    pub pod_template: PodTemplate,
}

const fn node_lost_seconds() -> i64 {
    60
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            host_spread: Spread::default(),
            zone_spread: Spread::default(),
            node_lost_seconds: node_lost_seconds(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            priority_class_name: None,
            pod_template: PodTemplate::default(),
        }
    }
}

/// What the pods carry besides what the operator puts there.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels.
    #[schemars(schema_with = "texts::<32, 63>")]
    #[x_kube(validation = labels_rule())]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[schemars(schema_with = "texts::<32, 4096>")]
    #[x_kube(validation = annotations_rule())]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Environment variables of the broker.
    #[schemars(length(max = 64))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".to_owned()]),
        validation = Rule::new("self.all(variable, !variable.name.startsWith('RQ_'))")
            .message("remove the variables that begin with RQ_: they are the broker's settings, which belong into spec.config"),
        validation = Rule::new("self.all(variable, variable.name != 'POD_IP')")
            .message("remove the variable POD_IP, or give it another name: the operator sets it"),
    )]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<Variable>,
}

/// An environment variable.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.valueFrom)")
    .message("give the variable either a value or a valueFrom"))]
pub struct Variable {
    /// Its name.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 4096))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Where its value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvVarSource>,
}
