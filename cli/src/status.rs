//! `rq status`: the state of the broker.

use std::num::NonZeroU32;
use std::time::Duration;

use rq_proto::reliablequeue as pb;
use serde::Serialize;

use crate::admin::{Admin, call};
use crate::args::Global;
use crate::failure::Failure;
use crate::flush_mode;
use crate::group::Idle;
use crate::output::{self, Output};

/// The state as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    version: String,
    cluster: String,
    /// None if the broker names it otherwise than by a number.
    shard: Option<u16>,
    store_id: String,
    epoch: u32,
    accepts_messages: bool,
    log_start_lsn: u64,
    durable_lsn: u64,
    commit_lsn: u64,
    checkpoint_lsn: u64,
    disk_free_bytes: u64,
    disk_total_bytes: u64,
    topics: u64,
    groups: u64,
    clients: u64,
    uptime_ms: u64,
    log_time_ms: i64,
    data_dir: String,
    idle_groups: Vec<Idle>,
    expired_messages: u64,
    members: Vec<Member>,
    min_in_sync: u32,
    flush_mode: &'static str,
    /// The newest epoch that began with accepted data loss, if one did.
    unclean_epoch: Option<NonZeroU32>,
}

/// A replica.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    name: String,
    store_id: String,
    address: String,
    master: bool,
    in_sync: bool,
    connected: bool,
    durable_lsn: u64,
    /// Bytes that it has not flushed of what the master has; none of a replica that is not connected.
    lag_bytes: Option<u64>,
}

impl Member {
    fn new(member: pb::Member, end: u64) -> Self {
        let pb::Member { name, store_id, address, master, in_sync, connected, durable_lsn } = member;
        let lag_bytes = (master || connected).then(|| end.saturating_sub(durable_lsn));
        Self { name, store_id, address, master, in_sync, connected, durable_lsn, lag_bytes }
    }

    fn told(&self) -> String {
        let role = if self.master { "master" } else { "slave" };
        let sync = if self.in_sync { "in sync" } else { "NOT in sync" };
        let away = if self.connected { "" } else { ", not connected" };
        let lag = self.lag_bytes.filter(|lag| *lag > 0);
        let lag = lag.map_or_else(String::new, |lag| format!(", {} behind", output::bytes(lag)));
        format!("{} at {}: {role}, {sync}{away}{lag}", self.name, self.address)
    }
}

/// Runs the command.
pub(crate) async fn run(global: &Global) -> Result<(), Failure> {
    let admin = Admin::connect(global).await?;
    let status = Shown::from(call!(admin.status(pb::StatusRequest {}))?);
    if global.output == Output::Json {
        return output::json(&status);
    }
    let accepts = if status.accepts_messages { "yes" } else { "NO: the disk is too full for new messages" };
    let uptime = Duration::from_secs(status.uptime_ms / 1000);
    let (free, total) = (output::bytes(status.disk_free_bytes), output::bytes(status.disk_total_bytes));
    let log = output::bytes(status.durable_lsn.saturating_sub(status.log_start_lsn));
    let shard = status.shard.map_or_else(String::new, |shard| format!("{shard}, "));
    let idle = status.idle_groups.iter().map(Idle::told);
    let idle: Vec<_> = idle.map(|idle| ("idle group", idle)).collect();
    let mut fields = vec![
        ("broker", format!("{} ({})", global.endpoint, status.version)),
        ("cluster", status.cluster),
        ("shard", format!("{shard}epoch {}, store {}", status.epoch, status.store_id)),
        ("accepts messages", accepts.to_owned()),
        ("log", format!("{log}, {} to {}", status.log_start_lsn, status.durable_lsn)),
        ("committed", status.commit_lsn.to_string()),
        ("checkpoint", status.checkpoint_lsn.to_string()),
        ("log time", output::time(status.log_time_ms)),
        ("disk", format!("{free} free of {total}")),
        ("data directory", status.data_dir),
        ("topics", status.topics.to_string()),
        ("consumer groups", status.groups.to_string()),
        ("expired unread", status.expired_messages.to_string()),
        ("clients", status.clients.to_string()),
        ("up", humantime::format_duration(uptime).to_string()),
    ];
    fields.extend(idle);
    fields.extend(status.members.iter().map(|member| ("replica", member.told())));
    if status.min_in_sync > 0 {
        let copies = status.members.iter().filter(|member| member.in_sync).count();
        fields.push(("flush mode", status.flush_mode.to_owned()));
        fields.push(("copies in sync", format!("{copies}, producers need {}", status.min_in_sync)));
    }
    if let Some(epoch) = status.unclean_epoch {
        fields.push(("data loss", format!("accepted at the beginning of epoch {epoch}")));
    }
    output::fields(&fields)
}

impl From<pb::StatusResponse> for Shown {
    fn from(status: pb::StatusResponse) -> Self {
        let flush_mode = flush_mode::told(status.flush_mode());
        let mut members: Vec<_> =
            status.members.into_iter().map(|member| Member::new(member, status.durable_lsn)).collect();
        members.sort_by(|one, other| output::by_name(&one.name, &other.name));
        Self {
            version: status.version,
            cluster: status.cluster,
            shard: status.shard.parse().ok(),
            store_id: status.store_id,
            epoch: status.epoch,
            accepts_messages: status.accepts_messages,
            log_start_lsn: status.log_start_lsn,
            durable_lsn: status.durable_lsn,
            commit_lsn: status.commit_lsn,
            checkpoint_lsn: status.checkpoint_lsn,
            disk_free_bytes: status.disk_free_bytes,
            disk_total_bytes: status.disk_total_bytes,
            topics: status.topics,
            groups: status.groups,
            clients: status.clients,
            uptime_ms: status.uptime_ms,
            log_time_ms: status.log_time_ms,
            data_dir: status.data_dir,
            idle_groups: status.idle_groups.into_iter().map(Idle::from).collect(),
            expired_messages: status.expired_messages,
            members,
            min_in_sync: status.min_in_sync,
            flush_mode,
            unclean_epoch: NonZeroU32::new(status.unclean_epoch),
        }
    }
}
