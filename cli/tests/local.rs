//! A cluster of local processes as a user runs it: started, shown, broken, switched, stopped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "cli/run.rs"]
mod run;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::Run;

/// Generous, for machines that do other things besides.
const DEADLINE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(50);
/// Of a cluster of three replicas: one for clients, two for each replica.
const PORTS: u16 = 7;

/// The directory of a cluster; stopped at the end, whatever came.
struct Cluster {
    home: tempfile::TempDir,
    base_port: u16,
}

/// The first of some ports in a row that nobody listens on now.
fn free_ports() -> u16 {
    loop {
        let base = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if base.checked_add(PORTS).is_some_and(|end| (base..end).all(free)) {
            return base;
        }
    }
}

impl Cluster {
    fn new() -> Self {
        Self { home: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), base_port: free_ports() }
    }

    fn data(&self) -> &Path {
        self.home.path()
    }

    fn run(&self, args: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rq"));
        // What the tests are told by is not the broker's: it refuses what it does not know.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"RQ_")) {
            command.env_remove(name);
        }
        command.env("RQ_SEGMENT", "1MiB").env("RQ_ENDPOINT", format!("127.0.0.1:{}", self.base_port));
        let Output { status, stdout, stderr } = command.args(args).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { what: args.join(" "), code: status.code(), out: text(stdout), err: text(stderr) }
    }

    fn local(&self, args: &[&str]) -> Run {
        let data = ["--data", self.data().to_str().unwrap()];
        self.run(&[&["local"], args, &data].concat())
    }

    fn up(&self) -> Run {
        self.up_with(&[])
    }

    fn up_with(&self, args: &[&str]) -> Run {
        let port = self.base_port.to_string();
        let up = ["up", "--base-port", &port, "--auto-create", "--allow-unsafe-filesystem"];
        self.local(&[&up, args].concat())
    }

    fn status(&self) -> Value {
        self.local(&["status", "-o", "json"]).succeeds().json()
    }

    /// Waits for a line of supervisor.log with these words, which is the only one.
    #[track_caller]
    fn supervisor_says(&self, words: &str) {
        let began = Instant::now();
        let log = || std::fs::read_to_string(self.data().join("supervisor.log")).unwrap();
        while log().matches(words).count() != 1 {
            assert!(began.elapsed() < DEADLINE, "not once: {words}: {}", log());
            std::thread::sleep(POLL);
        }
    }

    #[track_caller]
    fn wait(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let status = self.status();
            if is_so(&status) {
                return status;
            }
            assert!(began.elapsed() < DEADLINE, "no sign of {what}: {status:#}");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.local(&["down"]);
    }
}

fn is_whole(status: &Value) -> bool {
    status["inSync"] == serde_json::json!(["r0", "r1"])
        && status["replicas"].as_array().unwrap().iter().all(|replica| replica["role"] != "unknown")
}

fn pid(status: &Value, replica: usize) -> Option<u64> {
    status["replicas"][replica]["pid"].as_u64()
}

