//! Between the wire types of the Admin service and those of the shard, with the checks of what comes in.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rq_core::config::{FlushMode, FlushPolicy};
use rq_core::ids::{Lsn, StoreId};
use rq_core::message::MessageContent;
use rq_core::queue::idle::IdleGroup;
use rq_core::queue::request::{Name, UpdateGroup};
use rq_core::queue::settings::{Backoff, GroupSettings, StartFrom, TopicKind, TopicSettings};
use rq_core::queue::view::{GroupStatus, QueueProgress, TopicStatus};
use rq_core::replication::Phase;
use rq_proto::reliablequeue as pb;
use tonic::Status;

use crate::engine::cluster::ReplicaView;
use crate::wire::{Invalid, names};

/// Longest delay between two attempts, as long as the longest invisible duration: 12 h.
const DELAY_MAX_MS: u64 = 12 * 3_600_000;
/// Most delays of a customized retry policy.
const DELAYS_MAX: usize = 64;
/// Largest factor between two delays of an exponential retry policy.
const MULTIPLIER_MAX: f64 = 1000.0;

/// Bounds and default of the time between two flushes, in ms; the default is RocketMQ's.
const FLUSH_INTERVAL_MS: RangeInclusive<u32> = 10..=60_000;
const FLUSH_INTERVAL_DEFAULT_MS: u32 = 500;

/// The keys of a message.
pub(super) fn keys(content: &MessageContent<'_>) -> Vec<String> {
    content.keys.iter().map(|key| (*key).to_owned()).collect()
}

/// The properties that its sender gave it.
pub(super) fn properties(content: &MessageContent<'_>) -> BTreeMap<String, String> {
    content.properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn flush_policy(request: pb::SetFlushModeRequest) -> Result<FlushPolicy, Status> {
    let mode = match request.mode() {
        pb::FlushMode::Sync => return Ok(FlushPolicy::default()),
        pb::FlushMode::Async => FlushMode::Async,
        pb::FlushMode::Unspecified => return Err(Status::invalid_argument("name a mode: SYNC or ASYNC")),
    };
    let interval_ms = if request.interval_ms == 0 { FLUSH_INTERVAL_DEFAULT_MS } else { request.interval_ms };
    if !FLUSH_INTERVAL_MS.contains(&interval_ms) {
        let (min, max) = (FLUSH_INTERVAL_MS.start(), FLUSH_INTERVAL_MS.end());
        return Err(Status::invalid_argument(format!(
            "the time between two flushes is {min} to {max} ms, not {interval_ms}"
        )));
    }
    Ok(FlushPolicy { mode, interval_ms })
}

pub(super) const fn flush_mode(mode: Option<FlushMode>) -> pb::FlushMode {
    match mode {
        None => pb::FlushMode::Unspecified,
        Some(FlushMode::Sync) => pb::FlushMode::Sync,
        Some(FlushMode::Async) => pb::FlushMode::Async,
    }
}

pub(super) fn new_topic(
    request: pb::CreateTopicRequest,
    default_queues: u16,
) -> Result<(Name, TopicSettings), Status> {
    names::check_topic(&request.name).map_err(invalid)?;
    if names::is_dead_letter_topic(&request.name) {
        return Err(Status::invalid_argument(
            "dead-letter topics are made by the broker: choose another name",
        ));
    }
    let kind = match request.r#type() {
        pb::TopicType::Unspecified | pb::TopicType::Normal => TopicKind::Normal,
        pb::TopicType::Fifo => TopicKind::Fifo,
        pb::TopicType::Delay => TopicKind::Delay,
        pb::TopicType::Transaction => TopicKind::Transaction,
    };
    let queues = match request.queues {
        0 => default_queues,
        asked => u16::try_from(asked)
            .ok()
            .filter(|queues| (TopicSettings::QUEUES_MIN..=TopicSettings::QUEUES_MAX).contains(queues))
            .ok_or_else(|| {
                let (min, max) = (TopicSettings::QUEUES_MIN, TopicSettings::QUEUES_MAX);
                Status::invalid_argument(format!("a topic has {min} to {max} queues, not {asked}"))
            })?,
    };
    Ok((request.name.into(), TopicSettings { kind, queues }))
}

