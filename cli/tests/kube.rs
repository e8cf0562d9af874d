//! `kubectl rq` against an API server that answers as it is told to: what people see, and what they are told to do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "cli/run.rs"]
mod run;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::run::Run;

/// What is answered to a path: the code and the body.
type Answers = fn(&str) -> (u16, Value);

/// An API server, and the kubeconfig that names it.
struct Cluster {
    directory: TempDir,
}

impl Cluster {
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || answer(connection, answers));
            }
        });
        Self::at(&format!("http://{address}"))
    }

    fn at(url: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": { "server": url } }],
            "users": [{ "name": "u", "user": {} }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u", "namespace": "shop" } }],
        });
        fs::write(directory.path().join("config"), config.to_string()).unwrap();
        Self { directory }
    }

    fn rq(&self, args: &[&str]) -> Run {
        typed(
            Path::new(env!("CARGO_BIN_EXE_rq")),
            &self.directory.path().join("config"),
            &[&["kube"], args].concat(),
        )
    }
}

fn typed(program: &Path, kubeconfig: &Path, args: &[&str]) -> Run {
    let mut command = Command::new(program);
    command.env("KUBECONFIG", kubeconfig).env_remove("KUBERNETES_SERVICE_HOST").args(args);
    let output = command.output().unwrap();
    Run {
        what: args.join(" "),
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// One request, one answer.
fn answer(mut connection: TcpStream, answers: Answers) {
    let mut lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let _ = lines.take_while(|line| !line.is_empty()).count();
    let (code, body) = answers(request.split(' ').nth(1).unwrap_or_default());
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = connection.write_all((head + &body).as_bytes());
}

fn refused(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({ "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason,
        "message": format!("{reason} in the server's words") });
    (code, status)
}

fn list(items: &[Value]) -> (u16, Value) {
    (200, json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items }))
}

fn queue() -> Value {
    let condition = |type_: &str, reason: &str| {
        json!({ "type": type_, "status": "False", "reason": reason, "message": "orders-0 alone holds everything",
            "lastTransitionTime": "2026-11-28T10:00:00Z" })
    };
    json!({
        "apiVersion": "reliablequeue.dev/v1alpha1", "kind": "ReliableQueue",
        "metadata": { "name": "orders", "namespace": "shop", "generation": 1, "creationTimestamp": "2026-11-28T09:00:00Z" },
        "spec": { "storage": { "size": "1Gi" } },
        "status": {
            "observedGeneration": 1, "master": "orders-0", "epoch": 7, "inSync": ["orders-0"], "copies": "1/2",
            "conditions": [condition("Ready", "SingleInSync"), condition("FailoverReady", "SingleInSync")],
            "lastFailover": { "epoch": 7, "from": "orders-1", "to": "orders-0", "cause": "PodDeleted",
                "deadAt": "2026-11-28T10:00:00.000000Z", "servedAt": "2026-11-28T10:00:00.400000Z" },
        },
    })
}

/// A namespace with one queue, whose brokers cannot be reached.
fn shop(path: &str) -> (u16, Value) {
    let pod = |name: &str, state: &str| {
        json!({ "metadata": { "name": name },
            "spec": { "nodeName": "worker-1", "containers": [] },
            "status": { "containerStatuses": [{ "name": "broker", "image": "b", "imageID": "", "ready": true,
                "restartCount": 0, "state": { state: {} } }],
                "conditions": [{ "type": "Ready", "status": "True" }] } })
    };
    let event = json!({ "metadata": {}, "eventTime": "2026-11-28T10:00:00.050000Z", "reason": "Promoted",
        "note": "orders-0 is appointed", "regarding": { "kind": "ReliableQueue", "name": "orders" } });
    let path = path.split('?').next().unwrap_or_default();
    match path.rsplit('/').collect::<Vec<_>>()[..2] {
        ["orders", "reliablequeues"] => (200, queue()),
        ["reliablequeues", _] => list(&[queue()]),
        ["pods", _] => list(&[pod("orders-0", "running"), pod("orders-1", "waiting")]),
        ["events", _] => list(&[event]),
        ["portforward", _] => refused(403, "Forbidden"),
        _ => refused(404, "NotFound"),
    }
}

