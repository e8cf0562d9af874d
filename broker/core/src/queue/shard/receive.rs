//! Handing messages to consumers: what is due again first, then what was never delivered.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Answer, Shard, Step};
use crate::ids::{AttemptHash, GroupId, Lane, LogTime, Lsn, Offset, QueueId, Ticket, TopicId};
use crate::queue::index::{Entry, MessageQueue};
use crate::queue::progress::Progress;
use crate::queue::request::{ConsumeError, Delivery, Filter, Receive, ReceiveError, TooMany};
use crate::queue::settings::TopicKind;
use crate::record::{Fate, Pop, PopQueue, Record, Repeat};

/// Most messages that one look at a topic goes through. A filter that wants none of them goes on in the next
/// step, so that nobody else waits for it.
const SCAN_MAX: u32 = 16_384;

type Key = (TopicId, GroupId);

/// What a look at a topic found.
#[derive(Default)]
struct Found {
    queues: Vec<PopQueue>,
    deliveries: Vec<(QueueId, Offset, Lsn, u32)>,
    /// Pending messages that are no longer in the log, or that the filter does not want: passed over for good.
    gone: Vec<(QueueId, Offset)>,
    scanned: u32,
}

impl Shard {
    /// Answers at once, or None: the receive waits.
    pub(super) fn receive(
        &mut self,
        step: &mut Step<'_>,
        ticket: Ticket,
        receive: Receive,
    ) -> Option<Result<Vec<Delivery>, ReceiveError>> {
        let key = match self.consumed(step, &receive) {
            Ok(key) => key,
            Err(error) => return Some(Err(error)),
        };
        let repeated = self.repeat(step, key, &receive);
        if !repeated.is_empty() {
            return Some(Ok(repeated));
        }
        let (found, more) = self.take(step, key, &receive);
        if !found.is_empty() || receive.wait_ms == 0 {
            return Some(Ok(found));
        }
        if let Some(earlier) = receive.attempt.and_then(|attempt| self.polls.take_attempt(key, attempt)) {
            // Its client has given it up, or it would not repeat the attempt.
            step.answers.push((earlier, Answer::Receive(Ok(Vec::new()))));
        }
        if self.polls.len() >= self.limits.polls_max {
            return Some(Err(TooMany { what: "waiting receives", limit: self.limits.polls_max }.into()));
        }
        self.polls.insert(ticket, key, step.now.plus(receive.wait_ms), receive);
        self.polls.set_visible(key, self.next_visible(key, step.now));
        if more {
            self.polls.changed(key.0, key.1);
        }
        None
    }

    /// Serves the waiting receives of every topic and group where something may have come.
    pub(super) fn serve_polls(&mut self, step: &mut Step<'_>) {
        // A topic with more to look through is looked at again in the next step, not in this one.
        let mut unfinished = Vec::new();
        while let Some(key) = self.polls.take_ready(step.now) {
            if self.serve_key(step, key) {
                unfinished.push(key);
            }
            self.polls.set_visible(key, self.next_visible(key, step.now));
        }
        for (topic, group) in unfinished {
            self.polls.changed(topic, group);
        }
    }

    fn serve_key(&mut self, step: &mut Step<'_>, key: Key) -> bool {
        let mut barren: Vec<Filter> = Vec::new();
        for ticket in self.polls.of(key) {
            let Some(receive) = self.polls.get(ticket) else { continue };
            if barren.contains(&receive.filter) {
                continue;
            }
            let receive = receive.clone();
            let (found, more) = self.take(step, key, &receive);
            if !found.is_empty() {
                self.polls.remove(ticket);
                step.answers.push((ticket, Answer::Receive(Ok(found))));
            } else if more {
                return true;
            } else if receive.filter == Filter::All {
                return false;
            } else {
                barren.push(receive.filter);
            }
        }
        false
    }

    /// The topic and group of a receive, made on first use where that is allowed.
    fn consumed(&mut self, step: &mut Step<'_>, receive: &Receive) -> Result<Key, ReceiveError> {
        let topic = self.topic_on_use(step, &receive.topic, TopicKind::Undecided)?.id;
        let group = match self.group_on_use(step, &receive.group) {
            Ok(group) => group,
            Err(ConsumeError::GroupNotFound(error)) => return Err(error.into()),
            Err(ConsumeError::TooMany(error)) => return Err(error.into()),
        };
        self.position(step, group, topic);
        Ok((topic, group))
    }

