//! The reconciler: carries out what users ask for, one queue at a time in four steps: observe, plan, execute, report. It runs
//! in the one replica of the operator that holds the lease. What it decides is pure ([`rq_operator_core::plan`]).

mod execute;
mod losses;
mod observe;
mod report;
mod triggers;

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt as _};
use rq_kubernetes::StoreError;
use rq_operator_core::plan::{Release, plan};
use rq_operator_core::queue::ReliableQueue;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::losses::Losses;
use crate::certificates::CertificateError;
use crate::clock::Clock;
use crate::detector::Board;
use crate::events::Teller;
use crate::key::QueueKey;
use crate::metrics::Metrics;
use crate::peers::PeerError;

/// Pause before a queue is looked at again after an error; it doubles with each further one.
const BACKOFF: Duration = Duration::from_millis(500);
/// The longest such pause.
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// One look may take so long: an API server that does not answer must not hold a queue up for ever.
const LOOK_PATIENCE: Duration = Duration::from_mins(1);

/// What the reconciler works with.
pub(crate) struct Context {
    /// For everything but configurations.
    pub(crate) client: Client,
    /// For those.
    pub(crate) without_retries: Client,
    /// What this operator was released with.
    pub(crate) release: Release,
    /// The clock of the failure detector.
    pub(crate) clock: Clock,
    /// What that has found.
    pub(crate) board: Arc<Board>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Tells people.
    pub(crate) teller: Teller,
    /// Which configurations it has found lost.
    pub(crate) losses: Losses,
}

/// A step failed. The next look begins anew.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The API server said no, or could not be reached.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The configuration could not be changed.
    #[error(transparent)]
    Shard(#[from] StoreError),
    /// A certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The master could not be told something.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The API server does not take what the spec makes of an object.
    #[error("the API server refuses {0}")]
    Refused(String),
    /// What was to be changed has changed meanwhile.
    #[error("{0} has changed meanwhile")]
    Changed(&'static str),
    /// What a plan acts on was not there when it was made.
    #[error("there is no {0} to act on")]
    Missing(&'static str),
    /// It took too long.
    #[error("a look took longer than {} s", LOOK_PATIENCE.as_secs())]
    TooLong,
}

/// Reconciles while this replica holds the lease, until `stop`.
pub(crate) async fn run(
    context: Arc<Context>,
    mut is_leader: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            led = is_leader.wait_for(|leads| *leads) => if led.is_err() { return },
            () = stop.cancelled() => return,
        }
        tracing::info!("this replica carries out changes");
        context.metrics.leader.set(1);
        context.losses.forget_all();
        tokio::select! {
            () = control(context.clone()) => {}
            // What is under way is dropped: another replica may be at it.
            _ = is_leader.wait_for(|leads| !*leads) => {}
            () = stop.cancelled() => {}
        }
        context.metrics.leader.set(0);
        tracing::info!("this replica carries out changes no longer");
    }
}

async fn control(context: Arc<Context>) {
    let failures = Arc::new(triggers::Failures::default());
    let (kept, again) = (failures.clone(), failures);
    let looks = triggers::controller(&context.client, &context.board).run(
        move |queue, context: Arc<Context>| {
            let failures = kept.clone();
            async move {
                // Large: it holds every object of a queue.
                let looked = Box::pin(look(&queue, &context)).await;
                if looked.is_ok() {
                    failures.forget(&QueueKey::from(&*queue));
                }
                looked
            }
        },
        move |queue, error, context| {
            let key = QueueKey::from(&*queue);
            context.metrics.errors.get_or_create(&(&key).into()).inc();
            let pause = again.pause(key.clone(), BACKOFF, BACKOFF_MAX);
            let cause = error.source().map(tracing::field::display);
            tracing::warn!(queue = %key, %error, cause, again_in_ms = pause.as_millis(), "a look failed");
            Action::requeue(pause)
        },
        context,
    );
    looks
        .for_each(|looked| async move {
            match looked {
                // Told where it was handled; and of a queue that is gone there is nothing to tell.
                Ok(_)
                | Err(
                    kube::runtime::controller::Error::ReconcilerFailed(..)
                    | kube::runtime::controller::Error::ObjectNotFound(_),
                ) => {}
                Err(error) => tracing::warn!(%error, "the controller stumbled"),
            }
        })
        .await;
}

/// One look at a queue.
async fn look(queue: &ReliableQueue, context: &Context) -> Result<Action, Error> {
    let (key, began) = (QueueKey::from(queue), Instant::now());
    context.metrics.reconciles.get_or_create(&(&key).into()).inc();
    let steps = async {
        let Some((observed, heard)) = Box::pin(observe::observe(context, &key)).await? else {
            context.losses.forget(&key);
            return Ok(Action::await_change());
        };
        let mut plan = plan(&observed, &context.release);
        context.losses.hold_back(&key, &observed, &heard, &mut plan);
        let executed = execute::execute(context, &observed, &plan.actions).await;
        if let Ok(refusals) = &executed
            && !refusals.is_empty()
        {
            plan = plan.refused(&observed, &context.release, refusals);
        }
        // What is seen is reported also where an action failed.
        report::report(context, &observed, &plan).await?;
        match executed?.into_iter().next() {
            Some(refusal) => Err(Error::Refused(refusal)),
            None => Ok(Action::requeue(plan.look_again)),
        }
    };
    let looked = tokio::time::timeout(LOOK_PATIENCE, steps).await.unwrap_or(Err(Error::TooLong));
    context.metrics.took(began.elapsed());
    tracing::debug!(queue = %key, uid = queue.uid(), ms = began.elapsed().as_millis(), "looked");
    looked
}

#[cfg(test)]
mod tests;
