//! How the engine of a broker joins its cluster: with the config store that the broker is told of, or alone.

use std::path::Path;

use rq_config_files::{ConfigFiles, KeptConfig};
use rq_core::config::{Config as ShardConfig, Member};
use rq_core::ids::Session;
use rq_kubernetes::{Client, ShardStore};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::config::shard_name::ShardName;
use crate::config_store::{self, Files, Kept, Own, Registration, Shard};
use crate::engine::cluster::Cluster;
use crate::engine::{Engine, StartError};
use crate::pod_role;
use crate::run::error::RunError;

/// Where the configuration of this broker's shard lies.
#[derive(Clone)]
pub(crate) enum Store {
    /// Nowhere: the broker is alone.
    None,
    /// In a directory of this machine.
    Files(ConfigFiles),
    /// On Kubernetes.
    Shard(Client, ShardName),
}

/// An engine that runs.
pub(crate) struct Joined {
    pub(crate) engine: Engine,
    /// The configuration that is kept beside the log, where the store may lose it.
    pub(crate) kept: Option<Kept>,
}

impl Store {
    /// As this broker is told.
    pub(crate) async fn of(config: &Config) -> Result<Self, RunError> {
        Ok(match (&config.queue_shard, &config.config_store) {
            (Some(shard), _) => Self::Shard(rq_kubernetes::client().await?, shard.clone()),
            (None, Some(dir)) => Self::Files(ConfigFiles::at(dir)),
            (None, None) => Self::None,
        })
    }

    /// What it says, or else what is kept: for a repair alone.
    pub(crate) async fn glance(&self, data: &Path) -> Option<ShardConfig> {
        match self {
            Self::None => None,
            Self::Files(files) => files.read().unwrap_or_default(),
            Self::Shard(client, shard) => {
                let read = shard_store(client, shard).read().await.unwrap_or_default();
                read.or_else(|| KeptConfig::open(data).ok()?.newest().cloned())
            }
        }
    }

    /// Starts the engine. Blocks while it recovers the log; called within a tokio runtime.
    pub(crate) fn join(&self, config: &Config, session: Session) -> Result<Joined, RunError> {
        let options = config.engine();
        if matches!(self, Self::None) {
            return Ok(Joined { engine: Engine::start(&options)?, kept: None });
        }
        let (requests, asked) = mpsc::unbounded_channel();
        let cluster = Cluster { session, config: requests, rules: config.rules() };
        let engine = Engine::join(&options, cluster)?;
        let (started, kept) = match self {
            Self::None => return Ok(Joined { engine, kept: None }),
            Self::Files(files) => {
                (config_store::start(Files::new(files.clone()), None, asked, engine.clone()), None)
            }
            Self::Shard(client, shard) => {
                // The engine has the data directory for itself by now.
                let kept = KeptConfig::open(&config.data)?;
                let member = Member { name: config.name.clone(), address: config.advertised() };
                let registration = Registration::new(engine.identity().store_id, member);
                let (own, kept) = Own::new(kept, registration);
                let watched = Shard::watch(shard_store(client, shard));
                (config_store::start(watched, Some(own), asked, engine.clone()), Some(kept))
            }
        };
        started.map_err(StartError::Thread)?;
        Ok(Joined { engine, kept })
    }

    /// Has others see the role of this replica, where that is for it to say.
    pub(crate) fn show_role(&self, pod: &str, engine: &Engine) -> Option<JoinHandle<()>> {
        let Self::Shard(client, shard) = self else { return None };
        let (client, shard) = (client.clone(), shard.clone());
        Some(tokio::spawn(pod_role::keep_labelled(client, shard, pod.to_owned(), engine.view())))
    }
}

fn shard_store(client: &Client, shard: &ShardName) -> ShardStore {
    ShardStore::new(client.clone(), &shard.namespace, &shard.name)
}
