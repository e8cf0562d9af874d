//! Handing messages to consumers: what is due again first, then what was never delivered.

mod look;

use std::sync::Arc;

use self::look::Look;
use super::{Answer, Shard, Step};
use crate::ids::{AttemptHash, GroupId, LogTime, Lsn, Offset, QueueId, Ticket, TopicId};
use crate::queue::progress::Progress;
use crate::queue::request::{Candidate, ConsumeError, Delivery, Filter, Receive, ReceiveError, TooMany};
use crate::queue::settings::TopicKind;
use crate::record::{Pop, PopQueue, Record, Repeat};

/// Most messages that one look at a topic goes through. A filter that wants none of them goes on in the next
/// step, so that nobody else waits for it.
const SCAN_MAX: u32 = 16_384;

/// Most messages that a receive is told to judge at once: their verdicts stay in memory until it comes again.
const CANDIDATES_MAX: usize = 1_024;
/// Of those that wait for the same, one judges. If it is not back after so long, in milliseconds, another one does.
const JUDGING_MS: u64 = 1_000;

type Key = (TopicId, GroupId);

/// What a look at a topic found.
#[derive(Default)]
struct Found {
    queues: Vec<PopQueue>,
    deliveries: Vec<(QueueId, Offset, Lsn, u32)>,
    /// Pending messages that are no longer in the log, or that the filter does not want: passed over for good.
    gone: Vec<(QueueId, Offset)>,
    /// What must be judged before more can be taken.
    candidates: Vec<Candidate>,
    /// Queues with more of that, and from where on.
    unjudged: Vec<(QueueId, Offset)>,
    scanned: u32,
}

/// What a receive took.
struct Taken {
    deliveries: Vec<Delivery>,
    candidates: Vec<Candidate>,
    /// There is more to look through.
    more: bool,
}

impl Shard {
    /// Answers at once, or None: the receive waits.
    pub(super) fn receive(
        &mut self,
        step: &mut Step<'_>,
        ticket: Ticket,
        mut receive: Receive,
    ) -> Option<Answer> {
        let key = match self.consumed(step, &receive) {
            Ok(key) => key,
            Err(error) => return Some(Answer::Receive(Err(error))),
        };
        let repeated = self.repeat(step, key, &receive);
        if !repeated.is_empty() {
            return Some(Answer::Receive(Ok(repeated)));
        }
        let taken = self.take(step, key, &receive);
        if matches!(&receive.filter, Filter::Properties(judged) if !judged.verdicts.is_empty()) {
            // Others wait for the same, and were not told to judge it.
            self.polls.changed(key.0, key.1);
        }
        if !taken.deliveries.is_empty() {
            return Some(Answer::Receive(Ok(taken.deliveries)));
        }
        if !taken.candidates.is_empty() {
            return Some(Answer::Judge(taken.candidates));
        }
        if receive.wait_ms == 0 {
            return Some(Answer::Receive(Ok(Vec::new())));
        }
        if let Some(earlier) = receive.attempt.and_then(|attempt| self.polls.take_attempt(key, attempt)) {
            // Its client has given it up, or it would not repeat the attempt.
            step.answers.push((earlier, Answer::Receive(Err(ReceiveError::Repeated))));
        }
        if self.polls.len() >= self.limits.polls_max {
            let too_many = TooMany { what: "waiting receives", limit: self.limits.polls_max };
            return Some(Answer::Receive(Err(too_many.into())));
        }
        self.forget_what_is_done(key, &mut receive.filter);
        self.polls.insert(ticket, key, step.now.plus(receive.wait_ms), receive);
        self.polls.set_visible(key, self.next_visible(key, step.now));
        if taken.more {
            self.polls.changed(key.0, key.1);
        }
        None
    }

    /// Serves the waiting receives of every topic and group where something may have come.
    pub(super) fn serve_polls(&mut self, step: &mut Step<'_>) {
        // A topic with more to look through is looked at again in the next step, not in this one.
        let mut unfinished = Vec::new();
        while let Some(key) = self.polls.take_ready(step.now) {
            let served = self.serve_key(step, key);
            let mut visible = self.next_visible(key, step.now);
            match served {
                Served::All => {}
                Served::LookFurther => unfinished.push(key),
                Served::Judging => {
                    let again = step.now.plus(JUDGING_MS);
                    visible = Some(visible.map_or(again, |visible| visible.min(again)));
                }
            }
            self.polls.set_visible(key, visible);
        }
        for (topic, group) in unfinished {
            self.polls.changed(topic, group);
        }
    }

