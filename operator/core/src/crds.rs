//! The CRDs as files: those of `crds/` to apply, and the same as templates of the chart. Both are made from the types, so that
//! what the API server checks and what the operator reads cannot differ; a test fails when a file is not current.

use kube::CustomResourceExt as _;
use serde_json::Value;
use thiserror::Error;

use crate::queue::ReliableQueue;
use crate::shard::QueueShard;

const APPLIED: &str = "crds";
const TEMPLATES: &str = "charts/reliablequeue-operator/templates/crds";
const GENERATED: &str = "# Made by `make crds` from operator/core. Do not edit.\n";

/// A file of the repository.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// From the repository's root.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// A CRD that cannot be written down.
#[derive(Debug, Error)]
pub enum CrdError {
    /// Its values.
    #[error("the CRD has a value that JSON cannot hold")]
    Values(#[from] serde_json::Error),
    /// Its text.
    #[error("the CRD has a value that YAML cannot hold")]
    Text(#[from] serde_saphyr::SerializeError),
}

/// Every file that is made from the types.
pub fn files() -> Result<Vec<File>, CrdError> {
    let crds = [("reliablequeues", ReliableQueue::crd()), ("queueshards", QueueShard::crd())];
    let mut files = Vec::new();
    for (name, crd) in crds {
        let mut crd = serde_json::to_value(crd)?;
        files.push(File {
            path: format!("{APPLIED}/{name}.yaml"),
            text: format!("{GENERATED}{}", serde_saphyr::to_string(&crd)?),
        });
        files.push(File { path: format!("{TEMPLATES}/{name}.yaml"), text: template(&mut crd)? });
    }
    Ok(files)
}

/// The chart keeps the CRDs when it is uninstalled: all queues would go with them.
fn template(crd: &mut Value) -> Result<String, CrdError> {
    crd["metadata"]["annotations"]["helm.sh/resource-policy"] = "keep".into();
    let crd = serde_saphyr::to_string(crd)?;
    Ok(format!("{GENERATED}{{{{- if .Values.crds.install }}}}\n{crd}{{{{- end }}}}\n"))
}
