//! `QueueShard`: the configuration of one shard (epoch, master, in-sync set, members) as an object that only machines
//! write. Its CEL rules are those of [`rq_core::config::check`], so that the API server itself refuses a promotion that
//! could lose a message, whoever asks for it. `tests/transitions.rs` holds both against each other.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use rq_core::config::{Config, FlushMode, Member};
use rq_core::ids::{Epoch, Session, StoreId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The configuration of a shard. `version` 0 is a shard that was never formed: nobody is master yet.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "reliablequeue.dev",
    version = "v1alpha1",
    kind = "QueueShard",
    plural = "queueshards",
    shortname = "rqs",
    namespaced,
    derive = "PartialEq",
    doc = "The configuration of one shard of a ReliableQueue. Machines write it; people look at the ReliableQueue.",
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".spec.epoch"),
    printcolumn(name = "Master", type_ = "string", json_path = ".spec.master"),
    printcolumn(name = "InSync", type_ = "string", json_path = ".spec.inSync[*].storeId", priority = 1),
    printcolumn(name = "Version", type_ = "integer", json_path = ".spec.version"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self == oldSelf || self.version == oldSelf.version + 1")
        .message("the version must grow by exactly one"),
    validation = Rule::new(SETS)
        .message("the in-sync set must hold the master and only members; both are empty in version 0 alone"),
    validation = Rule::new("oldSelf.version > 0 || self == oldSelf || (self.epoch == 1 && self.inSync.size() == 1 && self.uncleanEpoch == 0)")
        .message("a shard is formed in epoch 1 with one copy in sync"),
    validation = Rule::new("oldSelf.version == 0 || self.uncleanEpoch == oldSelf.uncleanEpoch || (self.uncleanEpoch == self.epoch && self.epoch > oldSelf.epoch && self.inSync.size() == 1)")
        .message("accepting data loss begins a new epoch with one copy in sync"),
    validation = Rule::new("oldSelf.version == 0 || self.uncleanEpoch != oldSelf.uncleanEpoch || self.epoch == oldSelf.epoch || self.epoch == oldSelf.epoch + 1")
        .message("the epoch must stay, or grow by one with a promotion"),
    validation = Rule::new("oldSelf.version == 0 || self.uncleanEpoch != oldSelf.uncleanEpoch || self.epoch != oldSelf.epoch || self.master == oldSelf.master")
        .message("another master needs another epoch"),
    validation = Rule::new(PROMOTED)
        .message("only a replica of the in-sync set can be promoted, in the session in which it is in sync"),
    validation = Rule::new(KEPT)
        .message("a promotion cannot enlarge the in-sync set"),
)]
pub struct QueueShardSpec {
    /// Grows by one with every change: whoever writes has read the version before.
    #[schemars(range(min = 0))]
    pub version: i64,
    /// Number of the present mastership.
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub epoch: i64,
    /// Store id of the master; empty before the shard is formed.
    #[schemars(length(max = 32), regex(pattern = "^([0-9a-f]{32})?$"))]
    pub master: String,
    /// The copies that hold everything acknowledged, the master among them. Only one of them can be promoted.
    #[schemars(length(max = 9))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["storeId".to_owned()]))]
    pub in_sync: Vec<InSync>,
    /// All replicas that may follow.
    #[schemars(length(max = 9))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["storeId".to_owned()]))]
    pub members: Vec<ShardMember>,
    /// With fewer copies in sync, producers are refused.
    #[schemars(range(min = 1, max = 9))]
    pub min_in_sync: i32,
    /// Whether a changed session makes a new replica.
    pub flush_mode: ShardFlushMode,
    /// The newest epoch that began with a copy that may not have held everything acknowledged; 0 if there was none.
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    #[serde(default)]
    pub unclean_epoch: i64,
}

const SETS: &str = "self.version == 0 \
    ? self.epoch == 0 && self.master == '' && self.inSync.size() == 0 \
    : self.inSync.exists(i, i.storeId == self.master) \
        && self.inSync.all(i, self.members.exists(m, m.storeId == i.storeId))";
const PROMOTED: &str = "oldSelf.version == 0 || self.uncleanEpoch != oldSelf.uncleanEpoch || self.epoch == oldSelf.epoch \
    || oldSelf.inSync.exists(o, o.storeId == self.master && (oldSelf.flushMode == 'Sync' \
        || self.inSync.exists(i, i.storeId == o.storeId && i.session == o.session)))";
