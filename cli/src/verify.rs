//! `rq verify`: compares the copies of a running cluster. Every replica reads its full segments again and hashes its
//! state as of one position of the log; what is damaged is repaired by the replicas themselves.

mod report;

use std::error::Error as _;
use std::time::Duration;

use clap::Args;
use futures::future::join_all;
use indicatif::ProgressBar;
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use rq_proto::reliablequeue::segment_check::What;
use tonic::Status;
use tonic::transport::Channel;

use self::report::{Copy, Report};
use crate::admin::{Admin, call};
use crate::args::Global;
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::output::{self, Output};

/// A replica of which nothing is heard for so long does not answer: it tells how far it is several times a second.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a replica may take to hash its state.
const HASH_PATIENCE: Duration = Duration::from_mins(2);

/// `rq verify`.
#[derive(Args)]
pub(crate) struct Verify {
    /// Only tell what is damaged; leave its repair to the scrub
    #[arg(long)]
    check_only: bool,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, verify: &Verify) -> Result<(), Failure> {
    let admin = Admin::connect(global).await?;
    let status = call!(admin.status(pb::StatusRequest {}))?;
    let mark = call!(admin.mark_state(pb::MarkStateRequest {}))?.lsn;
    let members = if status.members.is_empty() { vec![alone(global, &status)] } else { status.members };
    let bar = output::progress(Some(0), "bytes of all copies read");
    let copies = members.into_iter().map(|member| read(global, member, mark, verify.check_only, &bar));
    let copies = join_all(copies).await;
    bar.finish_and_clear();
    let report = Report::new(mark, copies);
    match global.output {
        Output::Json => output::json(&report)?,
        Output::Table => report.print(verify.check_only)?,
    }
    match report.troubles() {
        0 => Ok(()),
        troubles => Err(Failure::CopiesDiffer { troubles }),
    }
}

/// A broker that is no member of a cluster has one copy.
fn alone(global: &Global, status: &pb::StatusResponse) -> pb::Member {
    pb::Member {
        name: status.cluster.clone(),
        store_id: status.store_id.clone(),
        address: global.endpoint.to_string(),
        master: true,
        in_sync: true,
        connected: true,
        durable_lsn: status.durable_lsn,
    }
}

/// Asks one replica for all it has.
async fn read(global: &Global, member: pb::Member, mark: u64, check_only: bool, bar: &ProgressBar) -> Copy {
    let mut copy = Copy::new(&member);
    if let Err(error) = ask(global, &member, mark, check_only, bar, &mut copy).await {
        copy.error = Some(error);
    }
    copy
}

async fn ask(
    global: &Global,
    member: &pb::Member,
    mark: u64,
    check_only: bool,
    bar: &ProgressBar,
    copy: &mut Copy,
) -> Result<(), String> {
    let endpoint: Endpoint =
        member.address.parse().map_err(|error| format!("{}: {error}", member.address))?;
    let channel = endpoint.connect(global.timeout).await.map_err(|error| error.to_string())?;
    let mut client = ReplicaClient::new(channel);
    let described =
        tokio::time::timeout(global.timeout, client.describe(pb::DescribeReplicaRequest {})).await;
    let described =
        described.map_err(|_| silent(global.timeout))?.map_err(|status| not_described(&status))?;
    let described = described.into_inner();
    if described.store_id != member.store_id {
        return Err(format!("store {} answers at {}", described.store_id, member.address));
    }
    if !described.halted.is_empty() {
        return Err(described.halted);
    }
    let hash = state_hash(client.clone(), mark);
    let (hash, checked) = tokio::join!(hash, check_segments(client, check_only, bar, copy));
    copy.state_hash = Some(hash?);
    checked
}

async fn state_hash(mut client: ReplicaClient<Channel>, mark: u64) -> Result<String, String> {
    let asked = client.state_hash(pb::StateHashRequest { lsn: mark });
    let answered = tokio::time::timeout(HASH_PATIENCE, asked).await;
    let answered = answered.map_err(|_| {
        format!(
            "it has not hashed its state as of {mark} within {}",
            humantime::format_duration(HASH_PATIENCE)
        )
    })?;
    Ok(answered.map_err(|status| told(&status))?.into_inner().hash)
}

async fn check_segments(
    mut client: ReplicaClient<Channel>,
    check_only: bool,
    bar: &ProgressBar,
    copy: &mut Copy,
) -> Result<(), String> {
    let asked = client.check_segments(pb::CheckSegmentsRequest { check_only });
    let asked = tokio::time::timeout(SILENCE, asked).await.map_err(|_| silent(SILENCE))?;
    let mut checks = asked.map_err(|status| told(&status))?.into_inner();
    loop {
        let next = tokio::time::timeout(SILENCE, checks.message()).await;
        match next.map_err(|_| silent(SILENCE))?.map_err(|status| told(&status))?.map(|check| check.what) {
            None => return Ok(()),
            Some(Some(What::TotalBytes(bytes))) => bar.inc_length(bytes),
            Some(Some(What::ReadBytes(bytes))) => bar.inc(bytes),
            Some(Some(What::Segment(segment))) => copy.segments.push(segment),
            Some(None) => return Err("it is of a newer release: use the rq of that one".to_owned()),
        }
    }
}

/// A port with TLS ends a connection in the clear before it answers; only then the status has a cause.
fn not_described(status: &Status) -> String {
    if status.source().is_none() {
        return told(status);
    }
    "it closed the connection: where brokers have a port with TLS for each other (--peer-listen), rq cannot ask them there"
        .to_owned()
}

fn silent(patience: Duration) -> String {
    format!("nothing was heard for {}", humantime::format_duration(patience))
}

fn told(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What a port with TLS says to whoever does not speak it: a fatal alert.
    const ALERT: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 10];

    #[tokio::test]
    async fn a_port_with_tls_is_told_from_one_that_does_not_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint: Endpoint = listener.local_addr().unwrap().to_string().parse().unwrap();
        tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.read_u8().await.unwrap();
            tcp.write_all(&ALERT).await.unwrap();
        });
        let mut client = ReplicaClient::new(endpoint.connect(Duration::from_secs(20)).await.unwrap());
        let status = client.describe(pb::DescribeReplicaRequest {}).await.unwrap_err();
        assert!(not_described(&status).contains("--peer-listen"), "{status:?}");
    }
}
