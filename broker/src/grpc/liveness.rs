//! `Heartbeat` and `NotifyClientTermination`, and the vouching for the living to the engine.

use std::time::{Duration, Instant};

use rq_core::queue::request::{Request, Vouch};
use rq_proto::rocketmq::{
    HeartbeatRequest, HeartbeatResponse, NotifyClientTerminationRequest, NotifyClientTerminationResponse,
    Resource,
};

use super::Gateway;
use super::call::Call;
use super::refusal::{Refusal, ok};
use crate::wire::names;

/// How often the engine is told who lives. Leases are renewed when less than 30 s of their 45 s is left.
const VOUCH_INTERVAL: Duration = Duration::from_secs(5);

/// The call itself is the sign of life. Always OK for a client with an id: nothing needs its settings.
pub(super) fn heartbeat(call: &Call, request: &HeartbeatRequest) -> Result<HeartbeatResponse, Refusal> {
    call.client_id()?;
    check_group(call, request.group.as_ref())?;
    Ok(HeartbeatResponse { status: Some(ok()) })
}

/// What the client still holds with renewal goes to others at once.
pub(super) async fn notify_client_termination(
    gateway: &Gateway,
    call: &Call,
    request: NotifyClientTerminationRequest,
) -> Result<NotifyClientTerminationResponse, Refusal> {
    let client = call.client()?;
    check_group(call, request.group.as_ref())?;
    call.forget();
    gateway.engine.request(Request::Release(client)).await?;
    Ok(NotifyClientTerminationResponse { status: Some(ok()) })
}

/// Go sends an empty group for producers: that is none.
fn check_group(call: &Call, group: Option<&Resource>) -> Result<(), Refusal> {
    if let Some(group) = group.filter(|group| !group.name.is_empty()) {
        names::group(Some(group), call.namespace())?;
    }
    Ok(())
}

/// Tells the engine every few seconds who lives, until the broker stops.
pub(crate) async fn vouch(gateway: Gateway) {
    let mut tick = tokio::time::interval(VOUCH_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = gateway.stopping.cancelled() => return,
        }
        let clients = gateway.clients.live(Instant::now());
        if clients.is_empty() {
            continue;
        }
        let vouched = match &gateway.master {
            Some(master) if !gateway.engine.view().borrow().leads() => {
                master.vouch(clients).await.map_err(|status| status.message().to_owned())
            }
            _ => {
                let vouched = gateway.engine.request(Request::Vouch(Vouch { clients })).await;
                vouched.map(drop).map_err(|error| error.to_string())
            }
        };
        if let Err(error) = vouched {
            tracing::warn!(%error, "the living clients could not be vouched for");
        }
    }
}