pub(super) fn new_group(request: pb::CreateGroupRequest) -> Result<(Name, GroupSettings), Status> {
    names::check_group(&request.name).map_err(invalid)?;
    let default = GroupSettings::default();
    let start = match request.start_from() {
        pb::StartFrom::Unspecified | pb::StartFrom::Earliest => StartFrom::Earliest,
        pb::StartFrom::Latest => StartFrom::Latest,
    };
    let max_attempts = max_attempts(request.max_attempts)?.unwrap_or(default.max_attempts);
    let backoff = match request.retry {
        None => default.backoff,
        Some(pb::create_group_request::Retry::Exponential(policy)) => exponential(policy)?,
        Some(pb::create_group_request::Retry::Customized(policy)) => customized(policy)?,
    };
    Ok((request.name.into(), GroupSettings { ordered: request.fifo, max_attempts, backoff, start }))
}

pub(super) fn group_update(request: pb::UpdateGroupRequest) -> Result<UpdateGroup, Status> {
    let backoff = match request.retry {
        None => None,
        Some(pb::update_group_request::Retry::Exponential(policy)) => Some(exponential(policy)?),
        Some(pb::update_group_request::Retry::Customized(policy)) => Some(customized(policy)?),
    };
    let max_attempts = max_attempts(request.max_attempts)?;
    Ok(UpdateGroup { name: request.name.into(), max_attempts, backoff })
}

/// None where 0 says that there is no wish.
fn max_attempts(asked: u32) -> Result<Option<u32>, Status> {
    let max = GroupSettings::ATTEMPTS_MAX;
    if asked > max {
        return Err(Status::invalid_argument(format!("max_attempts is 1 to {max}, not {asked}")));
    }
    Ok((asked > 0).then_some(asked))
}

#[allow(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn invalid(fault: Invalid) -> Status {
    Status::invalid_argument(fault.to_string())
}

fn exponential(policy: pb::ExponentialRetry) -> Result<Backoff, Status> {
    if !(1..=DELAY_MAX_MS).contains(&policy.initial_ms)
        || !(policy.initial_ms..=DELAY_MAX_MS).contains(&policy.max_ms)
    {
        return Err(Status::invalid_argument(
            "the first retry delay is 1 ms to 12 h, the longest one no less and at most 12 h",
        ));
    }
    if !(1.0..=MULTIPLIER_MAX).contains(&policy.multiplier) {
        return Err(Status::invalid_argument(format!(
            "the multiplier of retry delays is 1 to {MULTIPLIER_MAX}"
        )));
    }
    #[allow(clippy::cast_sign_loss, reason = "checked to be positive just above")]
    let multiplier_milli = (policy.multiplier * 1000.0).round() as u32;
    Ok(Backoff::Exponential { initial_ms: policy.initial_ms, max_ms: policy.max_ms, multiplier_milli })
}

fn customized(policy: pb::CustomizedRetry) -> Result<Backoff, Status> {
    if policy.delays_ms.is_empty() || policy.delays_ms.len() > DELAYS_MAX {
        return Err(Status::invalid_argument(format!("give 1 to {DELAYS_MAX} retry delays")));
    }
    if let Some(delay) = policy.delays_ms.iter().find(|delay| !(1..=DELAY_MAX_MS).contains(*delay)) {
        return Err(Status::invalid_argument(format!("a retry delay is 1 ms to 12 h, not {delay} ms")));
    }
    Ok(Backoff::Customized(policy.delays_ms))
}

pub(super) fn topic(status: &TopicStatus) -> pb::Topic {
    let kind = match status.topic.settings.kind {
        TopicKind::Normal => pb::TopicType::Normal,
        TopicKind::Fifo => pb::TopicType::Fifo,
        TopicKind::Delay => pb::TopicType::Delay,
        TopicKind::Transaction => pb::TopicType::Transaction,
        TopicKind::Undecided => pb::TopicType::Unspecified,
    };
    let queues = status.queues.iter().zip(0..).map(|((min, next), id)| pb::MessageQueueStatus {
        id,
        min_offset: min.0.cast_signed(),
        next_offset: next.0.cast_signed(),
    });
    pb::Topic {
        name: status.topic.name.to_string(),
        r#type: kind.into(),
        topic_id: status.topic.id.0,
        queues: queues.collect(),
        groups: status.groups.iter().map(ToString::to_string).collect(),
        delayed: status.held.delayed,
        half_messages: status.held.halves,
        messages: status.messages,
    }
}

pub(super) fn idle_group(idle: &IdleGroup) -> pb::IdleGroup {
    pb::IdleGroup {
        group: idle.group.to_string(),
        topic: idle.topic.to_string(),
        idle_ms: idle.idle_ms,
        pinned_bytes: idle.pinned_bytes,
    }
}

