//! The network of the other tests, tested alone: a cut loses what it says and nothing else. Without this, a passed
//! scenario would prove nothing.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rq_tests::network::{Cut, Namespace, Network};
use rq_tests::requirement::can_run;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::NEEDS;

/// What is not there within this time is lost. The first repetition of a lost packet comes after a second.
const PATIENCE: Duration = Duration::from_millis(700);
const PORT: u16 = 9;

#[test]
fn a_cut_loses_what_it_says_and_nothing_else() -> Result<()> {
    if !can_run("cuts", &NEEDS)? {
        return Ok(());
    }
    Network::new(2)?.run(async |network| {
        let replicas = [network.replica(0), network.replica(1)];
        let (until, end) = watch::channel(());
        let listening = replicas.map(|replica| listen(replica, end.clone()));
        for replica in replicas {
            while !reaches(network.clients(), replica.port(PORT)).await? {}
        }
        for (cut, from_clients, from_the_other) in [
            (Cut::Replicas, true, false),
            (Cut::All, false, false),
            (Cut::Outgoing, false, false),
            (Cut::Incoming, false, false),
        ] {
            network.cut(0, cut)?;
            let target = network.replica(0).port(PORT);
            ensure!(reaches(network.clients(), target).await? == from_clients, "{cut:?}: from the clients");
            ensure!(reaches(network.replica(1), target).await? == from_the_other, "{cut:?}: from the other");
            let other = network.replica(1).port(PORT);
            ensure!(reaches(network.clients(), other).await?, "{cut:?}: the other replica is cut off too");
            network.heal()?;
            ensure!(reaches(network.replica(1), target).await?, "{cut:?} is not healed");
        }
        drop(until);
        for listener in listening {
            listener.await??;
        }
        Ok(())
    })
}

#[test]
fn what_a_killed_test_left_behind_is_removed_by_the_next() -> Result<()> {
    if !can_run("left-over namespaces", &NEEDS)? {
        return Ok(());
    }
    let mut ended = Command::new("true").spawn()?;
    ended.wait()?;
    let left = format!("rq-test-{}-0-r0", ended.id());
    ensure!(Command::new("ip").args(["netns", "add", &left]).status()?.success(), "cannot add {left}");
    let mut process = Command::new("ip").args(["netns", "exec", &left, "sleep", "600"]).spawn()?;
    // It is in there once it is the program.
    let is_sleep = || {
        std::fs::read_to_string(format!("/proc/{}/comm", process.id())).is_ok_and(|comm| comm == "sleep\n")
    };
    while !is_sleep() {
        std::thread::yield_now();
    }
    drop(Network::new(0)?);
    let status = process.wait()?;
    ensure!(!status.success(), "what ran in the namespace was not killed");
    ensure!(!std::path::Path::new("/run/netns").join(&left).exists(), "{left} is still there");
    Ok(())
}

/// Accepts connections until nobody holds the other end of `end`.
fn listen(replica: &Namespace, mut end: watch::Receiver<()>) -> JoinHandle<Result<()>> {
    let address = replica.port(PORT);
    replica.spawn(async move || {
        let listener = TcpListener::bind(address).await.context("listen")?;
        loop {
            tokio::select! {
                _ = listener.accept() => {}
                _ = end.changed() => return Ok(()),
            }
        }
    })
}

async fn reaches(from: &Namespace, address: SocketAddr) -> Result<bool> {
    from.spawn(async move || {
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await;
        Ok(matches!(connected, Ok(Ok(_))))
    })
    .await?
}
