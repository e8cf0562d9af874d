//! `ReceiveMessage`: waits for messages and streams them. What was popped but never handed to the transport is
//! taken back; dropping the stream cancels the wait.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use prometheus_client::metrics::gauge::Gauge;
use rq_core::hash;
use rq_core::ids::Nonce;
use rq_core::queue::request::{Delivery, Filter, Judged, Name, Receive, ReceiveError, UndoPop};
use rq_core::record::StoredMessage;
use rq_proto::rocketmq::receive_message_response::Content;
use rq_proto::rocketmq::{Message, ReceiveMessageRequest, ReceiveMessageResponse, Resource, Status};
use tonic::metadata::MetadataValue;

use super::call::Call;
use super::filters::SqlFilter;
use super::refusal::{Refusal, ok};
use super::{Gateway, judging, wall_clock_ms};
use crate::engine::{EngineError, ReadMessageError};
use crate::forwarding::headers::ASK_AGAIN;
use crate::metrics::Rpc;
use crate::wire::deliver::{self, Context};
use crate::wire::receive::Selector;
use crate::wire::{names, receive, time};

/// The frames of an answer: status, messages, delivery timestamp, end.
pub(super) type Frames = Pin<Box<dyn Stream<Item = Result<ReceiveMessageResponse, tonic::Status>> + Send>>;

/// The answer to a receive, made frame by frame while the client takes it.
pub(super) fn receive_message(gateway: &Gateway, call: Call, request: ReceiveMessageRequest) -> Frames {
    let wanted = wanted(gateway, &call, &request).map(Box::new);
    // It may be large, and the wait is long.
    drop(request);
    let answer = Answer { gateway: gateway.clone(), step: Step::Begin { call: Box::new(call), wanted } };
    Box::pin(futures::stream::unfold(answer, Answer::next))
}

struct Answer {
    gateway: Gateway,
    step: Step,
}

enum Step {
    Begin { call: Box<Call>, wanted: Result<Box<Wanted>, Refusal> },
    Messages { unwritten: Unwritten, topic: Resource },
    DeliveryTimestamp,
    End,
}

/// What is kept of a request while it waits; every part of it is bounded.
struct Wanted {
    receive: Receive,
    /// The expression of a SQL filter.
    sql: Option<Arc<SqlFilter>>,
    /// Whether the client would wait for longer: its gateway is to ask again.
    again: bool,
    /// How long messages may be judged by it: longer than the receive waits, but not beyond the end of the call.
    patience: Duration,
    /// The topic as the client calls it.
    topic: Resource,
}

/// How long a gateway waits for at most without asking again. One that stops needs no longer.
const TURN: Duration = Duration::from_secs(3);

/// A receive with a SQL filter may judge messages for so long at least, if its call lives so long: one that does not wait would
/// else find little in a long backlog of what it does not want.
const PATIENCE: Duration = Duration::from_secs(2);

impl Answer {
    async fn next(mut self) -> Option<(Result<ReceiveMessageResponse, tonic::Status>, Self)> {
        let content = loop {
            match self.step {
                Step::Begin { call, wanted } => {
                    let Some((status, step)) = begin(&self.gateway, &call, wanted).await else {
                        self.step = Step::End;
                        return Some((Err(ask_again()), self));
                    };
                    self.gateway.metrics.answered(Rpc::ReceiveMessage, status.code);
                    self.step = step;
                    break Content::Status(status);
                }
                Step::Messages { mut unwritten, topic } => {
                    let message = unwritten.next_message(&topic).await;
                    let Some(message) = message else {
                        self.step = Step::DeliveryTimestamp;
                        continue;
                    };
                    self.step = Step::Messages { unwritten, topic };
                    break Content::Message(message);
                }
                Step::DeliveryTimestamp => {
                    self.step = Step::End;
                    break Content::DeliveryTimestamp(time::timestamp(wall_clock_ms()));
                }
                Step::End => return None,
            }
        };
        Some((Ok(ReceiveMessageResponse { content: Some(content) }), self))
    }
}