/// A group, and what is reported of it if it does not consume.
pub(super) fn group(status: GroupStatus, idle: Option<&IdleGroup>) -> pb::Group {
    let settings = status.group.settings;
    let retry = match settings.backoff {
        Backoff::Exponential { initial_ms, max_ms, multiplier_milli } => {
            let multiplier = f64::from(multiplier_milli) / 1000.0;
            pb::group::Retry::Exponential(pb::ExponentialRetry { initial_ms, max_ms, multiplier })
        }
        Backoff::Customized(delays_ms) => pb::group::Retry::Customized(pb::CustomizedRetry { delays_ms }),
    };
    let start = match settings.start {
        StartFrom::Earliest => pb::StartFrom::Earliest,
        StartFrom::Latest => pb::StartFrom::Latest,
    };
    pb::Group {
        name: status.group.name.to_string(),
        fifo: settings.ordered,
        max_attempts: settings.max_attempts,
        retry: Some(retry),
        start_from: start.into(),
        backlog: status.progress.iter().map(|queue| queue.ready + queue.in_flight + queue.waiting).sum(),
        progress: status.progress.iter().map(progress).collect(),
        dead_letters: status.dead_letters,
        expired: status.expired,
        last_used_ms: status.last_used.map_or(0, |at| at.0.cast_signed()),
        idle: idle.map(idle_group),
    }
}

fn progress(queue: &QueueProgress) -> pb::GroupProgress {
    pb::GroupProgress {
        topic: queue.topic.to_string(),
        queue: queue.queue.0.into(),
        next_offset: queue.next.0.cast_signed(),
        in_flight: queue.in_flight,
        waiting: queue.waiting,
        ready: queue.ready,
    }
}

