//! The chart, read without helm: its CRDs are current, its account may do what is listed here and no more, and its admission
//! policy lets only the right ones write a `QueueShard`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod admission;
mod listed;
mod rights;
mod writes;

use std::fs;
use std::path::{Path, PathBuf};

use rq_operator_core::crds;
use serde_json::Value;

/// The operator's account where the templates are read.
pub(crate) const OPERATOR: &str = "system:serviceaccount:reliablequeue-system:reliablequeue-operator";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The objects of a template that has no more than names to fill in: lines of its own control are left out.
pub(crate) fn objects(template: &str) -> Vec<Value> {
    let path = root().join("charts/reliablequeue-operator/templates").join(template);
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("{{")).map(|line| {
        let line = line
            .replace("{{ include \"operator.user\" . }}", OPERATOR)
            .replace("{{ include \"operator.name\" . }}", "reliablequeue-operator")
            .replace("{{ include \"operator.account\" . }}", "reliablequeue-operator")
            .replace("{{ .Release.Namespace }}", "reliablequeue-system");
        // What is left fills in a whole value, of no matter here.
        line.find("{{").map_or(line.clone(), |at| line[..at].to_owned())
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

#[test]
fn the_crds_in_the_repository_are_those_of_the_types() {
    for file in crds::files().unwrap() {
        let there = fs::read_to_string(root().join(&file.path)).unwrap_or_default();
        assert!(
            there == file.text,
            "{} is not current: run `make crds` and commit what it writes",
            file.path
        );
    }
}

#[test]
fn no_description_would_be_taken_for_a_template() {
    for file in crds::files().unwrap().iter().filter(|file| file.path.starts_with("charts")) {
        assert_eq!(file.text.matches("{{").count(), 2, "{}: one pair guards the whole", file.path);
        assert!(file.text.contains("helm.sh/resource-policy: keep"), "{}", file.path);
    }
}
