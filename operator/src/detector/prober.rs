//! Asks one broker again and again what it is.

use std::time::Duration;

use rq_proto::reliablequeue as pb;
use rq_proto::reliablequeue::replica_client::ReplicaClient;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::transport::Channel;

use super::pods::Process;
use crate::clock::Clock;
use crate::peers::Identity;

/// How often a broker is asked.
const EVERY: Duration = Duration::from_millis(250);
/// A broker that has not answered after so long is silent.
const PATIENCE: Duration = Duration::from_millis(500);

/// What came of a question.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Answer {
    /// It answered.
    Said(Box<pb::ReplicaStatus>),
    /// It did not answer in time.
    Silent,
}

/// Of a replica, by one of its processes.
#[derive(Debug)]
pub(super) struct Answered {
    /// Which replica.
    pub(super) name: String,
    /// The process that was asked.
    pub(super) process: Process,
    /// When it was asked, in ms.
    pub(super) asked: u64,
    /// What came.
    pub(super) answer: Answer,
}

/// Asks one process until it is dropped.
pub(super) struct Prober {
    /// Which.
    pub(super) process: Process,
    _task: AbortOnDropHandle<()>,
}

/// Whom to ask, and how.
#[derive(Clone)]
pub(super) struct Question {
    /// What the replica is called, and its queue: whoever else has got its address is not believed.
    pub(super) name: String,
    /// Name of its queue.
    pub(super) cluster: String,
    /// With what the operator shows who it is.
    pub(super) identity: watch::Receiver<Option<Identity>>,
    /// The clock of the detector.
    pub(super) clock: Clock,
    /// Where answers go.
    pub(super) answers: mpsc::Sender<Answered>,
}

impl Prober {
    /// Asks from now on.
    pub(super) fn start(question: Question, process: Process) -> Self {
        let asked = process.clone();
        Self { process, _task: AbortOnDropHandle::new(tokio::spawn(question.ask(asked))) }
    }
}

impl Question {
    async fn ask(mut self, process: Process) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut client = self.client(&process);
        loop {
            ticks.tick().await;
            if self.identity.has_changed().unwrap_or(false) {
                client = self.client(&process);
            }
            let asked = self.clock.now();
            let answer = match self.describe(client.as_mut()).await {
                Ok(status) => Answer::Said(Box::new(status)),
                Err(error) => {
                    tracing::trace!(replica = self.name, address = process.address, %error, "no answer");
                    Answer::Silent
                }
            };
            let answered = Answered { name: self.name.clone(), process: process.clone(), asked, answer };
            if self.answers.send(answered).await.is_err() {
                return;
            }
        }
    }

    fn client(&mut self, process: &Process) -> Option<ReplicaClient<Channel>> {
        let identity = self.identity.borrow_and_update();
        match identity.as_ref()?.channel(&process.address) {
            Ok(channel) => Some(ReplicaClient::new(channel)),
            Err(error) => {
                tracing::warn!(replica = self.name, %error, "the certificate of the queue cannot be used");
                None
            }
        }
    }

    async fn describe(
        &self,
        client: Option<&mut ReplicaClient<Channel>>,
    ) -> Result<pb::ReplicaStatus, Status> {
        let client = client.ok_or_else(|| Status::unauthenticated("no certificate yet"))?;
        let answer = tokio::time::timeout(PATIENCE, client.describe(pb::DescribeReplicaRequest {})).await;
        let status = answer.map_err(|_| Status::deadline_exceeded("no answer"))??.into_inner();
        if status.name == self.name && status.cluster == self.cluster {
            Ok(status)
        } else {
            Err(Status::not_found(format!("the broker there is {} of {}", status.name, status.cluster)))
        }
    }
}
