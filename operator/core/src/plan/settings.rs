//! Settings that the shard carries and no pod: how many copies producers need, how a record is flushed, and a human's word
//! that data may be lost.

use kube::ResourceExt as _;
use rq_core::config::{Change, Config, FlushMode, FlushPolicy};
use rq_core::ids::Epoch;

use super::view::View;
use super::{Action, Note};
use crate::queue::spec::FlushMode as Asked;

/// Annotation of a queue: `POD/0@EPOCH`. Whoever sets it accepts that acknowledged messages are lost.
pub const ACCEPT_DATA_LOSS: &str = "reliablequeue.dev/accept-data-loss";

/// Another number of copies that producers need. More of them by default only when they are there: a queue that grows goes
/// on meanwhile. A number that the user gave holds at once.
pub(super) fn min_in_sync(view: &View<'_>) -> Option<Action> {
    let config = view.config()?;
    let spec = &view.observed.queue.spec;
    let wanted = u8::try_from(spec.min_in_sync()).ok()?;
    let early = wanted > config.min_in_sync
        && spec.replication.min_in_sync.is_none()
        && config.in_sync.len() < usize::from(wanted);
    (wanted != config.min_in_sync && !early).then_some(Action::Write(Change::SetMinInSync(wanted)))
}

/// Another flush mode, where the master's log says one that is not the spec's. While it changes, nothing is asked.
pub(super) fn flush_mode(view: &View<'_>) -> Option<Action> {
    let spec = &view.observed.queue.spec;
    let wanted = match spec.flush_mode {
        Asked::Sync => FlushPolicy { mode: FlushMode::Sync, interval_ms: 0 },
        Asked::Async => {
            let interval = spec.flush_interval().duration().ok()?;
            FlushPolicy { mode: FlushMode::Async, interval_ms: u32::try_from(interval.as_millis()).ok()? }
        }
    };
    let there = view.serving_master()?.told?.flush_policy?;
    let same = match wanted.mode {
        FlushMode::Sync => there.mode == FlushMode::Sync,
        FlushMode::Async => there == wanted,
    };
    // A configuration that was put back may be older than the log.
    let in_force = view.config()?.flush_mode == wanted.mode;
    (!same || !in_force).then_some(Action::SetFlushMode(wanted))
}

/// A mastership of a copy that may lack acknowledged messages: only if a human named this pod and the epoch that ends, and no
/// copy that has everything answers.
pub(super) fn accepted_loss(view: &View<'_>, notes: &mut Vec<Note>) -> Option<Action> {
    let config = view.config()?;
    let accepted = Accepted::read(view.observed.queue.annotations().get(ACCEPT_DATA_LOSS)?)?;
    let pod = view.pods.iter().find(|pod| pod.name == accepted.pod)?;
    let told = pod.told.filter(|told| !told.halted && !config.in_sync.contains_key(&told.store))?;
    if accepted.epoch != config.epoch || in_sync_answers(view, config) {
        return None;
    }
    notes.push(Note {
        warning: true,
        reason: "DataLossAccepted".to_owned(),
        action: "Promote".to_owned(),
        note: format!(
            "{} becomes master though it may lack acknowledged messages: no copy in sync answers, and this was accepted for epoch {}",
            pod.name, config.epoch
        ),
    });
    Some(Action::Write(Change::AcceptDataLoss { seen: config.epoch, to: told.store, session: told.session }))
}

fn in_sync_answers(view: &View<'_>, config: &Config) -> bool {
    let answers = view.observed.replicas.iter().filter_map(rq_overseer::Seen::answer);
    answers.into_iter().any(|told| config.in_sync.contains_key(&told.store))
}

/// What a human accepted.
#[derive(PartialEq, Eq, Debug)]
struct Accepted<'a> {
    pod: &'a str,
    epoch: Epoch,
}

impl<'a> Accepted<'a> {
    /// Exactly as `kubectl rq promote` writes it; anything else is no word of anybody.
    fn read(text: &'a str) -> Option<Self> {
        let (pod, rest) = text.split_once('/')?;
        let number = rest.strip_prefix("0@")?;
        let epoch: u32 = number.parse().ok()?;
        (!pod.is_empty() && epoch.to_string() == number).then_some(Self { pod, epoch: Epoch(epoch) })
    }
}