#[test]
fn a_cluster_is_started_broken_switched_and_stopped() {
    let cluster = Cluster::new();
    cluster.up().succeeds();
    let status = cluster.status();
    assert!(is_whole(&status), "up waits for that: {status:#}");
    assert_eq!((&status["master"], &status["epoch"]), (&"r0".into(), &1.into()));
    assert_eq!(status["endpoint"], format!("127.0.0.1:{}", cluster.base_port));
    cluster.run(&["produce", "orders", "--body", "before"]).succeeds();

    let killed = pid(&status, 0);
    cluster.local(&["kill", "master"]).succeeds();
    cluster.wait("a promotion", |status| status["master"] == "r1");
    let status = cluster.wait("the killed one in sync again", is_whole);
    assert!(pid(&status, 0).is_some() && pid(&status, 0) != killed, "it was started again: {status:#}");
    cluster.run(&["produce", "orders", "--body", "after"]).succeeds();

    cluster.local(&["promote", "r0"]).succeeds();
    assert_eq!(cluster.status()["master"], "r0", "promote waits for that");
    cluster.local(&["promote", "r7"]).ends_with(3);
    cluster.supervisor_says("r1 promoted in place of r0, epoch 2");
    cluster.supervisor_says("r0 promoted in place of r1, which handed over, epoch 3");
    let consumed = cluster.run(&["consume", "orders", "--group", "readers", "--count", "2"]).succeeds();
    assert!(consumed.out.contains("before") && consumed.out.contains("after"), "{consumed:#?}");

    let pids = [0, 1].map(|replica| pid(&cluster.status(), replica));
    for other in [["--replicas", "3"], ["--base-port", "9"], ["--broker", "/bin/true"]] {
        let refused = cluster.local(&[&["up"], &other[..]].concat()).ends_with(1);
        assert!(refused.err.contains(other[0]) && refused.err.contains("rq local down"), "{refused:#?}");
    }
    cluster.up().succeeds();
    assert_eq!([0, 1].map(|replica| pid(&cluster.status(), replica)), pids, "it runs already");
    cluster.local(&["down"]).succeeds();
    assert_eq!([0, 1].map(|replica| pid(&cluster.status(), replica)), [None, None]);
    cluster.local(&["promote", "r1"]).ends_with(4);
    cluster.local(&["up"]).succeeds();
    assert!(is_whole(&cluster.status()), "it starts again from its data, on its ports");
    cluster.run(&["produce", "made-on-first-use", "--body", "as before"]).succeeds();
}

#[test]
fn of_three_replicas_two_must_have_what_is_acknowledged() {
    let cluster = Cluster::new();
    cluster.up_with(&["--replicas", "3"]).succeeds();
    let all = |status: &Value| status["inSync"] == serde_json::json!(["r0", "r1", "r2"]);
    let others =
        |status: &Value| ["r0", "r1", "r2"].into_iter().filter(|name| status["master"] != *name).collect();
    cluster.wait("three copies in sync", all);
    cluster.run(&["produce", "orders", "--body", "of three"]).succeeds();

    cluster.local(&["kill", "master"]).succeeds();
    cluster.wait("a promotion", |status| status["master"] != "r0");
    cluster.run(&["produce", "orders", "--body", "of two"]).succeeds();
    let status = cluster.wait("three copies in sync", all);

    // They are not started again, as one that was killed would be.
    let slaves: Vec<&str> = others(&status);
    let stopped = [status["master"].as_str().unwrap(), slaves[0]];
    for name in stopped {
        cluster.local(&["kill", name, "--signal", "STOP"]).succeeds();
    }
    cluster.wait("one copy, which leads", |status| {
        status["master"] == slaves[1] && status["inSync"] == serde_json::json!([slaves[1]])
    });
    let refused = cluster.run(&["produce", "orders", "--body", "of one"]);
    assert_ne!(refused.code, Some(0), "{refused:#?}");
    assert!(refused.err.contains("minInSync"), "{refused:#?}");

    for name in stopped {
        cluster.local(&["kill", name, "--signal", "CONT"]).succeeds();
    }
    cluster.wait("three copies in sync", all);
    cluster.run(&["produce", "orders", "--body", "of three again"]).succeeds();
    let consumed = cluster.run(&["consume", "orders", "--group", "readers", "--count", "3"]).succeeds();
    let came = ["of three again", "of two", "of three"].map(|body| consumed.out.contains(body));
    assert_eq!(came, [true; 3], "{consumed:#?}");
}

#[test]
fn a_lost_disk_comes_back_as_a_new_replica() {
    let cluster = Cluster::new();
    cluster.up().succeeds();
    cluster.run(&["produce", "orders", "--body", "kept"]).succeeds();
    cluster.local(&["down"]).succeeds();
    // That of the master, which is not replaced before its end is certain.
    std::fs::remove_dir_all(cluster.data().join("r0")).unwrap();
    cluster.up().succeeds();
    let status = cluster.wait("both in sync", is_whole);
    assert_eq!(status["master"], "r1");
    let consumed = cluster.run(&["consume", "orders", "--group", "readers", "--count", "1"]).succeeds();
    assert!(consumed.out.contains("kept"), "{consumed:#?}");
}

