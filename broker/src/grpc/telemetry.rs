//! `Telemetry`: answers each settings frame of a client with the broker's settings. The stream ends when the
//! client ends its side or the broker stops; nothing depends on it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::Stream;
use prost::Message as _;
use rq_core::queue::request::{Name, Subscribe};
use rq_proto::rocketmq::settings::PubSub;
use rq_proto::rocketmq::telemetry_command::Command;
use rq_proto::rocketmq::{Code, Publishing, Resource, Settings, Status, Subscription, TelemetryCommand};
use tonic::Streaming;

use super::Gateway;
use super::call::Call;
use super::receive::Counted;
use super::refusal::{Refusal, ok};
use crate::clients;
use crate::metrics::Rpc;
use crate::wire::language::Language;
use crate::wire::{Invalid, names, settings};

/// What goes to the client.
pub(super) type Commands = Pin<Box<dyn Stream<Item = Result<TelemetryCommand, tonic::Status>> + Send>>;

/// The broker's side of the stream.
pub(super) fn telemetry(gateway: &Gateway, call: Call, frames: Streaming<TelemetryCommand>) -> Commands {
    let open = Counted::new(&gateway.metrics.telemetry_streams);
    // The client's own stream is to the gateway that forwarded the call.
    let client = call.client().ok().filter(|_| !call.is_forwarded());
    let stream = Conversation {
        producer: client.map(|client| gateway.clients.producers().open(client)),
        gateway: gateway.clone(),
        call,
        frames,
        phase: Phase::Talking,
        again: Again::default(),
        _open: open,
    };
    Box::pin(futures::stream::unfold(stream, Conversation::next))
}

struct Conversation {
    gateway: Gateway,
    call: Call,
    frames: Streaming<TelemetryCommand>,
    phase: Phase,
    again: Again,
    /// Through which the client is asked how its transactions ended.
    producer: Option<clients::Stream>,
    _open: Counted,
}

/// When settings are said again to a Node.js client. With several topics it begins to wait for its first settings
/// only after the route of the last topic: an answer that comes before is missed, and its start would hang.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// Settings of more bytes are said once: more than a client has that names its topics and its filters.
const AGAIN_BYTES_MAX: usize = 64 << 10;

/// Settings to say again.
#[derive(Default)]
struct Again {
    settings: Option<Settings>,
    at: VecDeque<Instant>,
}

impl Again {
    fn plan(&mut self, settings: Settings) {
        // They stay in memory until then.
        if settings.encoded_len() > AGAIN_BYTES_MAX {
            *self = Self::default();
            return;
        }
        self.settings = Some(settings);
        self.at = AGAIN_AFTER.iter().map(|after| Instant::now() + *after).collect();
    }

    /// Waits for the next time; for ever, once there is none.
    async fn due(&mut self) -> Settings {
        let Some(at) = self.at.front() else { return std::future::pending().await };
        tokio::time::sleep_until((*at).into()).await;
        self.at.pop_front();
        let again = if self.at.is_empty() { self.settings.take() } else { self.settings.clone() };
        again.unwrap_or_default()
    }
}

enum Phase {
    Talking,
    /// A refusal was said; this status ends the stream.
    Ending(tonic::Status),
    Ended,
}

impl Conversation {
    async fn next(mut self) -> Option<(Result<TelemetryCommand, tonic::Status>, Self)> {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Talking => {}
            Phase::Ending(status) => return Some((Err(status), self)),
            Phase::Ended => return None,
        }
        loop {
            let frame = tokio::select! {
                frame = self.frames.message() => frame,
                settings = self.again.due() => {
                    let command = Some(Command::Settings(settings));
                    self.phase = Phase::Talking;
                    return Some((Ok(TelemetryCommand { status: Some(ok()), command }), self));
                }
                order = ordered(self.producer.as_mut()) => {
                    let Some(command) = order.take() else { continue };
                    self.phase = Phase::Talking;
                    return Some((Ok(command), self));
                }
                () = self.gateway.stopping.cancelled() => return None,
            };
            let command = match frame {
                Ok(frame) => frame?.command,
                // A client that went away does not hear this; one whose frame could not be read does, and connects anew.
                Err(status) => return Some((Err(status), self)),
            };
            self.call.touch(Instant::now());
            let Some(Command::Settings(sent)) = command else { continue };
            let produces = produces(&sent);
            let (status, command, phase) = match answered(&self.gateway, &self.call, sent).await {
                Ok(settings) => {
                    if let (Some(producer), Some(topics)) = (&self.producer, produces) {
                        producer.declare(topics);
                    }
                    if self.call.language() == Language::Node {
                        self.again.plan(settings.clone());
                    }
                    (ok(), Some(Command::Settings(settings)), Phase::Talking)
                }
                Err((status, end)) => (status, None, Phase::Ending(end)),
            };
            self.gateway.metrics.answered(Rpc::Telemetry, status.code);
            self.phase = phase;
            return Some((Ok(TelemetryCommand { status: Some(status), command }), self));
        }
    }
}

/// Waits for a command to the client; for ever, where nobody gives one.
async fn ordered(producer: Option<&mut clients::Stream>) -> clients::Order {
    match producer {
        Some(producer) => producer.order().await,
        None => std::future::pending().await,
    }
}

