//! The lease: of all replicas of the operator, one carries out changes. Whether it does is told to whoever asks; the failure
//! detector looks and promotes without.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::args::Args;

/// A replica that has vanished is succeeded after so long, in seconds.
const LEASE_SECONDS: u64 = 15;
/// The holder renews its lease so long before its end, in seconds.
const GRACE_SECONDS: u64 = 5;
/// Pause before the API server is asked again.
const AGAIN: Duration = Duration::from_secs(2);
/// The lease is given back within this time, or it ends by itself.
const RELEASE_PATIENCE: Duration = Duration::from_secs(3);

/// Tries to hold the lease until `stop`, and tells whether it does. Gives it back at the end, so that another replica goes
/// on at once.
pub(crate) async fn elect(client: Client, args: &Args, leads: watch::Sender<bool>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = hold(client.clone(), args, &leads, &stop).await {
            tracing::warn!(%error, lease = args.lease, "the lease cannot be held");
        }
        leads.send_replace(false);
        // Completes early only to end.
        let _ = tokio::time::timeout(AGAIN, stop.cancelled()).await;
    }
}

async fn hold(
    client: Client,
    args: &Args,
    leads: &watch::Sender<bool>,
    stop: &CancellationToken,
) -> Result<(), LeaseManagerError> {
    let lease = LeaseManagerBuilder::new(client, &args.lease)
        .with_namespace(&args.pod_namespace)
        .with_identity(&args.pod_name)
        .with_duration(LEASE_SECONDS)
        .with_grace(GRACE_SECONDS)
        .build();
    let lease = tokio::select! {
        lease = lease => lease?,
        () = stop.cancelled() => return Ok(()),
    };
    let (mut held, task) = lease.watch().await;
    loop {
        leads.send_if_modified(|leads| {
            let holds = *held.borrow_and_update();
            std::mem::replace(leads, holds) != holds
        });
        tokio::select! {
            changed = held.changed() => if changed.is_err() { break },
            () = stop.cancelled() => break,
        }
    }
    // Nobody acts by the lease any more before it is given back.
    leads.send_replace(false);
    drop(held);
    match tokio::time::timeout(RELEASE_PATIENCE, task).await {
        Ok(Ok(released)) => released.map(drop),
        Ok(Err(_)) | Err(_) => Ok(()),
    }
}