/// The status of an answer, and what follows; None where the gateway is to ask again.
async fn begin(
    gateway: &Gateway,
    call: &Call,
    wanted: Result<Box<Wanted>, Refusal>,
) -> Option<(Status, Step)> {
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(refusal) => return Some((refusal.status(), Step::DeliveryTimestamp)),
    };
    let (group, topic, again) = (wanted.receive.group.clone(), wanted.topic.clone(), wanted.again);
    let answer = match poll(gateway, call, *wanted).await {
        Ok(Some(deliveries)) if !deliveries.is_empty() => {
            let dead_letters = names::is_dead_letter_topic(&topic.name);
            let deliveries = deliveries.into();
            let (gateway, read) = (gateway.clone(), VecDeque::new());
            let unwritten = Unwritten { gateway, group, dead_letters, deliveries, read };
            (ok(), Step::Messages { unwritten, topic })
        }
        // Unless it came too soon: nobody shall ask again and again.
        Ok(Some(_)) if again && call.began().elapsed() > TURN / 2 => return None,
        Ok(_) => (Refusal::NothingFound.status(), Step::DeliveryTimestamp),
        Err(refusal) => (refusal.status(), Step::DeliveryTimestamp),
    };
    Some(answer)
}

/// What a gateway hears that is to ask again. Not the status by which it would take this broker for gone.
fn ask_again() -> tonic::Status {
    let mut status = tonic::Status::aborted("nothing so far: ask again");
    status.metadata_mut().insert(ASK_AGAIN, MetadataValue::from_static("1"));
    status
}

/// Checks a request and says it in the shard's words.
fn wanted(gateway: &Gateway, call: &Call, request: &ReceiveMessageRequest) -> Result<Wanted, Refusal> {
    let limits = &gateway.options.receives;
    let client = call.client()?;
    let resource = request.message_queue.as_ref().and_then(|queue| queue.topic.as_ref());
    let topic = names::topic(resource)?;
    let group = names::group(request.group.as_ref(), call.namespace())?;
    let (filter, sql) = match receive::selector(request.filter_expression.as_ref(), limits)? {
        Selector::Tags(filter) => (filter, None),
        Selector::Sql(text) => {
            let sql = gateway.filters.compiled(text)?;
            let judged = Judged { expression: sql.hash, ..Judged::default() };
            (Filter::Properties(judged), Some(sql))
        }
    };
    let invisible_ms = receive::invisible_ms(request, limits)?;
    let waited = call.waited().unwrap_or_default();
    let deadline = call.deadline().and_then(|deadline| deadline.checked_sub(waited));
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let wait = receive::wait(request.long_polling_timeout.as_ref(), waited, left, limits);
    // Gateways of an earlier release do not ask again.
    let again = call.is_forwarded() && call.waited().is_some() && wait > TURN;
    let wait = if again { TURN } else { wait };
    let patience = wait.max(receive::wait(None, waited, left, limits).min(PATIENCE));
    let receive = Receive {
        group,
        topic,
        filter,
        batch: receive::batch(request.batch_size, limits),
        invisible_ms,
        auto_renew: request.auto_renew,
        attempt: receive::attempt_id(request)?.or_else(|| call.attempt()).map(hash::attempt),
        client,
        connection: call.connection_id(),
        nonce: Nonce(rand::random()),
        wait_ms: wait.as_millis() as u64,
    };
    Ok(Wanted { receive, sql, again, patience, topic: resource.cloned().unwrap_or_default() })
}