/// The topics that a producer declares, each also as it calls it; none of a consumer.
fn produces(settings: &Settings) -> Option<Vec<(Name, Resource)>> {
    let Some(PubSub::Publishing(publishing)) = &settings.pub_sub else { return None };
    let named = |topic: &Resource| Some((names::topic(Some(topic)).ok()?, topic.clone()));
    Some(publishing.topics.iter().filter_map(named).collect())
}

/// The gRPC status that follows the status frame. Some clients look at the frame, others (Go) only notice an
/// error of the stream: without it they would wait for ever.
fn end_after(refusal: &Refusal) -> tonic::Status {
    let code = match refusal {
        Refusal::Engine(_)
        | Refusal::TooMany(_)
        | Refusal::DiskFull(_)
        | Refusal::SendUnknown
        | Refusal::NothingFound => tonic::Code::Unavailable,
        Refusal::TopicNotFound(_) | Refusal::GroupNotFound(_) => tonic::Code::NotFound,
        Refusal::Invalid(_)
        | Refusal::NotAHandle(_)
        | Refusal::KindMismatch(_)
        | Refusal::StaleHandle(_)
        | Refusal::NotATransactionId(_)
        | Refusal::NoSuchTransaction(_)
        | Refusal::TransactionEnded(_)
        | Refusal::NotARecallHandle(_)
        | Refusal::NoSuchDelayed(_) => tonic::Code::InvalidArgument,
    };
    tonic::Status::new(code, refusal.to_string())
}

/// What a client hears of its settings: from this process, or from the master where its consumer group is known. Else a
/// status, and the one that ends the stream.
async fn answered(
    gateway: &Gateway,
    call: &Call,
    sent: Settings,
) -> Result<Settings, (Status, tonic::Status)> {
    let refused = |refusal: Refusal| (refusal.status(), end_after(&refusal));
    let consumes = matches!(sent.pub_sub, Some(PubSub::Subscription(_)));
    let master = gateway.master.as_ref().filter(|_| consumes && !call.is_forwarded());
    let Some(master) = master.filter(|_| !gateway.engine.view().borrow().serves()) else {
        return merged(gateway, call, sent).await.map_err(refused);
    };
    call.client_id().map_err(|invalid| refused(invalid.into()))?;
    match master.settings(call.metadata(), &sent).await {
        Ok((_, Some(settings))) => Ok(settings),
        Ok((status, None)) => {
            let end = tonic::Status::invalid_argument(status.message.clone());
            Err((status, end))
        }
        Err(end) => {
            let (code, message) = (Code::TooManyRequests.into(), end.message().to_owned());
            Err((Status { code, message }, end))
        }
    }
}

/// The client's settings with the broker's values over them.
async fn merged(gateway: &Gateway, call: &Call, sent: Settings) -> Result<Settings, Refusal> {
    call.client_id()?;
    settings::check(&sent)?;
    let limits = &gateway.options.settings;
    match &sent.pub_sub {
        Some(PubSub::Publishing(publishing)) => {
            check_publishing(publishing)?;
            Ok(settings::for_producer(sent, limits))
        }
        Some(PubSub::Subscription(subscription)) => {
            let subscribe = subscribe(call, subscription)?;
            check_filters(gateway, subscription)?;
            let group = gateway.engine.subscribe(subscribe).await??;
            Ok(settings::for_consumer(sent, &group.settings, call.language(), limits))
        }
        None => Err(Invalid::NoPublishingOrSubscription.into()),
    }
}

/// No topic at all is fine: some producers learn theirs with the first send.
fn check_publishing(publishing: &Publishing) -> Result<(), Invalid> {
    publishing.topics.iter().try_for_each(|topic| names::topic(Some(topic)).map(drop))
}

/// So that the group exists, and has a position in each topic, before the first message that it is to get.
fn subscribe(call: &Call, subscription: &Subscription) -> Result<Subscribe, Invalid> {
    let group = names::group(subscription.group.as_ref(), call.namespace())?;
    let topics = subscription.subscriptions.iter().map(|entry| names::topic(entry.topic.as_ref()));
    Ok(Subscribe { group, topics: topics.collect::<Result<_, _>>()? })
}

/// So that a filter that does not compile is noticed at the start, not only with the first receive.
fn check_filters(gateway: &Gateway, subscription: &Subscription) -> Result<(), Invalid> {
    let filters = subscription.subscriptions.iter().map(|entry| entry.expression.as_ref());
    filters.into_iter().try_for_each(|filter| gateway.filters.check(filter, &gateway.options.receives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn settings_are_said_twice_more_and_not_kept_beyond_nor_if_they_are_large() {
        let mut again = Again::default();
        again.plan(Settings::default());
        assert_eq!(again.at.len(), AGAIN_AFTER.len());
        again.at.iter_mut().for_each(|at| *at = Instant::now());
        for _ in AGAIN_AFTER {
            again.due().await;
        }
        assert_eq!((again.settings.take(), again.at.len()), (None, 0));
        let topic = Resource { name: "t".repeat(AGAIN_BYTES_MAX), ..Resource::default() };
        let publishing = Publishing { topics: vec![topic], ..Publishing::default() };
        again.plan(Settings { pub_sub: Some(PubSub::Publishing(publishing)), ..Settings::default() });
        assert_eq!((again.settings, again.at.len()), (None, 0));
    }
}
