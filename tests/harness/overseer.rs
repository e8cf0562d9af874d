//! What an operator does for a shard besides promoting: forms it once all stores are new, registers a store that took
//! the place of another, and says where clients go. It promotes nobody: the slaves of these tests do that themselves.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rq_config_files::ConfigFiles;
use rq_core::config::{self, Change, Config, Member};
use rq_core::ids::{Session, StoreId};
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use rq_proto::reliablequeue::{DescribeReplicaRequest, ReplicaStatus, Role};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::front::Backends;

/// How often all are asked.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Whoever has not answered after so long is silent.
const PATIENCE: Duration = Duration::from_millis(500);
/// Whoever was silent for so long hangs, while another one serves.
const HANGS_AFTER: Duration = Duration::from_secs(2);

/// A replica as the overseer sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    client: ReplicaClient<Channel>,
    answered: Instant,
    /// What it said, if it answers.
    pub(crate) status: Option<ReplicaStatus>,
}

impl Seen {
    /// A replica that was not asked yet.
    pub(crate) fn new(name: &str, address: SocketAddr) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).context("an address")?;
        let client = ReplicaClient::new(endpoint.connect_timeout(PATIENCE).connect_lazy());
        Ok(Self { name: name.to_owned(), address, client, answered: Instant::now(), status: None })
    }

    async fn ask(&mut self) {
        let asked = tokio::time::timeout(PATIENCE, self.client.describe(DescribeReplicaRequest {})).await;
        self.status = asked.ok().and_then(Result::ok).map(tonic::Response::into_inner);
        if self.status.is_some() {
            self.answered = Instant::now();
        }
    }

    fn serves(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.role() == Role::Master && status.serving)
    }

    fn store(&self) -> Option<StoreId> {
        let status = self.status.as_ref()?;
        u128::from_str_radix(&status.store_id, 16).ok().map(StoreId)
    }

    fn member(&self) -> Member {
        Member { name: self.name.clone(), address: self.address.to_string() }
    }
}

/// Oversees until it is dropped.
pub(crate) async fn oversee(
    config: ConfigFiles,
    mut replicas: Vec<Seen>,
    backends: watch::Sender<Backends>,
    tell: watch::Sender<Vec<Seen>>,
) {
    loop {
        futures::future::join_all(replicas.iter_mut().map(Seen::ask)).await;
        if let Err(error) = change(&config, &replicas) {
            eprintln!("overseer: {error:#}");
        }
        backends.send_if_modified(|told| {
            let now = where_to(&replicas);
            let changed = *told != now;
            *told = now;
            changed
        });
        tell.send_replace(replicas.clone());
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn where_to(replicas: &[Seen]) -> Backends {
    let mut order: Vec<&Seen> = replicas.iter().filter(|seen| seen.status.is_some()).collect();
    let epoch = |seen: &Seen| seen.status.as_ref().map(|status| status.epoch);
    order.sort_by_key(|seen| std::cmp::Reverse((seen.serves(), epoch(seen))));
    let one_serves = replicas.iter().any(Seen::serves);
    let hang = replicas.iter().filter(|seen| one_serves && seen.answered.elapsed() > HANGS_AFTER);
    Backends {
        order: order.iter().map(|seen| seen.address).collect(),
        hang: hang.map(|seen| seen.address).collect(),
    }
}

fn change(files: &ConfigFiles, replicas: &[Seen]) -> Result<()> {
    let new = match files.read()? {
        None => form(replicas),
        Some(config) => match membership(&config, replicas) {
            Some(change) => Some(config::next(&config, &change)?),
            None => None,
        },
    };
    if let Some(new) = new {
        // If somebody else was faster, it is looked at again.
        files.compare_and_set(&new)?;
    }
    Ok(())
}

/// The first configuration. Not found is not empty: no store may ever have been used.
fn form(replicas: &[Seen]) -> Option<Config> {
    let is_new = |status: &ReplicaStatus| (status.promised, status.log_epoch, status.end_lsn) == (0, 0, 0);
    let new = |seen: &Seen| seen.status.as_ref().filter(|status| is_new(status)).map(|status| status.session);
    let sessions: Vec<u64> = replicas.iter().map(new).collect::<Option<_>>()?;
    let members = replicas.iter().map(|seen| Some((seen.store()?, seen.member()))).collect::<Option<_>>()?;
    Some(Config::form(replicas.first()?.store()?, Session(*sessions.first()?), members, 1))
}

fn membership(config: &Config, replicas: &[Seen]) -> Option<Change> {
    for seen in replicas {
        let Some(store) = seen.store() else { continue };
        let member = seen.member();
        if config.members.get(&store) != Some(&member) {
            return Some(Change::Register { store, member });
        }
        let replaced = config
            .members
            .iter()
            .find(|(other, member)| member.name == seen.name && **other != store && **other != config.master);
        if let Some((store, _)) = replaced {
            return Some(Change::Remove { store: *store });
        }
    }
    None
}