/// Waits for messages; None when the broker stops.
///
/// A broker that stops lets only those go who still wait: what was popped is delivered if it is committed in time. Were it
/// left behind, its message would be hidden until the lease is over, and nobody would know why.
async fn poll(gateway: &Gateway, call: &Call, wanted: Wanted) -> Result<Option<Vec<Delivery>>, Refusal> {
    let Wanted { receive, sql, patience, .. } = wanted;
    let _open = call.open_poll();
    let _counted = Counted::new(&gateway.metrics.polls);
    found(match &sql {
        None => gateway.engine.receive(receive).await,
        Some(sql) => judging::receive(gateway, receive, sql, patience).await,
    })
}

/// What a receive is answered.
fn found(
    received: Result<Result<Vec<Delivery>, ReceiveError>, EngineError>,
) -> Result<Option<Vec<Delivery>>, Refusal> {
    match received {
        Ok(received) => Ok(Some(received?)),
        // Nothing was popped. Empty rather than an error: the client polls again at once, at another broker or at this one
        // after its restart.
        Err(EngineError::Stopping | EngineError::NotMaster) => Ok(None),
        // Above all where it is unknown whether something was popped: it would come back when its lease lapses, and a client
        // that was told of nothing has no reason to expect that.
        Err(error) => Err(error.into()),
    }
}

/// Deliveries that were not handed to the transport yet. Dropped with some left, it takes those back.
struct Unwritten {
    gateway: Gateway,
    group: Name,
    dead_letters: bool,
    deliveries: VecDeque<Delivery>,
    /// What was read of them, from the first on.
    read: VecDeque<Result<StoredMessage, ReadMessageError>>,
}

impl Unwritten {
    /// Reads the next message. A delivery leaves this list only with its message: until then it can be taken
    /// back. What cannot be read stays leased and comes back later.
    async fn next_message(&mut self, topic: &Resource) -> Option<Message> {
        while let Some(delivery) = self.deliveries.front().copied() {
            let message = self.read(&delivery, topic).await;
            self.deliveries.pop_front();
            match message {
                Ok(message) => {
                    self.gateway.metrics.messages_out.inc();
                    self.gateway.metrics.bytes_out.inc_by(message.body.len() as u64);
                    return Some(message);
                }
                Err(error) => {
                    self.gateway.metrics.unreadable.inc();
                    let (queue, offset) = (delivery.queue.0, delivery.offset.0);
                    tracing::error!(%error, topic = topic.name, queue, offset, "a message could not be delivered");
                }
            }
        }
        None
    }

    async fn read(&mut self, delivery: &Delivery, topic: &Resource) -> anyhow::Result<Message> {
        if self.read.is_empty() {
            let lsns = self.deliveries.iter().map(|delivery| delivery.lsn);
            self.read = self.gateway.engine.read_ahead(lsns).await;
        }
        let stored = self.read.pop_front().unwrap_or(Err(ReadMessageError::Dropped(delivery.lsn)))?;
        let origin = if self.dead_letters { Some(self.gateway.topic_name(stored.topic).await) } else { None };
        let context = Context {
            shard: self.gateway.options.shard,
            topic,
            store_host: &self.gateway.options.store_host,
            origin: origin.as_deref(),
        };
        Ok(deliver::message(delivery, &stored, context)?)
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        if self.deliveries.is_empty() {
            return;
        }
        let handles = self.deliveries.iter().map(Delivery::handle).collect();
        let undo = UndoPop { group: self.group.clone(), handles };
        let engine = self.gateway.engine.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = engine.undo_pop(undo).await {
                    tracing::debug!(%error, "undelivered messages come back when their lease is over");
                }
            });
        }
    }
}

/// Counts itself in a gauge while it lives.
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_surely_got_nothing_is_told_of_nothing() {
        for surely in [EngineError::Stopping, EngineError::NotMaster] {
            assert!(found(Err(surely)).is_ok_and(|deliveries| deliveries.is_none()), "{surely}");
        }
        let perhaps = found(Err(EngineError::Unknown));
        assert!(matches!(perhaps, Err(Refusal::Engine(EngineError::Unknown))), "a message may be hidden now");
    }
}
