//! The state as bytes, for checkpoints and for comparing replicas. One encoding for one state: everything is
//! written in the order of its keys or of its coming.

mod held;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::duplicates::{Generation, StoredAs};
use super::index::{CHUNK, Chunk, MessageQueue};
use super::outages::{OUTAGES_MAX, Outage, Outages};
use super::progress::{Lease, Pending, Progress};
use super::state::{Group, State, Subscription, Topic};
use crate::codec::{Malformed, Reader, Write};
use crate::ids::{
    AttemptHash, ClientHash, ConnectionId, Epoch, GroupId, HeldId, Lane, LogTime, Lsn, Nonce, Offset,
    QueueId, TopicId,
};
use crate::record::{
    flush_policy, group_settings, put_flush_policy, put_group_settings, put_topic_settings, topic_settings,
};
use crate::replication::{EpochHistory, EpochStart};

/// Version of the whole encoding.
const VERSION: u8 = 5;

/// Writes a state.
pub fn encode(state: &State, out: &mut dyn Write) {
    out.put_u8(VERSION);
    out.put_u64(state.applied.0);
    out.put_u64(state.log_time.0);
    put_epochs(out, &state.epochs);
    out.put_u32(state.feature_level);
    put_flush_policy(out, state.flush);
    out.put_u64(state.log_start.0);
    out.put_u32(state.last_topic.0);
    out.put_u32(state.last_group.0);
    out.put_varint(state.topics.len() as u64);
    for (id, topic) in &state.topics {
        out.put_u32(id.0);
        put_topic(out, topic);
    }
    out.put_varint(state.groups.len() as u64);
    for (id, group) in &state.groups {
        out.put_u32(id.0);
        put_group(out, group);
    }
    out.put_u64(state.duplicates.window_ms);
    out.put_u64(state.duplicates.window_entries);
    out.put_u64(state.duplicates.forgotten_early);
    out.put_varint(state.duplicates.generations.len() as u64);
    for generation in &state.duplicates.generations {
        put_generation(out, generation);
    }
    held::put(out, &state.held);
    out.put_varint(state.expired);
    out.put_varint(state.outages.0.len() as u64);
    for outage in &state.outages.0 {
        out.put_u64(outage.from.0);
        out.put_u64(outage.to.0);
    }
}

/// Reads what [`encode`] wrote; whatever is not the one encoding of a possible state is refused.
pub fn decode(bytes: &[u8]) -> Result<State, Malformed> {
    let r = &mut Reader::new(bytes);
    if r.u8("checkpoint version")? != VERSION {
        return Err(r.malformed("checkpoint version: written by another release"));
    }
    let mut state = State {
        applied: Lsn(r.u64("applied")?),
        log_time: LogTime(r.u64("log time")?),
        epochs: epochs(r)?,
        feature_level: r.u32("feature level")?,
        flush: flush_policy(r)?,
        log_start: Lsn(r.u64("log start")?),
        last_topic: TopicId(r.u32("last topic")?),
        last_group: GroupId(r.u32("last group")?),
        ..State::default()
    };
    for _ in 0..r.count("topics")? {
        let id = TopicId(r.u32("topic")?);
        let topic = topic(r)?;
        let known = state.topic_names.contains_key(&topic.name);
        check(r, !known && id <= state.last_topic && last_key(&state.topics) < Some(&id), "topic")?;
        state.topic_names.insert(Arc::clone(&topic.name), id);
        state.topics.insert(id, Arc::new(topic));
    }
    for _ in 0..r.count("groups")? {
        let id = GroupId(r.u32("group")?);
        let group = group(r, &state.topics)?;
        let known = state.group_names.contains_key(&group.name);
        check(r, !known && id <= state.last_group && last_key(&state.groups) < Some(&id), "group")?;
        state.group_names.insert(Arc::clone(&group.name), id);
        state.groups.insert(id, Arc::new(group));
    }
    state.duplicates.window_ms = r.u64("window")?;
    state.duplicates.window_entries = r.u64("window")?;
    state.duplicates.forgotten_early = r.u64("forgotten")?;
    for _ in 0..r.count("generations")? {
        let generation = generation(r)?;
        state.duplicates.restore(&generation);
    }
    state.held = held::held(r, &state)?;
    state.expired = r.varint("expired messages")?;
    state.outages = outages(r)?;
    if r.is_empty() { Ok(state) } else { Err(r.malformed("end of checkpoint")) }
}

