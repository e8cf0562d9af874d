//! Tells what was seen: in the queue's status, written only where it differs, and as events.

use kube::api::{Api, Patch, PatchParams};
use kube::{Resource as _, ResourceExt as _};
use rq_operator_core::children::MANAGER;
use rq_operator_core::observed::Observed;
use rq_operator_core::plan::Plan;
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::queue::status::ReliableQueueStatus;
use serde_json::json;

use super::{Context, Error};

/// Writes the status of a plan, and tells its events.
pub(super) async fn report(context: &Context, observed: &Observed, plan: &Plan) -> Result<(), Error> {
    for note in &plan.events {
        context.teller.tell(&observed.queue, note.clone());
    }
    if !differs(observed.queue.status.as_ref(), &plan.status) {
        return Ok(());
    }
    let name = observed.queue.name_any();
    let queues = Api::<ReliableQueue>::namespaced(
        context.client.clone(),
        &observed.queue.namespace().unwrap_or_default(),
    );
    let status = json!({
        "apiVersion": ReliableQueue::api_version(&()),
        "kind": ReliableQueue::kind(&()),
        "metadata": { "name": name },
        "status": plan.status,
    });
    let force = PatchParams::apply(MANAGER).force();
    queues.patch_status(&name, &force, &Patch::Apply(status)).await?;
    context.metrics.wrote("status");
    Ok(())
}

/// Whether they differ as they are written: a time is kept with fewer digits than a clock has.
fn differs(there: Option<&ReliableQueueStatus>, wanted: &ReliableQueueStatus) -> bool {
    match (serde_json::to_value(there), serde_json::to_value(wanted)) {
        (Ok(there), Ok(wanted)) => there != wanted,
        _ => true,
    }
}