#[test]
fn a_replica_that_cannot_start_stops_nobody_else() {
    let cluster = Cluster::new();
    cluster.up().succeeds();
    cluster.run(&["produce", "orders", "--body", "kept"]).succeeds();
    cluster.local(&["down"]).succeeds();
    let log = cluster.data().join("r1/log");
    std::fs::rename(&log, log.with_extension("away")).unwrap();
    let without = cluster.up().ends_with(1);
    assert!(without.err.contains("the cluster serves without r1, with 1 in sync"), "{without:#?}");
    assert!(
        cluster.run(&["consume", "orders", "--group", "g", "--count", "1"]).succeeds().out.contains("kept")
    );
    let _ = std::fs::remove_dir_all(&log);
    std::fs::rename(log.with_extension("away"), &log).unwrap();
    cluster.wait("both in sync", is_whole);
}

#[test]
fn a_lost_configuration_is_never_written_anew() {
    let cluster = Cluster::new();
    cluster.up().succeeds();
    cluster.local(&["down"]).succeeds();
    let (config, away) = (cluster.data().join("config"), cluster.data().join("away"));
    std::fs::rename(&config, &away).unwrap();
    let refused = cluster.up().ends_with(1);
    assert!(refused.err.contains("is gone") && refused.err.contains("bring"), "{refused:#?}");
    assert!(!config.exists());
    std::fs::rename(&away, &config).unwrap();
    cluster.up().succeeds();
}

#[test]
fn what_a_lost_master_alone_had_is_given_up_by_name_and_not_otherwise() {
    let cluster = Cluster::new();
    cluster.up().succeeds();
    cluster.run(&["produce", "orders", "--body", "on both"]).succeeds();
    cluster.local(&["kill", "r1", "--signal", "STOP"]).succeeds();
    cluster.wait("the frozen one out", |status| status["inSync"] == serde_json::json!(["r0"]));
    cluster.run(&["produce", "orders", "--body", "on r0 alone"]).succeeds();
    std::fs::remove_dir_all(cluster.data().join("r0")).unwrap();
    // Perhaps it has noticed by itself that its directory is gone.
    cluster.local(&["kill", "r0"]);
    cluster.local(&["kill", "r1", "--signal", "CONT"]).succeeds();
    cluster.wait("the trouble told", |status| {
        status["trouble"].as_str().is_some_and(|trouble| trouble.contains("the only copy"))
    });

    let endpoint = cluster.status()["replicas"][1]["endpoint"].as_str().unwrap().to_owned();
    let epoch = cluster.status()["epoch"].as_u64().unwrap();
    let promote = |ending: &str| {
        cluster.run(&["promote", "r1", "--endpoint", &endpoint, "--accept-data-loss", ending, "-o", "json"])
    };
    let wrong = promote(&format!("0@{}", epoch + 1)).ends_with(1);
    assert!(wrong.err.contains(&format!("0@{epoch}")), "{wrong:#?}");
    let ending = format!("0@{epoch}");
    let began = Instant::now();
    // The master must have been silent for a while.
    let promoted = loop {
        let promoted = promote(&ending);
        if promoted.code == Some(0) {
            break promoted.json();
        }
        assert!(began.elapsed() < DEADLINE && promoted.err.contains("heard of"), "{promoted:#?}");
        std::thread::sleep(POLL);
    };
    assert_eq!(promoted["epoch"], epoch + 1);
    cluster.wait("the new disk in sync", is_whole);
    let status = cluster.run(&["status", "-o", "json"]).succeeds().json();
    assert_eq!((&status["uncleanEpoch"], &status["shard"]), (&(epoch + 1).into(), &0.into()));
    cluster.supervisor_says("r1 promoted in place of r0, DATA LOSS ACCEPTED");
    let consumed = cluster.run(&["consume", "orders", "--group", "readers", "--count", "1"]).succeeds();
    assert!(consumed.out.contains("on both"), "{consumed:#?}");
    cluster.run(&["promote", "r0"]).succeeds();
    assert_eq!(cluster.status()["master"], "r0");
    let refused = promote(&format!("0@{}", epoch + 2)).ends_with(1);
    assert!(refused.err.contains("takes over by itself"), "{refused:#?}");
}

