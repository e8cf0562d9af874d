//! Settings that the shard carries and no pod: how many copies producers need, and how a record is flushed.

use rq_core::config::{Change, FlushMode, FlushPolicy};

use super::Action;
use super::view::View;
use crate::queue::spec::FlushMode as Asked;

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
