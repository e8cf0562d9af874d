//! What lies between a client and its broker, or between two brokers: ways that lead elsewhere, and one that loses an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rq_core::config::Member;
use rq_proto::reliablequeue::HandOverRequest;
use rq_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;

use crate::cluster::{Cluster, NAMES, send_all};
use crate::harness::{Client, SOON, message, system};

/// Takes connections, and leaves each to `carry`, with how many came before.
pub(crate) async fn relay<F>(carry: impl Fn(TcpStream, usize) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for before in 0.. {
            let Ok((client, _)) = listener.accept().await else { return };
            tokio::spawn(carry(client, before));
        }
    });
    address
}

/// Brings each new connection to the next of these addresses, the last one again and again; tells how many came.
async fn leading(to: [SocketAddr; 2]) -> (SocketAddr, Arc<AtomicUsize>) {
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    let address = relay(move |mut client, before| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let mut broker = TcpStream::connect(to[before.min(1)]).await?;
            tokio::io::copy_bidirectional(&mut client, &mut broker).await.map(drop)
        }
    });
    (address.await, came)
}

/// A way to this address on which one answer gets lost: of the first connection over which `asked` goes there, nothing comes
/// back any more, and it breaks when `answered` was to. The count says whether that has happened.
async fn losing(
    to: SocketAddr,
    asked: &'static [u8],
    answered: &'static [u8],
) -> (SocketAddr, Arc<AtomicUsize>) {
    let lost = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lost);
    let address = relay(move |client, _| pass(client, to, asked, answered, Arc::clone(&counted)));
    (address.await, lost)
}

/// Brings bytes both ways, as [`losing`] says.
async fn pass(
    mut client: TcpStream,
    to: SocketAddr,
    asked: &[u8],
    answered: &[u8],
    lost: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut broker = TcpStream::connect(to).await?;
    let has = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    let (mut there, mut back) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut loses = false;
    loop {
        tokio::select! {
            read = client.read(&mut there) => {
                let bytes = &there[..read?];
                loses |= lost.load(Ordering::Relaxed) == 0 && has(bytes, asked);
                broker.write_all(bytes).await?;
                if bytes.is_empty() {
                    return Ok(());
                }
            }
            read = broker.read(&mut back) => {
                let bytes = &back[..read?];
                if loses && has(bytes, answered) {
                    lost.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                if !loses {
                    client.write_all(bytes).await?;
                }
                if bytes.is_empty() {
                    return Ok(());
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_deposed_master_are_told_to_come_over_a_new_connection() {
    let cluster = Cluster::start().await;
    let (address, came) = leading(NAMES.map(|name| cluster.brokers[name].address)).await;
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let client = Client { rpc: MessagingServiceClient::new(channel), id: "c".to_owned(), language: "GO" };
    send_all(&client, 0..5).await;
    let to_store = cluster.describe("r1").await.store_id;
    cluster.replica("r0").await.hand_over(HandOverRequest { to_store }).await.unwrap();
    cluster.in_sync("r1", 2).await;
    let wait = async {
        let mut sent = 5;
        while came.load(Ordering::Relaxed) < 2 {
            send_all(&client, sent..sent + 1).await;
            sent += 1;
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("a second connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_whose_answer_was_lost_behind_a_slave_gets_the_same_message_again() {
    let cluster = Cluster::start().await;
    cluster.client("r0").await.send_ok(vec![message("asked-for", "1", "on its way")]).await;
    let (address, lost) = losing(cluster.brokers["r0"].address, b"asked-for", b"on its way").await;
    cluster.register("r0", Member { address: address.to_string(), ..cluster.member("r0") }).await;
    let knows = async { while cluster.describe("r1").await.config_version != cluster.config().version {} };
    tokio::time::timeout(SOON, knows).await.expect("the slave knows the other address");
    let received = cluster.client("r1").await.receive("g", "asked-for").await;
    assert_eq!(lost.load(Ordering::Relaxed), 1, "the first answer");
    assert_eq!(received.bodies(), ["on its way"]);
    assert_eq!(system(&received.messages[0]).delivery_attempt, Some(1), "one delivery, asked for twice");
}
