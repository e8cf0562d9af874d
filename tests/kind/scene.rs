//! Where a test plays: a namespace of its own that enforces restricted Pod Security, removed at the end. A test that fails
//! leaves a folder with all that was there to see.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow, bail};
use rq_tests::requirement::loudly;
use serde_json::json;

use crate::kubectl;
use crate::wait::{DEADLINE, once, wait};

/// Where the operator runs.
pub(crate) const SYSTEM: &str = "reliablequeue-system";
/// Its Deployment, its lease and its account.
pub(crate) const OPERATOR: &str = "reliablequeue-operator";

/// What a test does to the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing that another user of it would notice.
    Cluster,
    /// Takes nodes, processes or the API server away: its nodes are containers of this Docker.
    Docker,
}

/// One test's part of the cluster.
pub(crate) struct Scene {
    /// Short name of the test.
    pub(crate) test: String,
    /// Its namespace.
    pub(crate) namespace: String,
}

/// Plays a test. Says loudly where it cannot be played; a failure is told with the folder of what was seen.
pub(crate) fn play(test: &str, needs: Needs, work: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    if !can_play(test, needs)? {
        return Ok(());
    }
    let scene = Scene::open(test)?;
    eprintln!("=== {test}");
    let panicked = |_| Err(anyhow!("the test panicked"));
    let outcome = catch_unwind(AssertUnwindSafe(|| work(&scene))).unwrap_or_else(panicked);
    let outcome = outcome.map_err(|error| {
        let seen = scene.keep_what_is_seen();
        error.context(format!("{test}: what was seen is in {}", seen.display()))
    });
    scene.close();
    outcome
}

/// Whether there is time for every row of a long table: `make test` sets `RQ_E2E_FEW=1` and has none.
pub(crate) fn has_time() -> bool {
    env::var("RQ_E2E_FEW").as_deref() != Ok("1")
}

fn can_play(test: &str, needs: Needs) -> Result<bool> {
    if env::var("RQ_E2E").as_deref() != Ok("1") {
        loudly(&format!("NOT RUN: {test} needs a cluster: `make kind-up`, then RQ_E2E=1"));
        return Ok(false);
    }
    kubectl::run(&["get", "crd", "reliablequeues.reliablequeue.dev", "-o", "name"])
        .context("no cluster with our CRDs: run `make kind-up`, or set KUBECONFIG")?;
    if needs == Needs::Docker && !has_docker_nodes() {
        if env::var("CI").is_ok_and(|ci| ci == "true") {
            bail!(
                "{test} takes nodes away and CI=true asks for every test: the nodes must be containers of this Docker"
            );
        }
        loudly(&format!(
            "NOT RUN: {test} takes nodes away, and those of this cluster are no containers of this Docker"
        ));
        return Ok(false);
    }
    Ok(true)
}

/// The nodes are containers of this Docker, as kind makes them.
fn has_docker_nodes() -> bool {
    let nodes =
        kubectl::run(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]).unwrap_or_default();
    let mut inspect = Command::new("docker");
    inspect.arg("inspect").args(nodes.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null());
    !nodes.is_empty() && inspect.status().is_ok_and(|status| status.success())
}

impl Scene {
    fn open(test: &str) -> Result<Self> {
        let scene = Self { test: test.to_owned(), namespace: format!("e2e-{test}") };
        // Of a run that was interrupted.
        scene.remove()?;
        kubectl::apply(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": scene.namespace,
                "labels": {
                    "pod-security.kubernetes.io/enforce": "restricted",
                    "reliablequeue.dev/e2e": "true",
                },
            },
        }))?;
        Ok(scene)
    }

    fn close(&self) {
        if env::var_os("RQ_E2E_KEEP").is_some() {
            eprintln!("{}: RQ_E2E_KEEP is set: the namespace {} stays", self.test, self.namespace);
        } else if let Err(error) = self.remove() {
            loudly(&format!("{}: {error:#}", self.test));
        }
    }

    /// Waits for the end: what is being removed takes a core from the next test.
    fn remove(&self) -> Result<()> {
        kubectl::run(&["delete", "namespace", &self.namespace, "--ignore-not-found", "--wait=false"])?;
        wait("the namespace is gone", DEADLINE, || {
            let left =
                kubectl::run(&["get", "namespace", &self.namespace, "--ignore-not-found", "-o", "name"])?;
            Ok(once(left.is_empty(), left))
        })
    }

    /// Objects, events and logs of the namespace and of the operator, as files.
    fn keep_what_is_seen(&self) -> PathBuf {
        let folder = env::temp_dir().join(format!("rq-e2e-{}-{}", self.test, std::process::id()));
        let _ = fs::create_dir_all(&folder);
        let write = |file: &str, arguments: &[&str]| {
            let seen = kubectl::run(arguments).unwrap_or_else(|error| format!("{error:#}"));
            let _ = fs::write(folder.join(file), &seen);
            seen
        };
        let here = ["--namespace", self.namespace.as_str()];
        let there = ["--namespace", SYSTEM];
        let kinds = "reliablequeues,queueshards,statefulsets,pods,persistentvolumeclaims";
        let short = write("objects.txt", &[&["get", kinds, "-o", "wide"], &here[..]].concat());
        eprintln!("{}:\n{short}", self.test);
        write("objects.yaml", &[&["get", kinds, "-o", "yaml"], &here[..]].concat());
        write(
            "events.txt",
            &[&["get", "events", "--sort-by=.metadata.creationTimestamp"], &here[..]].concat(),
        );
        write("operator.txt", &[&["get", "pods,leases", "-o", "wide"], &there[..]].concat());
        for (namespace, file) in [(here, "log"), (there, "operator-log")] {
            let pods = kubectl::list(namespace[1], "pods", "").unwrap_or_default();
            for pod in pods.iter().map(kubectl::name) {
                let logs = ["logs", pod, "--all-containers", "--tail=3000"];
                write(&format!("{file}-{pod}.txt"), &[&logs[..], &namespace[..]].concat());
                write(
                    &format!("{file}-{pod}-previous.txt"),
                    &[&logs[..], &["--previous"], &namespace[..]].concat(),
                );
            }
        }
        folder
    }
}
