//! What is told of a connection that is not made, and of files that cannot be used. Whole brokers are in
//! `tests/grpc/peers.rs`.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rq_proto::reliablequeue::VouchRequest;
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::connecting::nobody_listens;

const NAME: &str = "a.b.reliablequeue.internal";

/// A certificate that is its own authority.
fn write(dir: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    for file in ["ca.crt", "tls.crt"] {
        fs::write(dir.join(file), made.cert.pem()).unwrap();
    }
    fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
}

fn dir() -> TempDir {
    let dir = TempDir::new().unwrap();
    write(dir.path(), NAME);
    dir
}

fn links(dir: &TempDir) -> Result<PeerLinks, PeerTlsError> {
    PeerLinks::with_tls(dir.path().to_owned(), NAME.to_owned())
}

/// An error and its causes.
fn told(error: &dyn Error) -> String {
    let causes = error.source().map(|cause| format!(": {}", told(cause)));
    format!("{error}{}", causes.unwrap_or_default())
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_as_such_with_tls_too() {
    let dir = dir();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = PeerLinks::endpoint(&listener.local_addr().unwrap().to_string()).unwrap();
    drop(listener);
    for links in [PeerLinks::default(), links(&dir).unwrap()] {
        let now = links.connect(&endpoint).await.unwrap_err();
        assert!(nobody_listens(&now), "{}", told(&now));
        let bounded = endpoint.clone().connect_timeout(Duration::from_millis(500));
        let mut client = ReplicaClient::new(links.connect_lazily(&bounded));
        let later = client.vouch(VouchRequest::default()).await.unwrap_err();
        assert!(nobody_listens(&later), "{}", told(&later));
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_no_sign_that_nobody_listens_and_says_what_to_check() {
    let dir = dir();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = PeerLinks::endpoint(&listener.local_addr().unwrap().to_string()).unwrap();
    tokio::spawn(async move {
        // It closes what it accepts.
        while listener.accept().await.is_ok() {}
    });
    let error = links(&dir).unwrap().connect(&endpoint).await.unwrap_err();
    let told = told(&error);
    assert!(!nobody_listens(&error), "{told}");
    assert!(told.contains("handshake failed: check that ca.crt of both brokers"), "{told}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_holds_nobody_up_for_longer_than_a_connection_may_take() {
    let dir = dir();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = PeerLinks::endpoint(&listener.local_addr().unwrap().to_string()).unwrap();
    let bounded = endpoint.connect_timeout(Duration::from_millis(100));
    let mut client = ReplicaClient::new(links(&dir).unwrap().connect_lazily(&bounded));
    let called = tokio::time::timeout(Duration::from_secs(20), client.vouch(VouchRequest::default()));
    assert!(!nobody_listens(&called.await.expect("an answer").unwrap_err()));
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start_with_what_is_wrong() {
    let dir = dir();
    assert!(links(&dir).is_ok());
    let refused = || links(&dir).unwrap_err().to_string();

    write(dir.path(), "another.name");
    assert!(
        refused().contains("tls.crt is not a certificate for a.b.reliablequeue.internal"),
        "{}",
        refused()
    );

    let other = self::dir();
    fs::copy(other.path().join("tls.crt"), dir.path().join("tls.crt")).unwrap();
    assert!(refused().contains("tls.crt and tls.key are one pair"), "{}", refused());

    fs::write(dir.path().join("ca.crt"), "no certificate").unwrap();
    assert!(refused().contains("ca.crt"), "{}", refused());

    fs::remove_file(dir.path().join("tls.key")).unwrap();
    assert!(refused().contains("tls.key cannot be read"), "{}", refused());

    let blank = PeerLinks::with_tls(dir.path().to_owned(), "no name".to_owned()).unwrap_err();
    assert!(blank.to_string().contains("--peer-tls-name"), "{blank}");
}
