//! The senders: each sends a message, waits for its acknowledgement, repeats it where that may help, and goes on. That
//! of a half message is the one of its commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rq_proto::rocketmq as pb;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use crate::bench::history::Event;
use crate::bench::prebuilt::{Filled, Hold, SendCodec, Template};
use crate::bench::run::Run;
use crate::bench::{Bench, Call};
use crate::client::{CallError, Client, Fate, headers, in_time, sent};
use crate::failure::Failure;
use crate::message_id;

/// Pauses between the attempts of a call: the first one, doubling up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// What all senders share.
pub(super) struct Plan {
    call: Call,
    topic: Arc<str>,
    hold: Hold,
    templates: Arc<Templates>,
    timeout: Duration,
}

struct Templates {
    all: Vec<Arc<Template>>,
    next: AtomicUsize,
}

impl Plan {
    pub(super) fn new(bench: &Bench, timeout: Duration) -> Self {
        let template = |message_group| Arc::new(Template::new(bench.content(message_group)));
        let all = match bench.message_groups {
            0 => vec![template(None)],
            groups => (0..groups).map(|group| template(Some(format!("group-{group}")))).collect(),
        };
        let templates = Arc::new(Templates { all, next: AtomicUsize::new(0) });
        Self { call: bench.call, topic: bench.topic.as_str().into(), hold: bench.hold(), templates, timeout }
    }

    /// One sender.
    pub(super) fn sender(&self, index: u32, channel: Channel, run: &Arc<Run>) -> Sender {
        Sender {
            index,
            call: self.call,
            topic: self.topic.clone(),
            hold: self.hold,
            client: Client::over(channel.clone(), index as usize, self.timeout),
            grpc: Grpc::new(channel),
            headers: headers(index as usize, self.timeout),
            templates: self.templates.clone(),
            timeout: self.timeout,
            run: run.clone(),
        }
    }
}

/// One call for a message.
enum Step {
    /// With its time on the clock of the run, where it is delayed.
    Send(Filled, Option<u64>),
    Commit {
        id: [u8; message_id::LEN],
        transaction_id: String,
    },
}

/// One sender.
pub(super) struct Sender {
    index: u32,
    call: Call,
    topic: Arc<str>,
    hold: Hold,
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

    /// Sends a message, and commits it where it waits for that.
    async fn send(&mut self, due: Instant) -> Result<(), Failure> {
        let id = self.run.ledger.next_id();
        let mut outcome = self.repeat(&self.sending(id, due)).await?;
        if self.hold == Hold::Transaction
            && let Some((transaction_id, _)) = outcome
        {
            outcome = self.repeat(&Step::Commit { id, transaction_id }).await?;
        }
        if let Some((_, done)) = outcome {
            self.run.ledger.acknowledge(&id);
            if self.run.counts(done) {
                self.run.sends.succeed(done, done - due);
            }
        }
        Ok(())
    }

    fn sending(&self, id: [u8; message_id::LEN], due: Instant) -> Step {
        let number = self.templates.next.fetch_add(1, Ordering::Relaxed) % self.templates.all.len();
        let (template, stamp) = (self.templates.all[number].clone(), self.run.nanos(due));
        let Hold::Delay(delay) = self.hold else {
            return Step::Send(Filled { template, id, stamp, time: 0 }, None);
        };
        // The history must not call early what is not: its own clock is read first.
        let on_run = self.run.nanos(Instant::now() + delay);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + delay;
        Step::Send(Filled { template, id, stamp, time: at.as_nanos() as u64 }, Some(on_run))
    }

    /// Makes a call until it is OK: the transaction it opened, if any, and when. None if the run was over first.
    async fn repeat(&mut self, step: &Step) -> Result<Option<(String, Instant)>, Failure> {
        let mut pause = PAUSES.0;
        let mut fate = step.fate_before();
        loop {
            let invoked = Instant::now();
            let outcome = self.attempt(step).await;
            let now = Instant::now();
            let times = (invoked, now);
            self.run.history.record(|| self.event(step, times, outcome.as_ref().err()));
            let error = match outcome {
                Ok(transaction_id) => return Ok(Some((transaction_id, now))),
                Err(error) => error,
            };
            if self.run.counts(now) {
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
                    self.run.ledger.doubt(step.id());
                }
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn event(&self, step: &Step, times: (Instant, Instant), error: Option<&CallError>) -> Event {
        let (run, client) = (&self.run, self.index);
        match step {
            Step::Commit { id, .. } => Event::commit(run, client, id, times, error),
            Step::Send(message, due_ns) => {
                let event = Event::send(run, client, &message.id, times, error);
                match due_ns {
                    Some(due_ns) => event.due(*due_ns),
                    None if self.hold == Hold::Transaction => event.half(),
                    None => event,
                }
            }
        }
    }

    async fn attempt(&mut self, step: &Step) -> Result<String, CallError> {
        match step {
            Step::Send(message, _) => {
                let transaction_id = self.attempt_send(message.clone()).await?.transaction_id;
                if self.hold == Hold::Transaction && transaction_id.is_empty() {
                    return Err(CallError::Incomplete("transaction id"));
                }
                Ok(transaction_id)
            }
            Step::Commit { id, transaction_id } => {
                let id = String::from_utf8_lossy(id);
                let commit = pb::TransactionResolution::Commit;
                self.client.end(&self.topic, &id, transaction_id, commit).await.map(|()| String::new())
            }
        }
    }

    async fn attempt_send(&mut self, message: Filled) -> Result<pb::SendResultEntry, CallError> {
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

impl Step {
    fn id(&self) -> &[u8; message_id::LEN] {
        match self {
            Self::Send(Filled { id, .. }, _) | Self::Commit { id, .. } => id,
        }
    }

    /// What is known before the first attempt: a message to commit is stored already, whatever comes of its commit.
    fn fate_before(&self) -> Fate {
        match self {
            Self::Send(..) => Fate::NotDone,
            Self::Commit { .. } => Fate::Unknown,
        }
    }
}
