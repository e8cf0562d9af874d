//! The consumers: each receives batches and acknowledges every message by a call of its own, with a bounded number
//! of messages received and not yet acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rq_proto::rocketmq as pb;
use tokio::sync::Semaphore;

use crate::bench::history::Event;
use crate::bench::prebuilt::stamp;
use crate::bench::run::Run;
use crate::client::{CallError, Client, Filter, Receive};
use crate::failure::Failure;

/// Most messages of one receive, as brokers allow.
const BATCH: u32 = 32;
/// How long the broker may hold a receive: short, so that the end of the run is noticed.
const WAIT: Duration = Duration::from_secs(1);
/// Pause after a failed receive or ack.
const PAUSE: Duration = Duration::from_millis(50);

/// What a consumer does.
pub(super) struct Consumer {
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) filter: Filter,
    pub(super) inflight: u32,
    pub(super) invisible: Duration,
}

/// Receives and acknowledges until the run is over. An error that will not pass ends the run.
pub(super) async fn consume(
    client: Client,
    index: u32,
    consumer: Consumer,
    run: Arc<Run>,
) -> Result<(), Failure> {
    let inflight = Arc::new(Semaphore::new(consumer.inflight as usize));
    let receive = Receive {
        topic: consumer.topic.clone(),
        group: consumer.group.clone(),
        filter: consumer.filter.clone(),
        batch: consumer.inflight.min(BATCH),
        invisible: consumer.invisible,
        wait: WAIT,
    };
    let consumer = Arc::new(consumer);
    while !run.do_consumers_end() {
        // Closed by nobody.
        let Ok(mut room) = inflight.clone().acquire_many_owned(receive.batch).await else { break };
        let invoked = Instant::now();
        let received = client.receive(&receive).await;
        let now = Instant::now();
        let messages = match received {
            Ok(messages) => messages,
            Err(error) => {
                run.history.record(|| Event::failed_receive(&run, index, (invoked, now), &error));
                if run.counts(now) {
                    run.receives.fail(&error);
                }
                if !error.is_temporary() {
                    return Err(error.into());
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        for message in messages {
            note(&run, index, &message, (invoked, now), consumer.invisible);
            let permit = room.split(1);
            let (client, consumer, run) = (client.clone(), consumer.clone(), run.clone());
            tokio::spawn(async move {
                ack(&client, index, &consumer, &message, &run).await;
                drop(permit);
            });
        }
    }
    // All acks under way have ended when all permits are back.
    drop(inflight.acquire_many(consumer.inflight).await);
    Ok(())
}

/// Counts a message that was received.
fn note(
    run: &Run,
    index: u32,
    message: &pb::Message,
    (invoked, now): (Instant, Instant),
    invisible: Duration,
) {
    run.history.record(|| Event::receive(run, index, message, (invoked, now), invisible));
    if let Some(system) = &message.system_properties {
        run.ledger.receive(system.message_id.as_bytes());
        run.lateness.note(system, |due| run.counts(due));
    }
    if run.counts(now) {
        run.receives.succeed(now, now - invoked);
        let since = stamp(&message.body).map(|sent| run.nanos(now).saturating_sub(sent));
        if let Some(nanos) = since {
            run.end_to_end.succeed(now, Duration::from_nanos(nanos));
        }
    }
}

/// Acknowledges a message, again until the broker decides: an ack may always be repeated.
async fn ack(client: &Client, index: u32, consumer: &Consumer, message: &pb::Message, run: &Run) {
    let begun = Instant::now();
    loop {
        let invoked = Instant::now();
        let outcome = client.ack(&consumer.group, &consumer.topic, message).await;
        let now = Instant::now();
        run.history.record(|| Event::ack(run, index, message, (invoked, now), outcome.as_ref().err()));
        let counts = run.counts(now);
        match outcome {
            Ok(()) if counts => return run.acks.succeed(now, now - begun),
            Ok(()) => return,
            Err(error) => {
                if counts {
                    run.acks.fail(&error);
                }
                // Past the invisible time somebody else has the message.
                if !error.is_temporary() || begun.elapsed() > consumer.invisible {
                    return;
                }
                let overloaded = matches!(error, CallError::Refused { .. });
                tokio::time::sleep(if overloaded { PAUSE } else { PAUSE * 4 }).await;
            }
        }
    }
}
