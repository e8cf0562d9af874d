//! The gRPC services of the client port. Business errors travel in the body status, as the official clients
//! expect; a gRPC error would mean to them that this endpoint is broken. One file a group of calls.

mod ack;
pub mod admin;
pub(crate) mod call;
mod checks;
mod connections;
mod filters;
mod judging;
mod liveness;
mod promotion;
mod recall;
mod receive;
pub(crate) mod refusal;
pub mod replica;
mod route;
mod send;
pub mod server;
mod telemetry;
mod transaction;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rq_core::ids::{ShardId, TopicId};
use rq_core::queue::request::Name;
use rq_proto::rocketmq as pb;
use rq_proto::rocketmq::messaging_service_server::MessagingService;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use self::call::Call;
use self::filters::Filters;
use self::judging::slices::Slices;
use self::refusal::Refusal;
use crate::clients::Clients;
use crate::engine::Engine;
use crate::forwarding::headers::{FATE, Fate, HALF_SENT};
use crate::forwarding::master::Master;
use crate::metrics::{Metrics, Rpc};
use crate::wire::Invalid;
use crate::wire::receive::ReceiveLimits;
use crate::wire::send::MessageLimits;
use crate::wire::settings::SettingsLimits;

/// What the gateway is told.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// The shard that receipt handles are of.
    pub shard: ShardId,
    /// Name of the broker in routes: the cluster's, the same on every pod.
    pub broker_name: String,
    /// The broker's address in delivered messages.
    pub store_host: String,
    /// Bytes of sends, of all clients, that may wait for an answer. A connection's windows bound what is read of
    /// its requests; this bounds what many connections have had decoded.
    pub sends_bytes: usize,
    /// Limits of messages.
    pub messages: MessageLimits,
    /// Limits of receives.
    pub receives: ReceiveLimits,
    /// Most entries of an ack. The official clients send one.
    pub ack_entries: usize,
    /// What settings say.
    pub settings: SettingsLimits,
}

/// Serves the RocketMQ API on an engine. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

/// What all calls share.
pub struct Shared {
    engine: Engine,
    clients: Arc<Clients>,
    metrics: Arc<Metrics>,
    options: GatewayOptions,
    stopping: CancellationToken,
    /// Where else the master may be; none in a broker that is alone.
    master: Option<Arc<Master>>,
    topic_names: TopicNames,
    filters: Filters,
    slices: Slices,
    /// Bytes of sends that may still come in.
    sends: Semaphore,
}

/// Names of the topics that dead letters were sent to. A topic's id is never given twice, so a name found once
/// stays right.
#[derive(Default)]
struct TopicNames(Mutex<HashMap<TopicId, Name>>);

/// Most names remembered.
const TOPIC_NAMES_MAX: usize = 10_000;

impl std::ops::Deref for Gateway {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Gateway {
    /// A gateway that ends its polls and streams once `stopping` is cancelled.
    pub fn new(
        engine: Engine,
        clients: Arc<Clients>,
        metrics: Arc<Metrics>,
        options: GatewayOptions,
        master: Option<Arc<Master>>,
        stopping: CancellationToken,
    ) -> Self {
        Self(Arc::new(Shared {
            engine,
            clients,
            metrics,
            sends: Semaphore::new(options.sends_bytes.min(Semaphore::MAX_PERMITS)),
            options,
            master,
            stopping,
            topic_names: TopicNames::default(),
            filters: Filters::default(),
            slices: Slices::default(),
        }))
    }

    /// Name of a topic by its id; blank where it is deleted.
    async fn topic_name(&self, id: TopicId) -> Name {
        let lock = || self.topic_names.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = lock().get(&id) {
            return Arc::clone(name);
        }
        let Ok(Some(name)) = self.engine.inspect(move |shard| shard.topic_name(id)).await else {
            return "".into();
        };
        let mut names = lock();
        if names.len() >= TOPIC_NAMES_MAX {
            names.clear();
        }
        names.insert(id, Arc::clone(&name));
        name
    }

