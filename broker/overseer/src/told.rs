//! What a replica says of itself, read from the wire.

use std::collections::BTreeMap;

use rq_core::config::{Config, FlushMode, FlushPolicy, Member};
use rq_core::ids::{Epoch, Lsn, Session, StoreId};
use rq_proto::reliablequeue as pb;

/// What a replica says of itself. Times are the overseer's, in ms.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Its store.
    pub store: StoreId,
    /// The session of that.
    pub session: Session,
    /// It is a master whose epoch has begun and whom nobody is to succeed.
    pub serves: bool,
    /// The newest epoch that it has seen in the configuration.
    pub epoch: Epoch,
    /// It acts in no older one.
    pub promised: Epoch,
    /// The newest epoch in its log.
    pub log_epoch: Epoch,
    /// The version of the configuration that it has seen; 0 if it saw none.
    pub config_version: u64,
    /// The newest configuration that it has kept.
    pub config: Option<Config>,
    /// Where its log ends.
    pub end: Lsn,
    /// Everything below is flushed there.
    pub durable: Lsn,
    /// Since when it has heard nothing of its master; none of a master.
    pub master_silent_since: Option<u64>,
    /// It must not go on.
    pub halted: bool,
    /// What its disk has left and has in all, in bytes; zeroes if it does not say.
    pub disk: Disk,
    /// Of a master: the disks that count have room for new messages.
    pub accepts_messages: bool,
    /// How its log says that records are flushed; none on the way from one to the other.
    pub flush_policy: Option<FlushPolicy>,
    /// Its release; empty if it does not say.
    pub version: String,
}

/// Room on a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disk {
    /// What is left.
    pub free_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

impl Told {
    /// Reads an answer that came at `now`; none if it makes no sense.
    pub fn read(status: &pb::ReplicaStatus, now: u64) -> Option<Self> {
        Some(Self {
            store: status.store_id.parse().ok()?,
            session: Session(status.session),
            serves: status.role() == pb::Role::Master && status.serving,
            epoch: Epoch(status.epoch),
            promised: Epoch(status.promised),
            log_epoch: Epoch(status.log_epoch),
            config_version: status.config_version,
            config: status.config.as_ref().and_then(config),
            end: Lsn(status.end_lsn),
            durable: Lsn(status.durable_lsn),
            master_silent_since: status.master_silent_ms.map(|silent| now.saturating_sub(silent)),
            halted: !status.halted.is_empty(),
            disk: Disk { free_bytes: status.disk_free_bytes, total_bytes: status.disk_total_bytes },
            accepts_messages: status.accepts_messages,
            flush_policy: flush_mode(status.flush_mode())
                .map(|mode| FlushPolicy { mode, interval_ms: status.flush_interval_ms }),
            version: status.version.clone(),
        })
    }

    /// Its store has never been of a shard.
    pub fn is_new(&self) -> bool {
        let bytes = self.end.max(self.durable);
        self.config_version == 0 && bytes == Lsn(0) && self.promised.max(self.log_epoch) == Epoch(0)
    }
}

const fn flush_mode(mode: pb::FlushMode) -> Option<FlushMode> {
    match mode {
        pb::FlushMode::Unspecified => None,
        pb::FlushMode::Sync => Some(FlushMode::Sync),
        pb::FlushMode::Async => Some(FlushMode::Async),
    }
}

/// A configuration as it came over the wire; none if it makes no sense.
fn config(told: &pb::ShardConfig) -> Option<Config> {
    let in_sync = told.in_sync.iter().map(|copy| Some((copy.store_id.parse().ok()?, Session(copy.session))));
    let members = told.members.iter().map(|member| {
        let pb::ShardMember { store_id, name, address } = member.clone();
        Some((store_id.parse().ok()?, Member { name, address }))
    });
    Some(Config {
        version: told.version,
        epoch: Epoch(told.epoch),
        master: told.master.parse().ok()?,
        in_sync: in_sync.collect::<Option<BTreeMap<StoreId, _>>>()?,
        members: members.collect::<Option<BTreeMap<StoreId, _>>>()?,
        min_in_sync: u8::try_from(told.min_in_sync).ok()?,
        flush_mode: flush_mode(told.flush_mode())?,
        unclean: (told.unclean_epoch > 0).then_some(Epoch(told.unclean_epoch)),
    })
}
