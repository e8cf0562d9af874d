//! The senders: each sends a message, waits for its acknowledgement, repeats it where that may help, and goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rq_proto::rocketmq as pb;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use crate::bench::history::Event;
use crate::bench::prebuilt::{Filled, SendCodec, Template};
use crate::bench::run::Run;
use crate::bench::{Bench, Call};
use crate::client::{CallError, Client, Fate, headers, in_time, sent};
use crate::failure::Failure;

/// Pauses between the attempts of a send: the first one, doubling up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// What all senders share.
pub(super) struct Plan {
    call: Call,
    templates: Arc<Templates>,
    timeout: Duration,
}

struct Templates {
    all: Vec<Arc<Template>>,
    next: AtomicUsize,
}

impl Plan {
    pub(super) fn new(bench: &Bench, timeout: Duration) -> Self {
        let template =
            |message_group| Arc::new(Template::new(&bench.topic, message_group, bench.size as usize));
        let all = match bench.message_groups {
            0 => vec![template(None)],
            groups => (0..groups).map(|group| template(Some(format!("group-{group}")))).collect(),
        };
        let templates = Arc::new(Templates { all, next: AtomicUsize::new(0) });
        Self { call: bench.call, templates, timeout }
    }

    /// One sender.
    pub(super) fn sender(&self, index: u32, channel: Channel, run: &Arc<Run>) -> Sender {
        Sender {
            index,
            call: self.call,
            client: Client::over(channel.clone(), index as usize, self.timeout),
            grpc: Grpc::new(channel),
            headers: headers(index as usize, self.timeout),
            templates: self.templates.clone(),
            timeout: self.timeout,
            run: run.clone(),
        }
    }
}

/// One sender.
pub(super) struct Sender {
    index: u32,
    call: Call,
    client: Client,
    grpc: Grpc<Channel>,
    headers: MetadataMap,
    templates: Arc<Templates>,
    timeout: Duration,
    run: Arc<Run>,
}

impl Sender {
    /// Sends until the run is over. An error that will not pass ends the run.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        while let Some(due) = self.run.ticket().await {
            match self.call {
                Call::Send => self.send(due).await?,
                Call::Empty => self.heartbeat(due).await?,
            }
        }
        Ok(())
    }

    async fn heartbeat(&self, due: Instant) -> Result<(), Failure> {
        self.client.heartbeat().await?;
        let now = Instant::now();
        if self.run.counts(now) {
            self.run.sends.succeed(now, now - due);
        }
        Ok(())
    }

    async fn send(&mut self, due: Instant) -> Result<(), Failure> {
        let id = self.run.ledger.next_id();
        let number = self.templates.next.fetch_add(1, Ordering::Relaxed) % self.templates.all.len();
        let template = self.templates.all[number].clone();
        let stamp = self.run.nanos(due);
        let mut pause = PAUSES.0;
        let mut fate = Fate::NotDone;
        loop {
            let invoked = Instant::now();
            let outcome = self.attempt(Filled { template: template.clone(), id, stamp }).await;
            let now = Instant::now();
            self.run
                .history
                .record(|| Event::send(&self.run, self.index, &id, (invoked, now), outcome.as_ref().err()));
            let counts = self.run.counts(now);
            let Err(error) = outcome else {
                self.run.ledger.acknowledge(&id);
                if counts {
                    self.run.sends.succeed(now, now - due);
                }
                return Ok(());
            };
            if counts {
                self.run.sends.fail(&error);
            }
            if !error.is_temporary() {
                return Err(error.into());
            }
            if error.fate() == Fate::Unknown {
                fate = Fate::Unknown;
            }
            if self.run.is_over() {
                if fate == Fate::Unknown {
                    self.run.ledger.doubt(&id);
                }
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn attempt(&mut self, message: Filled) -> Result<i64, CallError> {
        const PATH: &str = "/apache.rocketmq.v2.MessagingService/SendMessage";
        let codec = SendCodec::of(&message.template);
        let mut request = tonic::Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        let grpc = &mut self.grpc;
        let call = async {
            grpc.ready().await.map_err(|error| tonic::Status::from_error(error.into()))?;
            grpc.unary(request, PathAndQuery::from_static(PATH), codec).await
        };
        let answer: tonic::Response<pb::SendMessageResponse> = in_time(self.timeout, call).await?;
        sent(answer.into_inner())
    }
}