    /// The response to a call, counted and timed.
    fn answer<R: Answer>(&self, rpc: Rpc, call: &Call, answer: Result<R, Refusal>) -> Response<R> {
        let mut fate = None;
        let response = answer.unwrap_or_else(|refusal| {
            fate = refusal.fate();
            let code = call.language().code(refusal.code());
            R::refused(pb::Status { code: code.into(), ..refusal.status() })
        });
        self.metrics.answered(rpc, response.code());
        self.metrics.took(rpc, call.began().elapsed());
        let mut response = Response::new(response);
        if let Some(fate) = fate {
            response.metadata_mut().insert(FATE, MetadataValue::from_static(fate.text()));
        }
        response
    }
}

/// Wall clock in milliseconds since 1970; for what people read, never for decisions.
fn wall_clock_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A response with a body status.
trait Answer: Default {
    /// The response that says no.
    fn refused(status: pb::Status) -> Self;
    /// The code of its status.
    fn code(&self) -> i32;
}

macro_rules! answers {
    ($($response:ident),* $(,)?) => {$(
        #[allow(clippy::needless_update, reason = "some responses are nothing but a status")]
        impl Answer for pb::$response {
            fn refused(status: pb::Status) -> Self {
                Self { status: Some(status), ..Self::default() }
            }

            fn code(&self) -> i32 {
                self.status.as_ref().map_or(0, |status| status.code)
            }
        }
    )*};
}

answers! {
    QueryRouteResponse, HeartbeatResponse, SendMessageResponse, QueryAssignmentResponse, AckMessageResponse,
    ForwardMessageToDeadLetterQueueResponse, UpdateOffsetResponse, GetOffsetResponse, QueryOffsetResponse,
    EndTransactionResponse, NotifyClientTerminationResponse, ChangeInvisibleDurationResponse,
    RecallMessageResponse, SyncLiteSubscriptionResponse,
}

fn not_implemented<R>(what: &'static str, instead: &'static str) -> Result<R, Refusal> {
    Err(Invalid::NotImplemented { what, instead }.into())
}

const OWN_OFFSETS: &str = "consume with ReceiveMessage, whose positions the broker keeps";
const NO_LITE: &str = "use an ordinary consumer group";

type Served<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl MessagingService for Gateway {
    type ReceiveMessageStream = receive::Frames;
    type PullMessageStream =
        futures::stream::Iter<std::array::IntoIter<Result<pb::PullMessageResponse, Status>, 1>>;
    type TelemetryStream = telemetry::Commands;

    async fn query_route(&self, request: Request<pb::QueryRouteRequest>) -> Served<pb::QueryRouteResponse> {
        let (call, request) = Call::begin(request);
        Ok(self.answer(Rpc::QueryRoute, &call, route::query_route(self, &call, request).await))
    }

    async fn heartbeat(&self, request: Request<pb::HeartbeatRequest>) -> Served<pb::HeartbeatResponse> {
        let (call, request) = Call::begin(request);
        Ok(self.answer(Rpc::Heartbeat, &call, liveness::heartbeat(&call, &request)))
    }

    async fn send_message(
        &self,
        request: Request<pb::SendMessageRequest>,
    ) -> Served<pb::SendMessageResponse> {
        let (call, request) = Call::begin(request);
        let half_of = send::topic_of_halves(&request);
        let answer = send::send_message(self, &call, request).await;
        let stored = answer.as_ref().map_or_else(|refusal| refusal.fate() == Some(Fate::Unknown), |_| true);
        let mut response = self.answer(Rpc::SendMessage, &call, answer);
        if let Some(topic) = half_of.filter(|_| stored) {
            match MetadataValue::try_from(&*topic) {
                Ok(topic) if call.is_forwarded() => drop(response.metadata_mut().insert(HALF_SENT, topic)),
                _ => call.sent_half(topic),
            }
        }
        Ok(response)
    }

    async fn query_assignment(
        &self,
        request: Request<pb::QueryAssignmentRequest>,
    ) -> Served<pb::QueryAssignmentResponse> {
        let (call, request) = Call::begin(request);
        Ok(self.answer(Rpc::QueryAssignment, &call, route::query_assignment(self, &call, request).await))
    }

    async fn receive_message(
        &self,
        request: Request<pb::ReceiveMessageRequest>,
    ) -> Served<Self::ReceiveMessageStream> {
        let (call, request) = Call::begin(request);
        let mut response = Response::new(receive::receive_message(self, call, request));
        if !self.engine.view().borrow().serves() {
            response.metadata_mut().insert(FATE, MetadataValue::from_static(Fate::Nothing.text()));
        }
        Ok(response)
    }

    async fn ack_message(&self, request: Request<pb::AckMessageRequest>) -> Served<pb::AckMessageResponse> {
        let (call, request) = Call::begin(request);
        Ok(self.answer(Rpc::AckMessage, &call, ack::ack_message(self, &call, request).await))
    }

    async fn forward_message_to_dead_letter_queue(
        &self,
        request: Request<pb::ForwardMessageToDeadLetterQueueRequest>,
    ) -> Served<pb::ForwardMessageToDeadLetterQueueResponse> {
        let (call, request) = Call::begin(request);
        let answer = ack::forward_to_dead_letters(self, &call, request).await;
        Ok(self.answer(Rpc::ForwardMessageToDeadLetterQueue, &call, answer))
    }

    async fn change_invisible_duration(
        &self,
        request: Request<pb::ChangeInvisibleDurationRequest>,
    ) -> Served<pb::ChangeInvisibleDurationResponse> {
        let (call, request) = Call::begin(request);
        let (answer, receipt_handle) = ack::change_invisible_duration(self, &call, request).await;
        let mut response = self.answer(Rpc::ChangeInvisibleDuration, &call, answer);
        // Always sent back: a client that stores what it gets must never lose its own.
        response.get_mut().receipt_handle = receipt_handle;
        Ok(response)
    }

    async fn telemetry(
        &self,
        request: Request<Streaming<pb::TelemetryCommand>>,
    ) -> Served<Self::TelemetryStream> {
        let (call, frames) = Call::begin(request);
        Ok(Response::new(telemetry::telemetry(self, call, frames)))
    }

    async fn notify_client_termination(
        &self,
        request: Request<pb::NotifyClientTerminationRequest>,
    ) -> Served<pb::NotifyClientTerminationResponse> {
        let (call, request) = Call::begin(request);
        let answer = liveness::notify_client_termination(self, &call, request).await;
        Ok(self.answer(Rpc::NotifyClientTermination, &call, answer))
    }

    async fn pull_message(&self, _: Request<pb::PullMessageRequest>) -> Served<Self::PullMessageStream> {
        let refusal = Refusal::from(Invalid::NotImplemented { what: "PullMessage is", instead: OWN_OFFSETS });
        self.metrics.answered(Rpc::PullMessage, refusal.code().into());
        let content = Some(pb::pull_message_response::Content::Status(refusal.status()));
        Ok(Response::new(futures::stream::iter([Ok(pb::PullMessageResponse { content })])))
    }

    async fn update_offset(
        &self,
        request: Request<pb::UpdateOffsetRequest>,
    ) -> Served<pb::UpdateOffsetResponse> {
        let (call, _) = Call::begin(request);
        Ok(self.answer(Rpc::UpdateOffset, &call, not_implemented("UpdateOffset is", OWN_OFFSETS)))
    }

    async fn get_offset(&self, request: Request<pb::GetOffsetRequest>) -> Served<pb::GetOffsetResponse> {
        let (call, _) = Call::begin(request);
        Ok(self.answer(Rpc::GetOffset, &call, not_implemented("GetOffset is", OWN_OFFSETS)))
    }

    async fn query_offset(
        &self,
        request: Request<pb::QueryOffsetRequest>,
    ) -> Served<pb::QueryOffsetResponse> {
        let (call, _) = Call::begin(request);
        Ok(self.answer(Rpc::QueryOffset, &call, not_implemented("QueryOffset is", OWN_OFFSETS)))
    }

    async fn end_transaction(
        &self,
        request: Request<pb::EndTransactionRequest>,
    ) -> Served<pb::EndTransactionResponse> {
        let (call, request) = Call::begin(request);
        let answer = transaction::end_transaction(self, &call, &request).await;
        Ok(self.answer(Rpc::EndTransaction, &call, answer))
    }

    async fn recall_message(
        &self,
        request: Request<pb::RecallMessageRequest>,
    ) -> Served<pb::RecallMessageResponse> {
        let (call, request) = Call::begin(request);
        let answer = recall::recall_message(self, &call, &request).await;
        Ok(self.answer(Rpc::RecallMessage, &call, answer))
    }

    async fn sync_lite_subscription(
        &self,
        request: Request<pb::SyncLiteSubscriptionRequest>,
    ) -> Served<pb::SyncLiteSubscriptionResponse> {
        let (call, _) = Call::begin(request);
        Ok(self.answer(Rpc::SyncLiteSubscription, &call, not_implemented("lite topics are", NO_LITE)))
    }
}