const KEPT: &str = "oldSelf.version == 0 || self.uncleanEpoch != oldSelf.uncleanEpoch || self.epoch == oldSelf.epoch \
    || self.inSync.all(i, oldSelf.inSync.exists(o, o.storeId == i.storeId \
        && (o.session == i.session || i.storeId == self.master)))";

/// A copy of the in-sync set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InSync {
    /// Its store: an id of the data directory, never the name of a pod.
    #[schemars(length(max = 32), regex(pattern = "^[0-9a-f]{32}$"))]
    pub store_id: String,
    /// The session in which it caught up, in hexadecimal.
    #[schemars(length(max = 16), regex(pattern = "^[0-9a-f]{16}$"))]
    pub session: String,
}

/// A replica.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShardMember {
    /// Its store.
    #[schemars(length(max = 32), regex(pattern = "^[0-9a-f]{32}$"))]
    pub store_id: String,
    /// Its pod.
    #[schemars(length(max = 253))]
    pub name: String,
    /// `HOST:PORT` on which it serves clients and its slaves.
    #[schemars(length(max = 300))]
    pub address: String,
}

/// When a record counts on a replica.
#[derive(schemars::JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ShardFlushMode {
    /// When it is flushed.
    #[default]
    Sync,
    /// When it is written.
    Async,
}

/// A shard that no release of ours has written.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "the QueueShard has no valid {0}: it was written by another release, or by hand; restore it as it was"
)]
pub struct Malformed(&'static str);

impl QueueShardSpec {
    /// The configuration it holds; none if the shard was never formed.
    pub fn config(&self) -> Result<Option<Config>, Malformed> {
        if self.version == 0 {
            return Ok(None);
        }
        let store = |id: &String| id.parse::<StoreId>().map_err(|_| Malformed("store id"));
        let session =
            |text: &String| u64::from_str_radix(text, 16).map(Session).map_err(|_| Malformed("session"));
        let epoch = |number: i64| u32::try_from(number).map(Epoch).map_err(|_| Malformed("epoch"));
        let in_sync = self.in_sync.iter().map(|copy| Ok((store(&copy.store_id)?, session(&copy.session)?)));
        let members = self.members.iter().map(|member| {
            let ShardMember { store_id, name, address } = member.clone();
            Ok((store(&store_id)?, Member { name, address }))
        });
        Ok(Some(Config {
            version: u64::try_from(self.version).map_err(|_| Malformed("version"))?,
            epoch: epoch(self.epoch)?,
            master: store(&self.master)?,
            in_sync: in_sync.collect::<Result<BTreeMap<_, _>, _>>()?,
            members: members.collect::<Result<BTreeMap<_, _>, _>>()?,
            min_in_sync: u8::try_from(self.min_in_sync).map_err(|_| Malformed("minInSync"))?,
            flush_mode: match self.flush_mode {
                ShardFlushMode::Sync => FlushMode::Sync,
                ShardFlushMode::Async => FlushMode::Async,
            },
            unclean: (self.unclean_epoch > 0).then(|| epoch(self.unclean_epoch)).transpose()?,
        }))
    }

    /// A shard that was never formed.
    #[must_use]
    pub fn unformed() -> Self {
        Self { min_in_sync: 1, ..Self::default() }
    }
}

impl From<&Config> for QueueShardSpec {
    fn from(config: &Config) -> Self {
        let in_sync = config.in_sync.iter().map(|(store, session)| InSync {
            store_id: store.to_string(),
            session: format!("{:016x}", session.0),
        });
        let members = config.members.iter().map(|(store, member)| ShardMember {
            store_id: store.to_string(),
            name: member.name.clone(),
            address: member.address.clone(),
        });
        Self {
            version: i64::try_from(config.version).unwrap_or(i64::MAX),
            epoch: config.epoch.0.into(),
            master: config.master.to_string(),
            in_sync: in_sync.collect(),
            members: members.collect(),
            min_in_sync: config.min_in_sync.into(),
            flush_mode: match config.flush_mode {
                FlushMode::Sync => ShardFlushMode::Sync,
                FlushMode::Async => ShardFlushMode::Async,
            },
            unclean_epoch: config.unclean.map_or(0, |epoch| epoch.0.into()),
        }
    }
}