#[test]
fn a_bench_over_a_killed_master_shows_the_promotion_and_that_nothing_is_lost() {
    let cluster = Cluster::new();
    cluster.up().succeeds();
    let bench = ["bench", "--senders", "8", "--consumers", "2", "--duration", "6s", "-o", "json"];
    let report = std::thread::scope(|scope| {
        let load = scope.spawn(|| cluster.run(&bench).succeeds().json());
        cluster.wait("load", |status| status["replicas"][0]["commitLsn"].as_u64() > Some(1 << 20));
        cluster.local(&["kill", "master"]).succeeds();
        load.join().unwrap()
    });
    let master = |name: &str, epoch: u32| serde_json::json!({"name": name, "epoch": epoch});
    assert_eq!(report["promotion"]["from"], master("r0", 1), "{report:#}");
    assert_eq!(report["promotion"]["to"]["name"], "r1", "{report:#}");
    let messages = &report["messages"];
    assert!(messages["acknowledged"].as_u64() > Some(100), "{report:#}");
    assert_eq!((&messages["received"], &messages["lost"]), (&messages["acknowledged"], &0.into()));
    let longest = report["longestGap"]["ms"].as_f64().unwrap();
    assert!(longest > 1.0 && longest <= 6_000.0, "{report:#}");
}

#[test]
fn brokers_whose_supervisor_was_killed_are_told_of_and_taken_over() {
    let cluster = Cluster::new();
    cluster.up().succeeds();
    cluster.run(&["produce", "orders", "--body", "kept"]).succeeds();
    let file = std::fs::read(cluster.data().join("cluster.json")).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    let supervisor = file["supervisor"]["pid"].to_string();
    assert!(Command::new("kill").args(["-KILL", &supervisor]).status().unwrap().success());
    let began = Instant::now();
    while !cluster.local(&["status"]).succeeds().out.contains("the supervisor is gone") {
        assert!(began.elapsed() < DEADLINE);
        std::thread::sleep(POLL);
    }
    let left = pid(&cluster.status(), 0);
    assert!(left.is_some(), "its brokers run on");
    cluster.local(&["up"]).succeeds();
    assert!(pid(&cluster.status(), 0) != left && is_whole(&cluster.status()));
    let consumed = cluster.run(&["consume", "orders", "--group", "readers", "--count", "1"]).succeeds();
    assert!(consumed.out.contains("kept"), "{consumed:#?}");
}

#[test]
fn a_configuration_that_is_moved_away_while_the_cluster_runs_is_missed() {
    let cluster = Cluster::new();
    cluster.up().succeeds();
    let (config, away) = (cluster.data().join("config"), cluster.data().join("away"));
    std::fs::rename(&config, &away).unwrap();
    cluster.wait("the trouble told", |status| {
        status["trouble"].as_str().is_some_and(|trouble| trouble.contains("config is gone: bring it back"))
    });
    std::fs::rename(&away, &config).unwrap();
    cluster.wait("the end of the trouble", |status| status["trouble"].is_null() && is_whole(status));
}

#[test]
fn who_wants_another_master_is_told_that_this_one_does_not_answer() {
    let cluster = Cluster::new();
    cluster.up().succeeds();
    cluster.local(&["kill", "r1", "--signal", "STOP"]).succeeds();
    cluster.wait("the frozen one out", |status| status["inSync"] == serde_json::json!(["r0"]));
    cluster.local(&["kill", "r0", "--signal", "STOP"]).succeeds();
    cluster.local(&["kill", "r1", "--signal", "CONT"]).succeeds();
    cluster.wait("the other one answering", |status| status["replicas"][1]["role"] == "slave");
    let endpoint = cluster.status()["replicas"][1]["endpoint"].as_str().unwrap().to_owned();
    let promote = ["promote", "r1", "--endpoint", &endpoint, "--timeout", "4s"];
    let refused = cluster.run(&promote).ends_with(4);
    assert!(
        refused.err.contains("the master does not answer: r1 has heard nothing of it for"),
        "{refused:#?}"
    );
    cluster.local(&["kill", "r0", "--signal", "CONT"]).succeeds();
    cluster.wait("both in sync", is_whole);
}