#[test]
fn without_a_cluster_it_says_how_to_name_one() {
    let nowhere = Path::new("/nonexistent/kubeconfig");
    let none = typed(Path::new(env!("CARGO_BIN_EXE_rq")), nowhere, &["kube", "status"]).ends_with(4);
    assert!(none.err.contains("/nonexistent/kubeconfig") && none.err.contains("--kubeconfig"), "{none:#?}");
    let away = Cluster::at("http://127.0.0.1:1").rq(&["status"]).ends_with(4);
    assert!(away.err.contains("cannot reach the API server at http://127.0.0.1:1"), "{away:#?}");
    let context = Cluster::at("http://127.0.0.1:1").rq(&["status", "--context", "other"]).ends_with(4);
    assert!(context.err.contains("other"), "{context:#?}");
}

#[test]
fn a_cluster_without_the_operator_is_told_from_one_without_the_queue() {
    let bare = Cluster::start(|_| refused(404, "NotFound"));
    for command in [&["status"][..], &["status", "orders"], &["events", "orders"]] {
        let told = bare.rq(command).ends_with(3);
        assert!(told.err.contains("helm install"), "{told:#?}");
    }
    let told = Cluster::start(shop).rq(&["status", "order"]).ends_with(3);
    assert!(told.err.contains("no queue order in the namespace shop: there is orders"), "{told:#?}");
}

#[test]
fn what_one_may_not_do_is_named() {
    let told = Cluster::start(|_| refused(403, "Forbidden")).rq(&["status"]).ends_with(1);
    assert!(told.err.contains("you may not list queues: Forbidden in the server's words"), "{told:#?}");
}

#[test]
fn the_queues_of_a_namespace_are_listed() {
    let cluster = Cluster::start(shop);
    let table = cluster.rq(&["status"]).succeeds().out;
    let words: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..7], ["orders", "False", "SingleInSync", "orders-0", "7", "1/2", "False"]);
    let listed = cluster.rq(&["status", "-A", "-o", "json"]).succeeds().json();
    assert_eq!((&listed[0]["namespace"], &listed[0]["master"]), (&json!("shop"), &json!("orders-0")));
}

#[test]
fn one_queue_is_shown_though_no_broker_can_be_asked() {
    let screen = Cluster::start(shop).rq(&["status", "orders", "--timeout", "5s"]).succeeds().out;
    for words in [
        "master         orders-0, epoch 7",
        "Forbidden in the server's words",
        "the broker has not started",
        "FailoverReady is False (SingleInSync)",
        "served 400 ms later",
        "the QueueShard is gone",
    ] {
        assert!(screen.contains(words), "without {words:?}:\n{screen}");
    }
}

#[test]
fn the_last_failover_is_a_timeline() {
    let text = Cluster::start(shop).rq(&["events", "orders"]).succeeds().out;
    let row = |after: &str| text.lines().find(|line| line.starts_with(after)).unwrap_or_default().to_owned();
    assert!(row("+0 ms").contains("orders-1 is lost: its pod was deleted"), "{text}");
    assert!(row("+400 ms").contains("orders-0 takes messages"), "{text}");
    assert!(row("+50 ms").contains("Promoted"), "{text}");
}

#[test]
fn only_a_pod_of_the_queue_and_the_present_epoch_are_taken() {
    let cluster = Cluster::start(shop);
    let told = cluster.rq(&["promote", "orders", "orders-7"]).ends_with(3);
    assert!(told.err.contains("there is orders-0, orders-1"), "{told:#?}");
    let told = cluster.rq(&["promote", "orders", "orders-1", "--accept-data-loss", "0@6"]).ends_with(2);
    assert!(told.err.contains("the present mastership is 0@7"), "{told:#?}");
}

#[test]
fn a_link_named_kubectl_rq_is_the_plugin() {
    let cluster = Cluster::start(shop);
    let plugin = cluster.directory.path().join("kubectl-rq");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_rq"), &plugin).unwrap();
    let kubeconfig = cluster.directory.path().join("config");
    let help = typed(&plugin, &kubeconfig, &["--help"]).succeeds().out;
    assert!(help.contains("Usage: kubectl rq") && help.contains("ln -s"), "{help}");
    let table = typed(&plugin, &kubeconfig, &["status"]).succeeds().out;
    assert!(table.contains("orders-0"), "{table}");
}