    /// The batch that this attempt was handed before, as far as it has not ended, with new deadlines and the same
    /// handles: its first answer did not arrive.
    fn repeat(&mut self, step: &mut Step<'_>, (topic, group): Key, receive: &Receive) -> Vec<Delivery> {
        let Some(attempt) = receive.attempt else { return Vec::new() };
        let subscription = self.state.groups.get(&group).and_then(|group| group.subscriptions.get(&topic));
        let handed = subscription.and_then(|subscription| subscription.attempts.get(&attempt));
        let mut deliveries = Vec::new();
        for (queue, offset) in handed.into_iter().flatten() {
            let pending = self.pending((group, topic, *queue, *offset));
            let entry = self.state.message_queue(topic, *queue).and_then(|queue| queue.get(*offset));
            if let (Some(pending), Some(entry)) = (pending, entry)
                && let Some(lease) = pending.lease.filter(|lease| lease.attempt == attempt && lease.held)
            {
                deliveries.push(Delivery {
                    topic,
                    queue: *queue,
                    offset: *offset,
                    lsn: entry.lsn,
                    attempt: pending.attempts,
                    nonce: lease.nonce,
                    invisible_ms: receive.invisible_ms,
                });
            }
        }
        if !deliveries.is_empty() {
            let messages = places(&deliveries);
            let (connection, invisible_ms) = (receive.connection, receive.invisible_ms);
            let record =
                Record::Repeat(Repeat { group, topic, connection, invisible_ms, messages: messages.clone() });
            self.append_for(step, (group, topic), &messages, &record);
            // A shorter lease than before ends earlier than those that wait expect.
            self.polls.changed(topic, group);
        }
        deliveries
    }

    /// Takes what there is, and says whether there is more to look through.
    fn take(&mut self, step: &mut Step<'_>, (topic, group): Key, receive: &Receive) -> (Vec<Delivery>, bool) {
        let found = self.look(step.now, topic, group, receive);
        let passed_over = !found.gone.is_empty();
        let (nonce, invisible_ms) = (receive.nonce, receive.invisible_ms);
        let delivery = |(queue, offset, lsn, attempt)| Delivery {
            topic,
            queue,
            offset,
            lsn,
            attempt,
            nonce,
            invisible_ms,
        };
        let deliveries: Vec<Delivery> = found.deliveries.into_iter().map(delivery).collect();
        if !found.queues.is_empty() {
            let record = Record::Pop(Pop {
                group,
                topic,
                nonce,
                client: receive.client,
                connection: receive.connection,
                attempt: receive.attempt.unwrap_or(AttemptHash(0)),
                invisible_ms,
                auto_renew: receive.auto_renew,
                queues: found.queues,
            });
            self.append_for(step, (group, topic), &places(&deliveries), &record);
        }
        // After the pop, which may have parked messages behind these.
        if passed_over {
            let record = Record::Ack { group, topic, messages: found.gone.clone() };
            self.append_for(step, (group, topic), &found.gone, &record);
        }
        // What was passed over may have freed the next of its message group.
        let more = deliveries.is_empty() && (found.scanned >= SCAN_MAX || passed_over);
        (deliveries, more)
    }

    /// Looks through the queues of a topic, beginning with another one each time.
    fn look(&mut self, now: LogTime, topic: TopicId, group: GroupId, receive: &Receive) -> Found {
        self.looks = self.looks.wrapping_add(1);
        let mut found = Found::default();
        let (Some(of_topic), Some(of_group)) = (self.state.topics.get(&topic), self.state.groups.get(&group))
        else {
            return found;
        };
        let Some(subscription) = of_group.subscriptions.get(&topic) else { return found };
        let (count, batch) = (of_topic.queues.len(), receive.batch.max(1) as usize);
        for turn in 0..count {
            let number = (self.looks as usize).wrapping_add(turn) % count;
            let (Some(messages), Some(progress)) =
                (of_topic.queues.get(number), subscription.queues.get(number))
            else {
                continue;
            };
            let look = Look {
                now,
                queue: QueueId(number as u16),
                messages,
                progress,
                filter: &receive.filter,
                ordered: of_group.settings.ordered,
                max_attempts: of_group.settings.max_attempts,
                in_flight_max: self.limits.in_flight_max,
                parked_max: self.limits.parked_max,
                pending_max: self.limits.pending_max as usize,
                log_start: self.state.log_start,
            };
            look.collect(&mut found, batch);
            if found.deliveries.len() >= batch || found.scanned >= SCAN_MAX {
                break;
            }
        }
        found
    }