fn put_epochs(out: &mut dyn Write, epochs: &EpochHistory) {
    out.put_varint(epochs.epochs().len() as u64);
    for begin in epochs.epochs() {
        out.put_u32(begin.epoch.0);
        out.put_u64(begin.start.0);
    }
}

fn epochs(r: &mut Reader<'_>) -> Result<EpochHistory, Malformed> {
    let mut epochs: Vec<EpochStart> = Vec::new();
    for _ in 0..r.count("epochs")? {
        let begin = EpochStart { epoch: Epoch(r.u32("epoch")?), start: Lsn(r.u64("start of an epoch")?) };
        let last = epochs.last().copied().unwrap_or(EpochStart { epoch: Epoch(0), start: Lsn(0) });
        check(r, begin.epoch > last.epoch && (epochs.is_empty() || begin.start > last.start), "epoch")?;
        epochs.push(begin);
    }
    Ok(EpochHistory::new(epochs))
}

fn outages(r: &mut Reader<'_>) -> Result<Outages, Malformed> {
    let mut outages = Outages::default();
    let count = r.count("outages")?;
    check(r, count <= OUTAGES_MAX, "outages")?;
    let mut last = LogTime(1);
    for _ in 0..count {
        let (from, to) = (LogTime(r.u64("outage")?), LogTime(r.u64("outage")?));
        check(r, last <= from && from < to, "outage")?;
        outages.0.push(Outage { from, to });
        last = to;
    }
    Ok(outages)
}

fn check(r: &Reader<'_>, holds: bool, what: &'static str) -> Result<(), Malformed> {
    if holds { Ok(()) } else { Err(r.malformed(what)) }
}

/// The greatest key so far: the next one must be greater still.
fn last_key<K: Ord, V>(map: &BTreeMap<K, V>) -> Option<&K> {
    map.last_key_value().map(|(key, _)| key)
}

fn put_topic(out: &mut dyn Write, topic: &Topic) {
    out.put_bytes(topic.name.as_bytes());
    put_topic_settings(out, topic.settings);
    for queue in &topic.queues {
        put_queue(out, queue);
    }
    out.put_varint(topic.dead_since.len() as u64);
    for time in &topic.dead_since {
        out.put_u64(time.0);
    }
}

fn topic(r: &mut Reader<'_>) -> Result<Topic, Malformed> {
    let name = Arc::from(r.str("topic name")?);
    let mut topic = Topic::new(name, topic_settings(r)?);
    for queue in &mut topic.queues {
        *queue = message_queue(r)?;
    }
    let dead_letters = r.count("dead letters")?;
    let kept = topic.queues.first().map_or(0, MessageQueue::len);
    check(r, dead_letters as u64 == if topic.dead_letters { kept } else { 0 }, "dead letters")?;
    for _ in 0..dead_letters {
        topic.dead_since.push_back(LogTime(r.u64("dead letter")?));
    }
    Ok(topic)
}

fn put_queue(out: &mut dyn Write, queue: &MessageQueue) {
    for number in [queue.min, queue.next, queue.base, queue.ordered_from] {
        out.put_varint(number.0);
    }
    for chunk in &queue.chunks {
        for column in [&chunk.lsns, &chunk.tags, &chunk.lanes, &chunk.only] {
            out.put_varint(column.len() as u64);
            for value in column {
                out.put_u64(*value);
            }
        }
    }
}