#[test]
fn a_cluster_or_a_replica_that_is_not_there_is_not_found() {
    let cluster = Cluster::new();
    let missing = cluster.local(&["status"]).ends_with(3);
    assert!(missing.err.contains("`rq local up`"), "{missing:#?}");
    cluster.up().succeeds();
    let unknown = cluster.local(&["kill", "r7"]).ends_with(3);
    assert!(unknown.err.contains("r0, r1"), "{unknown:#?}");
}

fn segment(cluster: &Cluster, replica: &str, number: u64) -> PathBuf {
    cluster.data().join(replica).join(format!("log/{:020}.seg", number << 20))
}

/// Flips a bit of a full segment of a replica, as a disk does it.
fn flip_a_bit(cluster: &Cluster, replica: &str, segment: u64) {
    let path = self::segment(cluster, replica, segment);
    let byte = std::fs::read(&path).unwrap()[BITTEN as usize];
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[byte ^ 1], BITTEN).unwrap();
}

/// Which byte of a segment: of some message's body.
const BITTEN: u64 = 500_000;

#[track_caller]
fn verified_in_the_end(cluster: &Cluster) -> Value {
    let began = Instant::now();
    loop {
        let verified = cluster.run(&["verify", "-o", "json"]);
        if verified.code == Some(0) {
            return verified.json();
        }
        assert!(began.elapsed() < DEADLINE, "never whole: {verified:#?}");
        std::thread::sleep(POLL);
    }
}

#[test]
fn verify_names_the_damaged_copy_of_a_segment_which_is_repaired() {
    let cluster = Cluster::new();
    cluster.up().succeeds();
    let file = cluster.data().join("body");
    std::fs::write(&file, vec![b'x'; 60_000]).unwrap();
    cluster.run(&["produce", "orders", "--file", file.to_str().unwrap(), "--repeat", "60"]).succeeds();
    let report = cluster.run(&["verify", "-o", "json"]).succeeds().json();
    assert_eq!(
        (&report["same"], report["replicas"].as_array().unwrap().len()),
        (&true.into(), 2),
        "{report:#}"
    );
    assert!(report["replicas"][1]["segments"].as_u64().unwrap() >= 3, "{report:#}");

    flip_a_bit(&cluster, "r1", 1);
    let found = cluster.run(&["verify", "-o", "json", "--check-only"]).ends_with(1).json();
    let slave = &found["replicas"][1];
    assert_eq!((&slave["name"], &slave["damaged"][0]["lsn"]), (&"r1".into(), &(1 << 20).into()), "{found:#}");
    assert_eq!(
        (&found["replicas"][0]["damaged"], &slave["sameState"]),
        (&serde_json::json!([]), &true.into())
    );
    let told = cluster.run(&["verify"]).ends_with(1);
    assert!(told.out.contains("r1: the segment at 1048576 is damaged"), "{told:#?}");
    verified_in_the_end(&cluster);

    // Found while it starts, before anything else.
    let killed_and_back = || {
        let before = pid(&cluster.status(), 1);
        cluster.local(&["kill", "r1"]).succeeds();
        cluster.wait("another process in sync", |status| pid(status, 1) != before && is_whole(status));
        verified_in_the_end(&cluster);
    };
    flip_a_bit(&cluster, "r1", 2);
    killed_and_back();
    for number in [1, 2] {
        std::fs::remove_file(segment(&cluster, "r1", number)).unwrap();
    }
    killed_and_back();
    let told = cluster.run(&["verify"]).succeeds();
    assert!(told.out.contains("all 2 copies are whole and the same"), "{told:#?}");
}
