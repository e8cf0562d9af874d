//! Asks producers how their transactions ended. Each process asks those whose Telemetry stream it has: it takes half messages
//! from the master, wherever that is, and tells it which producers were asked. A check counts once the command was written to a
//! stream that lived on for a while; one that nobody could make does not.

mod reports;
mod takes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use rq_core::handle::{self, TransactionId};
use rq_core::ids::HeldId;
use rq_core::queue::request::{Check, Checked, Name, TakeChecks};
use rq_proto::reliablequeue as pb;
use rq_proto::rocketmq::telemetry_command::Command;
use rq_proto::rocketmq::{RecoverOrphanedTransactionCommand, Resource, TelemetryCommand};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use self::takes::{Taken, Takes};
use super::Gateway;
use super::refusal::ok;
use crate::clients::{Order, Producers};
use crate::engine::EngineError;
use crate::wire::deliver::{self, Context};

/// Most half messages taken at a time.
const TAKEN_MAX: u32 = 64;
/// An answer of the master ends with the message that passes this many bytes.
const ANSWER_BYTES: usize = 8 << 20;
/// Most producers being asked at a time.
const ASKED_MAX: usize = 4_096;
/// Bytes of commands that may wait for streams.
const WAITING_BYTES: usize = 64 << 20;
/// How long the master is asked for half messages at a time.
const POLL: Duration = Duration::from_secs(20);
/// Pause before it is asked again after a failure.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Clients come and go in crowds: so long is waited for the rest of one.
const SETTLING: Duration = Duration::from_millis(20);
/// How long a stream has to take a command.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);
/// How long it must live after that for the check to count.
const LIVES_FOR: Duration = Duration::from_secs(5);
/// Reports that are made at once.
const REPORTS_MAX: usize = 1_000;

/// What came of asking about a half message.
struct Outcome {
    half: HeldId,
    asked: bool,
}

/// Asks until the broker stops.
pub(crate) async fn ask_producers(gateway: Gateway) {
    let (outcomes, reports) = mpsc::channel(REPORTS_MAX);
    tokio::join!(ask(&gateway, outcomes), reports::report(&gateway, reports));
}

async fn ask(gateway: &Gateway, outcomes: mpsc::Sender<Outcome>) {
    let producers = gateway.clients.producers();
    let room = Arc::new(Semaphore::new(WAITING_BYTES));
    let (mut changes, mut asking, mut takes) = (producers.changes(), JoinSet::new(), Takes::default());
    loop {
        if asking.len() < ASKED_MAX {
            let most = ASKED_MAX - asking.len();
            takes.keep_one(|| {
                let (gateway, topics) = (gateway.clone(), producers.topics());
                (!topics.is_empty()).then_some(async move { wanted(&gateway, topics, most).await })
            });
        }
        let taken = tokio::select! {
            biased;
            () = gateway.stopping.cancelled() => return,
            Some(taken) = takes.next() => taken,
            Some(_) = asking.join_next() => continue,
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(SETTLING).await;
                changes.mark_unchanged();
                takes.renew();
                continue;
            }
        };
        match taken {
            Ok(checks) => {
                for check in checks {
                    let (producers, room) = (Arc::clone(producers), Arc::clone(&room));
                    let outcomes = outcomes.clone();
                    asking.spawn(async move {
                        let half = HeldId(check.half);
                        let asked = is_asked(&producers, room, check).await;
                        // Nobody hears it once the broker stops.
                        let _ = outcomes.send(Outcome { half, asked }).await;
                    });
                }
            }
            Err(error) => {
                tracing::debug!(%error, "no half messages to ask about were taken");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}

/// Waits for half messages of topics that have a producer here.
async fn wanted(gateway: &Gateway, topics: Vec<Name>, most: usize) -> Taken {
    let most = u32::try_from(most).unwrap_or(u32::MAX).min(TAKEN_MAX);
    let wait_ms = POLL.as_millis() as u64;
    match &gateway.master {
        Some(master) if !gateway.engine.view().borrow().leads() => {
            let topics = topics.iter().map(ToString::to_string).collect();
            master.take_checks(pb::TakeChecksRequest { topics, most, wait_ms }).await
        }
        _ => {
            let taken = take(gateway, TakeChecks { topics, most, wait_ms }).await;
            taken.map_err(|error| tonic::Status::unavailable(error.to_string()))
        }
    }
}

/// Asks the next producer of the topic, and tells whether that counts.
async fn is_asked(producers: &Producers, room: Arc<Semaphore>, check: pb::TransactionCheck) -> bool {
    let bytes = u32::try_from(check.command.len()).unwrap_or(u32::MAX);
    let Ok(room) = room.try_acquire_many_owned(bytes) else { return false };
    let Ok(mut command) = RecoverOrphanedTransactionCommand::decode(check.command) else { return false };
    let Some(producer) = producers.next(&check.topic) else { return false };
    if let Some(message) = &mut command.message {
        message.topic = Some(producer.topic);
    }
    let command = TelemetryCommand {
        status: Some(ok()),
        command: Some(Command::RecoverOrphanedTransactionCommand(command)),
    };
    let (order, is_written) = Order::new(command, room);
    producer.order.send(order.clone());
    let written = tokio::select! {
        written = is_written => written.is_ok(),
        () = producer.closed.cancelled() => false,
        () = tokio::time::sleep(WRITTEN_WITHIN) => false,
    };
    if !written {
        order.withdraw();
        return false;
    }
    tokio::time::timeout(LIVES_FOR, producer.closed.cancelled()).await.is_err()
}

/// Takes half messages from this replica, the master, with all that their producers are told.
pub(super) async fn take(
    gateway: &Gateway,
    take: TakeChecks,
) -> Result<Vec<pb::TransactionCheck>, EngineError> {
    let (mut checks, mut left, mut bytes) = (Vec::new(), Vec::new(), 0);
    for check in gateway.engine.take_checks(take).await? {
        if bytes > ANSWER_BYTES {
            left.push(check.half);
            continue;
        }
        match whole(gateway, &check).await {
            Ok(whole) => {
                bytes += whole.command.len();
                checks.push(whole);
            }
            // It stays taken, and comes again after a while: retention may have copied it elsewhere meanwhile.
            Err(error) => {
                let half = check.half.0;
                tracing::error!(%error, half, "a half message could not be read: its producer is not asked yet");
            }
        }
    }
    if !left.is_empty() {
        gateway.engine.checked(Checked { asked: Vec::new(), unasked: left }).await?;
    }
    Ok(checks)
}

async fn whole(gateway: &Gateway, check: &Check) -> anyhow::Result<pb::TransactionCheck> {
    let stored = gateway.engine.read(check.lsn).await?;
    let topic = gateway.topic_name(check.topic).await;
    let (shard, resource) =
        (gateway.options.shard, Resource { resource_namespace: String::new(), name: topic.to_string() });
    let context = Context { shard, topic: &resource, store_host: &gateway.options.store_host, origin: None };
    let transaction = TransactionId { topic: check.topic, half: check.half };
    let command = RecoverOrphanedTransactionCommand {
        message: Some(deliver::undelivered(check.queue, &stored, context)?),
        transaction_id: handle::encode_transaction(shard, transaction),
    };
    let command = Bytes::from(command.encode_to_vec());
    Ok(pb::TransactionCheck { half: check.half.0, topic: topic.to_string(), command })
}
