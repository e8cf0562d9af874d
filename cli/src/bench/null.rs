//! A server that answers `SendMessage` and `Heartbeat` with OK and stores nothing: what a broker built on the same
//! libraries could reach at best. Its server settings are those of the broker's gRPC server.

use std::net::SocketAddr;
use std::pin::Pin;

use clap::Args;
use futures::Stream;
use rq_proto::rocketmq as pb;
use rq_proto::rocketmq::messaging_service_server::{MessagingService, MessagingServiceServer};
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::failure::Failure;
use crate::output;

/// Largest request, as in the broker.
const DECODE_MAX: usize = 16 << 20;

/// `rq bench-null`.
#[derive(Args)]
pub(crate) struct BenchNull {
    /// Address to serve on
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDR")]
    listen: SocketAddr,
    /// Threads of the server
    #[arg(long, default_value_t = default_threads(), value_parser = super::threads, value_name = "N")]
    pub(crate) threads: usize,
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Serves until it is interrupted or terminated.
pub(crate) async fn run(null: BenchNull) -> Result<(), Failure> {
    let failed = |reason: String| Failure::Listen { listen: null.listen.to_string(), reason };
    let incoming =
        TcpIncoming::bind(null.listen).map_err(|error| failed(error.to_string()))?.with_nodelay(Some(true));
    output::line(&format!("answering on {} without storing anything", null.listen))?;
    let service = MessagingServiceServer::new(Null).max_decoding_message_size(DECODE_MAX);
    rq_proto::server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, async { drop(tokio::signal::ctrl_c().await) })
        .await
        .map_err(|error| failed(error.to_string()))
}

struct Null;

fn ok() -> pb::Status {
    pb::Status { code: pb::Code::Ok.into(), message: "OK".to_owned() }
}

type Answer<T> = Result<Response<T>, Status>;
type Frames<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn nothing<T>() -> Answer<T> {
    Err(Status::unimplemented("only SendMessage and Heartbeat are answered here"))
}

#[tonic::async_trait]
impl MessagingService for Null {
    async fn send_message(
        &self,
        request: Request<pb::SendMessageRequest>,
    ) -> Answer<pb::SendMessageResponse> {
        let entries = request.into_inner().messages.into_iter().map(|message| {
            let message_id = message.system_properties.map(|system| system.message_id).unwrap_or_default();
            pb::SendResultEntry { status: Some(ok()), message_id, ..Default::default() }
        });
        Ok(Response::new(pb::SendMessageResponse { entries: entries.collect(), status: Some(ok()) }))
    }

    async fn heartbeat(&self, _: Request<pb::HeartbeatRequest>) -> Answer<pb::HeartbeatResponse> {
        Ok(Response::new(pb::HeartbeatResponse { status: Some(ok()) }))
    }

    type ReceiveMessageStream = Frames<pb::ReceiveMessageResponse>;
    type PullMessageStream = Frames<pb::PullMessageResponse>;
    type TelemetryStream = Frames<pb::TelemetryCommand>;

    async fn query_route(&self, _: Request<pb::QueryRouteRequest>) -> Answer<pb::QueryRouteResponse> {
        nothing()
    }
    async fn query_assignment(
        &self,
        _: Request<pb::QueryAssignmentRequest>,
    ) -> Answer<pb::QueryAssignmentResponse> {
        nothing()
    }
    async fn receive_message(
        &self,
        _: Request<pb::ReceiveMessageRequest>,
    ) -> Answer<Self::ReceiveMessageStream> {
        nothing()
    }
    async fn ack_message(&self, _: Request<pb::AckMessageRequest>) -> Answer<pb::AckMessageResponse> {
        nothing()
    }
    async fn forward_message_to_dead_letter_queue(
        &self,
        _: Request<pb::ForwardMessageToDeadLetterQueueRequest>,
    ) -> Answer<pb::ForwardMessageToDeadLetterQueueResponse> {
        nothing()
    }
    async fn pull_message(&self, _: Request<pb::PullMessageRequest>) -> Answer<Self::PullMessageStream> {
        nothing()
    }
    async fn update_offset(&self, _: Request<pb::UpdateOffsetRequest>) -> Answer<pb::UpdateOffsetResponse> {
        nothing()
    }
    async fn get_offset(&self, _: Request<pb::GetOffsetRequest>) -> Answer<pb::GetOffsetResponse> {
        nothing()
    }
    async fn query_offset(&self, _: Request<pb::QueryOffsetRequest>) -> Answer<pb::QueryOffsetResponse> {
        nothing()
    }
    async fn end_transaction(
        &self,
        _: Request<pb::EndTransactionRequest>,
    ) -> Answer<pb::EndTransactionResponse> {
        nothing()
    }
    async fn telemetry(
        &self,
        _: Request<tonic::Streaming<pb::TelemetryCommand>>,
    ) -> Answer<Self::TelemetryStream> {
        nothing()
    }
    async fn notify_client_termination(
        &self,
        _: Request<pb::NotifyClientTerminationRequest>,
    ) -> Answer<pb::NotifyClientTerminationResponse> {
        nothing()
    }
    async fn change_invisible_duration(
        &self,
        _: Request<pb::ChangeInvisibleDurationRequest>,
    ) -> Answer<pb::ChangeInvisibleDurationResponse> {
        nothing()
    }
    async fn recall_message(
        &self,
        _: Request<pb::RecallMessageRequest>,
    ) -> Answer<pb::RecallMessageResponse> {
        nothing()
    }
    async fn sync_lite_subscription(
        &self,
        _: Request<pb::SyncLiteSubscriptionRequest>,
    ) -> Answer<pb::SyncLiteSubscriptionResponse> {
        nothing()
    }
}