    /// When something that is pending can be delivered again.
    fn next_visible(&self, (topic, group): Key, now: LogTime) -> Option<LogTime> {
        let subscription = self.state.groups.get(&group)?.subscriptions.get(&topic)?;
        let later = (now.plus(1), Offset(0))..;
        let next = |progress: &Arc<Progress>| progress.due.range(later.clone()).next().map(|(time, _)| *time);
        subscription.queues.iter().filter_map(next).min()
    }
}

/// A look at one queue for one group.
struct Look<'a> {
    now: LogTime,
    queue: QueueId,
    messages: &'a MessageQueue,
    progress: &'a Progress,
    filter: &'a Filter,
    ordered: bool,
    max_attempts: u32,
    in_flight_max: u32,
    parked_max: u32,
    pending_max: usize,
    log_start: Lsn,
}

impl Look<'_> {
    /// Adds what it finds, until `batch` messages are there.
    fn collect(&self, found: &mut Found, batch: usize) {
        let mut part = PopQueue { queue: self.queue, ..PopQueue::default() };
        self.again(found, &mut part, batch);
        self.first_time(found, &mut part, batch);
        if !part.again.is_empty() || !part.runs.is_empty() {
            found.queues.push(part);
        }
    }

    /// What can be delivered again. Of a message group at most one message is pending, so no two of one come.
    fn again(&self, found: &mut Found, part: &mut PopQueue, batch: usize) {
        for (_, offset) in self.progress.due.range(..=(self.now, Offset(u64::MAX))) {
            if found.deliveries.len() >= batch || found.scanned >= SCAN_MAX {
                return;
            }
            found.scanned += 1;
            let Some(pending) = self.progress.pending.get(offset) else { continue };
            // One that has had all its deliveries becomes a dead letter at the end of this step.
            if pending.attempts >= self.max_attempts {
                continue;
            }
            match self.entry(*offset).filter(|entry| wants(self.filter, entry)) {
                Some(entry) => {
                    part.again.push(*offset);
                    found.deliveries.push((self.queue, *offset, entry.lsn, pending.attempts + 1));
                }
                None => found.gone.push((self.queue, *offset)),
            }
        }
    }

    fn first_time(&self, found: &mut Found, part: &mut PopQueue, batch: usize) {
        let mut lanes: BTreeSet<Lane> = BTreeSet::new();
        let (mut in_flight, mut parked) = (self.progress.in_flight, self.progress.parked);
        let mut pending = self.progress.pending.len();
        let mut offset = self.progress.next;
        while offset < self.messages.next && found.scanned < SCAN_MAX {
            let full = in_flight >= self.in_flight_max || pending >= self.pending_max;
            if found.deliveries.len() >= batch || full {
                return;
            }
            found.scanned += 1;
            let fate = match self.entry(offset) {
                Some(entry) if wants(self.filter, &entry) => {
                    let lane = if self.ordered { entry.lane } else { Lane(0) };
                    let behind =
                        lane != Lane(0) && (self.progress.lanes.contains_key(&lane) || lanes.contains(&lane));
                    if behind && parked >= self.parked_max {
                        return;
                    }
                    if behind {
                        parked += 1;
                        Fate::Parked
                    } else {
                        if lane != Lane(0) {
                            lanes.insert(lane);
                        }
                        in_flight += 1;
                        pending += 1;
                        found.deliveries.push((self.queue, offset, entry.lsn, 1));
                        Fate::Taken
                    }
                }
                _ => Fate::Skipped,
            };
            match part.runs.last_mut() {
                Some((last, count)) if *last == fate => *count += 1,
                _ => part.runs.push((fate, 1)),
            }
            offset = offset.next();
        }
    }

    /// A message that is still in the log.
    fn entry(&self, offset: Offset) -> Option<Entry> {
        self.messages.get(offset).filter(|entry| entry.lsn >= self.log_start)
    }
}

fn places(deliveries: &[Delivery]) -> Vec<(QueueId, Offset)> {
    deliveries.iter().map(|delivery| (delivery.queue, delivery.offset)).collect()
}

fn wants(filter: &Filter, entry: &Entry) -> bool {
    match filter {
        Filter::All => true,
        Filter::Tags(tags) => tags.binary_search(&entry.tag).is_ok(),
    }
}