/// The replicas of a cluster as its master sees them.
pub(super) fn members(view: &ReplicaView, durable: Lsn) -> Vec<pb::Member> {
    let Some(config) = view.config.as_ref().filter(|_| !view.is_alone()) else { return Vec::new() };
    let member = |(store, member): (&StoreId, &rq_core::config::Member)| {
        let master = *store == config.master;
        let slave = view.slaves.get(store);
        pb::Member {
            name: member.name.clone(),
            store_id: store.to_string(),
            address: member.address.clone(),
            master,
            in_sync: config.in_sync.contains_key(store),
            connected: master || slave.is_some_and(|slave| slave.phase != Phase::Greeting),
            durable_lsn: if master { durable.0 } else { slave.map_or(0, |slave| slave.durable.0) },
        }
    };
    config.members.iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_without_type_and_number_of_queues_takes_the_defaults() {
        let request = pb::CreateTopicRequest { name: "orders".to_owned(), ..Default::default() };
        let (name, settings) = new_topic(request, 8).unwrap();
        assert_eq!((&*name, settings), ("orders", TopicSettings { kind: TopicKind::Normal, queues: 8 }));
    }

    #[test]
    fn names_are_held_to_the_rules_of_the_gateway() {
        let topic =
            |name: &str| new_topic(pb::CreateTopicRequest { name: name.to_owned(), ..Default::default() }, 8);
        let group =
            |name: &str| new_group(pb::CreateGroupRequest { name: name.to_owned(), ..Default::default() });
        assert!(topic("orders-1").is_ok() && group("billing").is_ok());
        for name in ["", "with space", "rmq_sys_x", "%DLQ%billing"] {
            assert_eq!(topic(name).unwrap_err().code(), tonic::Code::InvalidArgument, "{name}");
        }
        assert_eq!(group("CID_RMQ_SYS_x").unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn too_many_queues_are_refused() {
        let request = pb::CreateTopicRequest { name: "orders".to_owned(), queues: 257, ..Default::default() };
        let refused = new_topic(request, 8).unwrap_err();
        assert_eq!(refused.message(), "a topic has 1 to 256 queues, not 257");
    }

    #[test]
    fn a_retry_policy_outside_its_bounds_is_refused() {
        let exponential = |initial_ms, max_ms, multiplier| {
            exponential(pb::ExponentialRetry { initial_ms, max_ms, multiplier }).is_ok()
        };
        assert!(exponential(1000, 60_000, 1.5));
        assert!(!exponential(0, 60_000, 2.0), "no delay at all");
        assert!(!exponential(2000, 1000, 2.0), "longest below the first");
        assert!(!exponential(1000, 2000, 0.5), "shrinking delays");
        assert!(!exponential(1000, 2000, f64::NAN));
        let customized = |delays_ms: Vec<u64>| customized(pb::CustomizedRetry { delays_ms }).is_ok();
        assert!(customized(vec![3000]));
        assert!(!customized(vec![]));
        assert!(!customized(vec![1000, 0]));
        assert!(!customized(vec![1; DELAYS_MAX + 1]));
    }

    #[test]
    fn fuzzed_topics_and_groups_are_refused_or_in_their_bounds() {
        use prost::Message as _;
        let topic = pb::CreateTopicRequest { name: "orders".to_owned(), queues: 8, ..Default::default() };
        let retry =
            pb::create_group_request::Retry::Customized(pb::CustomizedRetry { delays_ms: vec![1, 9] });
        let group = pb::CreateGroupRequest { name: "g".to_owned(), retry: Some(retry), ..Default::default() };
        let other = pb::ExponentialRetry { initial_ms: 1, max_ms: 9, multiplier: 1.5 };
        let other = Some(pb::create_group_request::Retry::Exponential(other));
        let other = pb::CreateGroupRequest { retry: other, max_attempts: 3, ..group.clone() };
        let retry =
            pb::update_group_request::Retry::Customized(pb::CustomizedRetry { delays_ms: vec![1, 9] });
        let update = pb::UpdateGroupRequest { name: "g".to_owned(), max_attempts: 3, retry: Some(retry) };
        let within = |backoff: &Backoff| {
            let delays = match backoff {
                Backoff::Exponential { initial_ms, max_ms, multiplier_milli } => {
                    assert!(*multiplier_milli >= 1_000 && initial_ms <= max_ms);
                    &[*initial_ms, *max_ms][..]
                }
                Backoff::Customized(delays) => delays,
            };
            assert!((1..=DELAYS_MAX).contains(&delays.len()));
            assert!(delays.iter().all(|delay| (1..=DELAY_MAX_MS).contains(delay)));
            delays.len()
        };
        let seeds =
            [topic.encode_to_vec(), group.encode_to_vec(), other.encode_to_vec(), update.encode_to_vec()];
        rq_fuzz::fuzz(seeds, |input| {
            let refused = |status: Status| {
                assert_eq!(status.code(), tonic::Code::InvalidArgument);
                status.message().split_whitespace().next().map(str::to_owned)
            };
            let topic = pb::CreateTopicRequest::decode(input).map(|request| {
                let (name, settings) = new_topic(request, 8).map_err(refused)?;
                assert!(!name.is_empty() && (1..=TopicSettings::QUEUES_MAX).contains(&settings.queues));
                Ok::<_, Option<String>>(format!("{:?}", settings.kind))
            });
            let group = pb::CreateGroupRequest::decode(input).map(|request| {
                let (name, settings) = new_group(request).map_err(refused)?;
                assert!(
                    !name.is_empty() && (1..=GroupSettings::ATTEMPTS_MAX).contains(&settings.max_attempts)
                );
                Ok::<_, Option<String>>((settings.ordered, within(&settings.backoff)))
            });
            let update = pb::UpdateGroupRequest::decode(input).map(|request| {
                let update = group_update(request).map_err(refused)?;
                assert!(
                    update.max_attempts.is_none_or(|most| (1..=GroupSettings::ATTEMPTS_MAX).contains(&most))
                );
                Ok::<_, Option<String>>((update.max_attempts.is_some(), update.backoff.as_ref().map(within)))
            });
            (topic.ok(), group.ok(), update.ok())
        });
    }

    #[test]
    fn settings_of_a_group_survive_the_way_to_the_shard_and_back() {
        let request = pb::CreateGroupRequest {
            name: "g".to_owned(),
            fifo: true,
            max_attempts: 3,
            retry: Some(pb::create_group_request::Retry::Exponential(pb::ExponentialRetry {
                initial_ms: 1000,
                max_ms: 9000,
                multiplier: 1.5,
            })),
            start_from: pb::StartFrom::Latest.into(),
        };
        let (name, settings) = new_group(request).unwrap();
        let view = rq_core::queue::request::GroupView { name, id: rq_core::ids::GroupId(1), settings };
        let status = GroupStatus {
            group: view,
            progress: Vec::new(),
            dead_letters: 2,
            expired: 3,
            last_used: Some(rq_core::ids::LogTime(4)),
        };
        let idle = IdleGroup { group: "g".into(), topic: "t".into(), idle_ms: 5, pinned_bytes: 6 };
        let shown = group(status, Some(&idle));
        assert_eq!((shown.expired, shown.last_used_ms), (3, 4));
        assert_eq!(shown.idle.as_ref().map(|idle| (idle.topic.as_str(), idle.pinned_bytes)), Some(("t", 6)));
        assert!(shown.fifo);
        assert_eq!(
            (shown.max_attempts, shown.dead_letters, shown.start_from()),
            (3, 2, pb::StartFrom::Latest)
        );
        let pb::group::Retry::Exponential(retry) = shown.retry.unwrap() else { panic!("another policy") };
        assert_eq!((retry.initial_ms, retry.max_ms, retry.multiplier), (1000, 9000, 1.5));
    }
}
