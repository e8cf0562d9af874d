//! Where the master is, as this process knows it, and the connections to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rq_core::queue::request::LiveClient;
use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use rq_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use rq_proto::rocketmq::telemetry_command::Command;
use rq_proto::rocketmq::{Code, Settings, Status, TelemetryCommand};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::headers::FORWARDED;
use crate::engine::cluster::ReplicaView;
use crate::peer::PeerLinks;

/// How long a connection to the master may take, with the handshake of TLS.
const CONNECT: Duration = Duration::from_millis(500);
/// A master that does not answer a ping is gone after interval and timeout.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Room for whole bodies, as the client port has it.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// Largest answer with half messages to ask about: what the master puts into one, and the largest message beyond.
const CHECKS_BYTES_MAX: usize = 64 << 20;
/// How long the settings of a client may take: less than it waits for them.
const SETTINGS: Duration = Duration::from_millis(2_700);
/// Pause before the master is asked again for settings.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The master, from here.
#[derive(Debug)]
pub struct Master {
    view: watch::Receiver<ReplicaView>,
    links: PeerLinks,
    request_bytes: usize,
    /// Bytes of calls that may be held.
    room: Arc<Semaphore>,
    /// Likewise of long polls, which are held for as long as they wait: however many, others are not refused for them.
    room_of_polls: Arc<Semaphore>,
    channels: Mutex<HashMap<String, Channel>>,
    stopping: CancellationToken,
}

/// Where a call goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Target {
    Here,
    There(String),
}

impl Target {
    /// Who is to be asked; nobody while this replica is about to be the master, or knows of none.
    pub(super) fn of(view: &ReplicaView) -> Option<Self> {
        if view.serves() {
            Some(Self::Here)
        } else if view.leads() {
            None
        } else {
            view.master_address().map(|address| Self::There(address.to_owned()))
        }
    }
}

impl Master {
    /// With what this replica knows, for calls of at most so many bytes, and so many of all that are held. No long poll is
    /// asked for again once `stopping` is cancelled.
    pub fn new(
        view: watch::Receiver<ReplicaView>,
        links: PeerLinks,
        request_bytes: usize,
        held_bytes: usize,
        stopping: CancellationToken,
    ) -> Self {
        let room = || Arc::new(Semaphore::new(held_bytes.min(Semaphore::MAX_PERMITS)));
        let (room, room_of_polls) = (room(), room());
        Self { view, links, request_bytes, room, room_of_polls, channels: Mutex::default(), stopping }
    }

    pub(super) const fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    pub(super) const fn request_bytes(&self) -> usize {
        self.request_bytes
    }

    /// Room for a call of so many bytes; none where too much of its kind is held.
    pub(super) fn room_for(&self, bytes: usize, polls: bool) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        let room = if polls { &self.room_of_polls } else { &self.room };
        Arc::clone(room).try_acquire_many_owned(bytes).ok()
    }

    pub(super) fn view(&self) -> watch::Receiver<ReplicaView> {
        self.view.clone()
    }

    /// Completes when somebody else than who serves at this address is the master.
    pub(super) async fn is_elsewhere(&self, address: &str) {
        let mut view = self.view.clone();
        let elsewhere = |view: &ReplicaView| view.leads() || view.master_address() != Some(address);
        // Without an engine that tells, the process ends.
        let _ = view.wait_for(elsewhere).await;
    }

    /// The connection to this address; made when it is used first, and again when it broke.
    pub(super) fn channel(&self, address: &str) -> Channel {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = channels.entry(address.to_owned()).or_insert_with(|| self.connect(address));
        channel.clone()
    }

    /// Connects anew the next time.
    pub(super) fn forget(&self, address: &str) {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
    }

    fn address(&self) -> Option<String> {
        self.view.borrow().master_address().map(str::to_owned)
    }

    /// Asks the master what it says to a client's settings.
    pub(crate) async fn settings(
        &self,
        metadata: &MetadataMap,
        settings: &Settings,
    ) -> Result<(Status, Option<Settings>), tonic::Status> {
        let give_up = Instant::now() + SETTINGS;
        loop {
            let asked = match self.address() {
                Some(address) => {
                    tokio::time::timeout_at(give_up, self.ask(&address, metadata, settings)).await
                }
                None => Ok(Err(tonic::Status::unavailable("there is no master at present: try again"))),
            };
            match asked {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) if Instant::now() + AGAIN_AFTER > give_up => return Err(status),
                Err(_) => return Err(tonic::Status::unavailable("the master does not answer: try again")),
                Ok(Err(_)) => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
    }

    async fn ask(
        &self,
        address: &str,
        metadata: &MetadataMap,
        settings: &Settings,
    ) -> Result<(Status, Option<Settings>), tonic::Status> {
        let said = TelemetryCommand { status: None, command: Some(Command::Settings(settings.clone())) };
        let mut request = tonic::Request::new(tokio_stream::once(said));
        *request.metadata_mut() = metadata.clone();
        request.metadata_mut().insert(FORWARDED, MetadataValue::from(0));
        let mut answers =
            MessagingServiceClient::new(self.channel(address)).telemetry(request).await?.into_inner();
        let none = || tonic::Status::unavailable("the master said nothing");
        let answer = answers.message().await?.ok_or_else(none)?;
        let status = answer.status.ok_or_else(none)?;
        // It lost its mastership just now.
        if status.code == i32::from(Code::TooManyRequests) {
            return Err(tonic::Status::unavailable(status.message));
        }
        match answer.command {
            Some(Command::Settings(settings)) => Ok((status, Some(settings))),
            _ => Ok((status, None)),
        }
    }

    /// Tells the master which clients of this process live.
    pub(crate) async fn vouch(&self, clients: Vec<LiveClient>) -> Result<(), tonic::Status> {
        let address = self.address().ok_or_else(no_master)?;
        let living = |client: LiveClient| pb::LivingClient {
            client: client.client.0,
            connection: client.connection.0,
            idle_ms: client.idle_ms,
        };
        let request = pb::VouchRequest { clients: clients.into_iter().map(living).collect() };
        ReplicaClient::new(self.channel(&address)).vouch(request).await.map(drop)
    }

    /// Takes half messages to ask about from the master, until it is somebody else.
    pub(crate) async fn take_checks(
        &self,
        request: pb::TakeChecksRequest,
    ) -> Result<Vec<pb::TransactionCheck>, tonic::Status> {
        let address = self.address().ok_or_else(no_master)?;
        let mut replica =
            ReplicaClient::new(self.channel(&address)).max_decoding_message_size(CHECKS_BYTES_MAX);
        tokio::select! {
            taken = replica.take_checks(request) => Ok(taken?.into_inner().checks),
            () = self.is_elsewhere(&address) => Err(no_master()),
        }
    }

    /// Tells the master what came of asking.
    pub(crate) async fn report_checks(&self, request: pb::ReportChecksRequest) -> Result<(), tonic::Status> {
        let address = self.address().ok_or_else(no_master)?;
        let mut replica = ReplicaClient::new(self.channel(&address));
        tokio::select! {
            reported = replica.report_checks(request) => reported.map(drop),
            () = self.is_elsewhere(&address) => Err(no_master()),
        }
    }

    fn connect(&self, address: &str) -> Channel {
        // An address that cannot be one leads nowhere: calls fail as they do where nobody listens.
        let endpoint =
            PeerLinks::endpoint(address).unwrap_or_else(|_| Endpoint::from_static("http://0.0.0.0:0"));
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        self.links.connect_lazily(&endpoint)
    }
}

fn no_master() -> tonic::Status {
    tonic::Status::unavailable("there is no master")
}