fn message_queue(r: &mut Reader<'_>) -> Result<MessageQueue, Malformed> {
    let mut offset = || r.varint("offset of a queue").map(Offset);
    let (min, next, base, ordered_from) = (offset()?, offset()?, offset()?, offset()?);
    // Whole chunks below the oldest message are gone, and without a message there is no chunk.
    let first_chunk = Offset(base.0.saturating_add(CHUNK as u64).min(next.0));
    let trimmed = if min == next { base == next } else { base <= min && min < first_chunk };
    check(r, trimmed && ordered_from <= next.next(), "queue")?;
    let mut chunks = VecDeque::new();
    let mut left = next.0 - base.0;
    while left > 0 {
        let chunk = Chunk { lsns: column(r)?, tags: column(r)?, lanes: column(r)?, only: column(r)? };
        let len = left.min(CHUNK as u64);
        let fits = |column: &Vec<u64>| {
            column.is_empty() || column.len() as u64 == len && column != &[0; CHUNK][..column.len()]
        };
        let elided = [&chunk.tags, &chunk.lanes, &chunk.only];
        let groups = chunk.only.iter().all(|group| u32::try_from(*group).is_ok());
        check(r, chunk.lsns.len() as u64 == len && elided.into_iter().all(fits) && groups, "chunk")?;
        chunks.push_back(Arc::new(chunk));
        left -= len;
    }
    Ok(MessageQueue { min, next, base, ordered_from, chunks })
}

fn column(r: &mut Reader<'_>) -> Result<Vec<u64>, Malformed> {
    let count = r.count("column")?;
    let bytes = r.take(count.saturating_mul(8), "column")?;
    Ok(bytes.chunks_exact(8).map(|value| u64::from_le_bytes(value.try_into().unwrap_or_default())).collect())
}

fn put_group(out: &mut dyn Write, group: &Group) {
    out.put_bytes(group.name.as_bytes());
    put_group_settings(out, &group.settings);
    out.put_varint(group.expired);
    out.put_varint(group.subscriptions.len() as u64);
    for (topic, subscription) in &group.subscriptions {
        out.put_u32(topic.0);
        out.put_u64(subscription.last_used.0);
        out.put_varint(subscription.queues.len() as u64);
        for progress in &subscription.queues {
            put_progress(out, progress);
        }
        out.put_varint(subscription.attempts.len() as u64);
        for (attempt, messages) in &subscription.attempts {
            out.put_u64(attempt.0);
            out.put_varint(messages.len() as u64);
            for (queue, offset) in messages {
                out.put_u16(queue.0);
                out.put_varint(offset.0);
            }
        }
    }
}

fn group(r: &mut Reader<'_>, topics: &BTreeMap<TopicId, Arc<Topic>>) -> Result<Group, Malformed> {
    let name = Arc::from(r.str("group name")?);
    let settings = group_settings(r)?;
    let expired = r.varint("expired messages")?;
    let mut subscriptions = BTreeMap::new();
    for _ in 0..r.count("subscriptions")? {
        let topic = TopicId(r.u32("topic")?);
        check(r, last_key(&subscriptions) < Some(&topic), "subscription")?;
        let queues = topics.get(&topic).map_or(&[][..], |topic| &topic.queues);
        let last_used = LogTime(r.u64("last use")?);
        let count = r.count("queues")?;
        check(r, count == queues.len() && count > 0, "subscription")?;
        let mut subscription = Subscription { last_used, ..Subscription::default() };
        for queue in queues {
            subscription.queues.push(Arc::new(progress(r, queue.next)?));
        }
        for _ in 0..r.count("attempts")? {
            let attempt = AttemptHash(r.u64("attempt")?);
            check(r, last_key(&subscription.attempts) < Some(&attempt), "attempt")?;
            let mut messages = Vec::new();
            for _ in 0..r.count("messages")? {
                messages.push((QueueId(r.u16("queue")?), Offset(r.varint("offset")?)));
            }
            subscription.attempts.insert(attempt, messages);
        }
        subscriptions.insert(topic, subscription);
    }
    Ok(Group { name, settings, subscriptions, expired })
}

fn put_progress(out: &mut dyn Write, progress: &Progress) {
    out.put_varint(progress.next.0);
    out.put_varint(progress.pending.len() as u64);
    for (offset, pending) in &progress.pending {
        out.put_varint(offset.0);
        put_pending(out, pending);
    }
    out.put_varint(progress.lanes.len() as u64);
    for (lane, waiting) in &progress.lanes {
        out.put_u64(lane.0);
        out.put_varint(waiting.len() as u64);
        for offset in waiting {
            out.put_varint(offset.0);
        }
    }
}

