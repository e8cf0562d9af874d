//! Tells the master what came of checks.

use std::time::Duration;

use rq_core::ids::HeldId;
use rq_core::queue::request::Checked;
use rq_proto::reliablequeue as pb;
use tokio::sync::mpsc;

use super::{Outcome, REPORTS_MAX};
use crate::grpc::Gateway;

/// How long one attempt at a report may take.
const REPORTED_WITHIN: Duration = Duration::from_secs(2);
/// Attempts at a report, with a pause between them that doubles: 3 s where the master refuses, as while another one takes over,
/// and 13 s where it does not answer. Another gateway gets a half message 20 s after it was taken.
const ATTEMPTS: u32 = 5;
/// The first pause.
const PAUSE: Duration = Duration::from_millis(200);

/// Tells the master, as many at once as came meanwhile. A report that fails again and again is forgotten: its half messages are
/// asked about again.
pub(super) async fn report(gateway: &Gateway, mut reports: mpsc::Receiver<Outcome>) {
    loop {
        let mut outcomes = Vec::new();
        let count = tokio::select! {
            count = reports.recv_many(&mut outcomes, REPORTS_MAX) => count,
            () = gateway.stopping.cancelled() => return,
        };
        if count == 0 {
            return;
        }
        let (asked, unasked): (Vec<Outcome>, Vec<Outcome>) =
            outcomes.into_iter().partition(|outcome| outcome.asked);
        gateway.metrics.checks.inc_by(asked.len() as u64);
        gateway.metrics.checks_failed.inc_by(unasked.len() as u64);
        let halves = |outcomes: Vec<Outcome>| outcomes.into_iter().map(|outcome| outcome.half);
        let checked = Checked { asked: halves(asked).collect(), unasked: halves(unasked).collect() };
        tokio::select! {
            () = gateway.stopping.cancelled() => return,
            told = until_told(|| tell(gateway, checked.clone())) => if let Err(error) = told {
                let count = checked.asked.len() + checked.unasked.len();
                tracing::warn!(%error, count, "checks of transactions were not reported: they are made again");
            }
        }
    }
}

/// Tells until it is heard, or often enough. What is told twice counts once.
async fn until_told<F>(mut tell: impl FnMut() -> F) -> Result<(), tonic::Status>
where
    F: Future<Output = Result<(), tonic::Status>>,
{
    for attempt in 0.. {
        let late = |_| Err(tonic::Status::deadline_exceeded("no answer in time"));
        let told = tokio::time::timeout(REPORTED_WITHIN, tell()).await.unwrap_or_else(late);
        match (told, pause_after(attempt)) {
            (Err(_), Some(pause)) => tokio::time::sleep(pause).await,
            (told, _) => return told,
        }
    }
    Ok(())
}

/// The pause after an attempt that failed, counted from 0. None after the last one.
fn pause_after(attempt: u32) -> Option<Duration> {
    (attempt + 1 < ATTEMPTS).then(|| PAUSE * 2_u32.pow(attempt))
}

async fn tell(gateway: &Gateway, checked: Checked) -> Result<(), tonic::Status> {
    match &gateway.master {
        Some(master) if !gateway.engine.view().borrow().leads() => {
            let ids = |halves: Vec<HeldId>| halves.into_iter().map(|half| half.0).collect();
            let (asked, unasked) = (ids(checked.asked), ids(checked.unasked));
            master.report_checks(pb::ReportChecksRequest { asked, unasked }).await
        }
        _ => {
            let told = gateway.engine.checked(checked).await;
            told.map_err(|error| tonic::Status::unavailable(error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How often a master is told that refuses so often first.
    async fn told(refusals: u32) -> u32 {
        let attempts = Cell::new(0);
        let told = until_told(|| {
            attempts.set(attempts.get() + 1);
            let refused = attempts.get() <= refusals;
            async move { if refused { Err(tonic::Status::unavailable("no master")) } else { Ok(()) } }
        });
        told.await.unwrap();
        attempts.get()
    }

    #[tokio::test]
    async fn a_report_that_fails_is_made_again_until_it_is_heard() {
        assert_eq!(told(0).await, 1);
        assert_eq!(told(2).await, 3);
    }

    #[test]
    fn a_report_is_given_up_before_another_gateway_asks() {
        let pauses: Duration = (0..ATTEMPTS).filter_map(pause_after).sum();
        assert_eq!(pauses, Duration::from_secs(3));
        assert!(pauses + REPORTED_WITHIN * ATTEMPTS < Duration::from_secs(15));
        assert_eq!(pause_after(ATTEMPTS - 1), None);
    }
}