    fn serve_key(&mut self, step: &mut Step<'_>, key: Key) -> Served {
        let mut barren: Vec<Filter> = Vec::new();
        for ticket in self.polls.of(key) {
            let Some(receive) = self.polls.get(ticket) else { continue };
            if barren.contains(&receive.filter) {
                continue;
            }
            let receive = receive.clone();
            let taken = self.take(step, key, &receive);
            if !taken.deliveries.is_empty() {
                self.polls.remove(ticket);
                step.answers.push((ticket, Answer::Receive(Ok(taken.deliveries))));
            } else if !taken.candidates.is_empty() {
                self.polls.remove(ticket);
                step.answers.push((ticket, Answer::Judge(taken.candidates)));
                return Served::Judging;
            } else if taken.more {
                return Served::LookFurther;
            } else if receive.filter == Filter::All {
                return Served::All;
            } else {
                barren.push(receive.filter);
            }
        }
        Served::All
    }

    /// Drops verdicts on messages that are done for the group, or of an incarnation that is gone: a receive may wait long, and
    /// there may be many. Those on what others work on stay: without them it would be told to judge that again.
    fn forget_what_is_done(&self, (topic, group): Key, filter: &mut Filter) {
        let Filter::Properties(judged) = filter else { return };
        let subscription = self.state.groups.get(&group).and_then(|group| group.subscriptions.get(&topic));
        let Some(subscription) = subscription.filter(|_| judged.topic == topic) else {
            return judged.verdicts.clear();
        };
        judged.verdicts.retain(|(queue, offset), _| {
            let progress = subscription.queues.get(usize::from(queue.0));
            progress.is_some_and(|progress| *offset >= progress.next || progress.pending.contains_key(offset))
        });
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

    /// Takes what there is.
    fn take(&mut self, step: &mut Step<'_>, (topic, group): Key, receive: &Receive) -> Taken {
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
        Taken { deliveries, candidates: found.candidates, more }
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
        let candidates_max = match &receive.filter {
            Filter::Properties(judged) => (judged.most as usize).clamp(1, CANDIDATES_MAX),
            Filter::All | Filter::Tags(_) => 0,
        };
        let look_at = |queue: QueueId| {
            let number = usize::from(queue.0);
            let (messages, progress) = (of_topic.queues.get(number)?, subscription.queues.get(number)?);
            Some(Look {
                now,
                topic,
                group,
                queue,
                messages,
                progress,
                filter: &receive.filter,
                ordered: of_group.settings.ordered,
                max_attempts: of_group.settings.max_attempts,
                in_flight_max: self.limits.in_flight_max,
                parked_max: self.limits.parked_max,
                pending_max: self.limits.pending_max as usize,
                log_start: self.state.log_start,
                candidates_max,
            })
        };
        for turn in 0..count {
            let number = (self.looks as usize).wrapping_add(turn) % count;
            let Some(look) = look_at(QueueId(number as u16)) else { continue };
            look.collect(&mut found, batch);
            if found.deliveries.len() >= batch || found.scanned >= SCAN_MAX {
                break;
            }
        }
        // What is handed out goes at once: nothing has to be judged for it any more.
        if found.deliveries.is_empty() {
            for (queue, from) in std::mem::take(&mut found.unjudged) {
                if let Some(look) = look_at(queue) {
                    look.have_the_rest_judged(&mut found, from);
                }
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

/// How the receives of a topic and group were served that wait.
enum Served {
    /// As far as there is something.
    All,
    /// There is more to look through.
    LookFurther,
    /// One of them judges what there is.
    Judging,
}

fn places(deliveries: &[Delivery]) -> Vec<(QueueId, Offset)> {
    deliveries.iter().map(|delivery| (delivery.queue, delivery.offset)).collect()
}