fn progress(r: &mut Reader<'_>, end: Offset) -> Result<Progress, Malformed> {
    let mut progress = Progress::new(Offset(r.varint("next offset")?));
    check(r, progress.next <= end, "next offset")?;
    for _ in 0..r.count("pending")? {
        let offset = Offset(r.varint("offset")?);
        let pending = pending(r)?;
        check(r, offset < progress.next && last_key(&progress.pending) < Some(&offset), "pending")?;
        progress.put(offset, pending);
    }
    for _ in 0..r.count("lanes")? {
        let lane = Lane(r.u64("lane")?);
        check(r, lane != Lane(0) && last_key(&progress.lanes) < Some(&lane), "message group")?;
        let mut waiting = VecDeque::new();
        for _ in 0..r.count("parked")? {
            let offset = Offset(r.varint("offset")?);
            let later = waiting.back() < Some(&offset) && offset < progress.next;
            check(r, later && !progress.pending.contains_key(&offset), "parked")?;
            waiting.push_back(offset);
        }
        progress.parked += waiting.len() as u32;
        progress.lanes.insert(lane, waiting);
    }
    Ok(progress)
}

fn put_pending(out: &mut dyn Write, pending: &Pending) {
    out.put_u64(pending.visible_at.0);
    out.put_varint(u64::from(pending.attempts));
    out.put_u64(pending.lane.0);
    let Some(lease) = pending.lease else {
        out.put_u8(0);
        return;
    };
    out.put_u8(
        1 | u8::from(lease.auto_renew) << 1
            | u8::from(lease.confirmed) << 2
            | u8::from(lease.held) << 3
            | u8::from(lease.repeated) << 4,
    );
    out.put_u64(lease.nonce.0);
    out.put_u64(lease.client.0);
    out.put_u64(lease.connection.0);
    out.put_u64(lease.attempt.0);
    out.put_u64(lease.popped_at.0);
    out.put_varint(lease.length_ms);
}

fn pending(r: &mut Reader<'_>) -> Result<Pending, Malformed> {
    let visible_at = LogTime(r.u64("visible at")?);
    let attempts = u32::try_from(r.varint("attempts")?).map_err(|_| r.malformed("attempts"))?;
    let lane = Lane(r.u64("lane")?);
    let flags = r.u8("lease")?;
    check(r, flags == 0 || (flags & 1 == 1 && flags < 32), "lease")?;
    let lease = if flags == 0 {
        None
    } else {
        Some(Lease {
            nonce: Nonce(r.u64("nonce")?),
            client: ClientHash(r.u64("client")?),
            connection: ConnectionId(r.u64("connection")?),
            attempt: AttemptHash(r.u64("attempt")?),
            popped_at: LogTime(r.u64("popped at")?),
            length_ms: r.varint("length")?,
            auto_renew: flags & 2 != 0,
            confirmed: flags & 4 != 0,
            held: flags & 8 != 0,
            repeated: flags & 16 != 0,
        })
    };
    Ok(Pending { visible_at, attempts, lane, lease })
}

fn put_generation(out: &mut dyn Write, generation: &Generation) {
    out.put_u64(generation.first.0);
    out.put_varint(generation.entries.len() as u64);
    for entry in &generation.entries {
        out.put_u128(entry.key);
        out.put_u32(entry.after_ms);
        out.put_u16(entry.queue.0);
        let (held, number) = match entry.stored_as() {
            StoredAs::Visible(offset) => (false, offset.0),
            StoredAs::Held(id) => (true, id.0),
        };
        out.put_u8(u8::from(held));
        out.put_varint(number);
    }
}

fn generation(r: &mut Reader<'_>) -> Result<Vec<(u128, LogTime, QueueId, StoredAs)>, Malformed> {
    let first = LogTime(r.u64("first send")?);
    let count = r.count("sends")?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let key = r.u128("send key")?;
        let after = u64::from(r.u32("send time")?);
        let at = first.plus(after);
        check(r, at.since(first) == after && (after == 0 || !entries.is_empty()), "send time")?;
        let queue = QueueId(r.u16("queue")?);
        let held = r.bool("held")?;
        let number = r.varint("offset")?;
        let stored = if held { StoredAs::Held(HeldId(number)) } else { StoredAs::Visible(Offset(number)) };
        entries.push((key, at, queue, stored));
    }
    check(r, !entries.is_empty(), "sends")?;
    Ok(entries)
}
