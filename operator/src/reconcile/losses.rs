//! The memory of configurations that are lost. What brokers say is up to a moment old: where a configuration is lost now, it
//! may be from before the last change that was made. It is put back only after two looks, and by answers to questions that
//! were put after the first of them: nothing was changed since.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rq_core::config::Config;
use rq_operator_core::observed::Observed;
use rq_operator_core::plan::{Action, Plan};
use rq_overseer::Seen;

use super::observe::Heard;
use crate::key::QueueKey;

/// The looks are so long apart at least, in ms.
const APART_MS: u64 = 2_000;

/// Reasons by which people are told of it.
const TOLD: [&str; 2] = ["ConfigRebuilt", "DataLossAccepted"];

/// What is to be put back, by queue.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<BTreeMap<QueueKey, Loss>>);

/// A loss that was seen.
#[derive(Clone, PartialEq, Debug)]
struct Loss {
    /// What is to be put back.
    config: Config,
    /// When that was found first, in ms.
    since: u64,
}

impl Losses {
    /// Takes out of a plan what is too early: a configuration that is to be put back, and what people are told of it.
    pub(super) fn hold_back(&self, key: &QueueKey, observed: &Observed, heard: &Heard, plan: &mut Plan) {
        let rebuilt = plan.actions.iter().find_map(|action| match action {
            Action::Rebuild { config, .. } => Some(config.clone()),
            _ => None,
        });
        let Some(config) = rebuilt else {
            self.forget(key);
            return;
        };
        if self.is_certain(key, config, observed, heard) {
            return;
        }
        plan.actions.retain(|action| !matches!(action, Action::Rebuild { .. }));
        // It is told when it is done.
        plan.events.retain(|note| !TOLD.contains(&note.reason.as_str()));
    }

    /// Whether this loss was seen before, and all answers are from after that.
    fn is_certain(&self, key: &QueueKey, config: Config, observed: &Observed, heard: &Heard) -> bool {
        let mut losses = self.lock();
        let now = observed.now_ms;
        let since = match losses.get(key) {
            Some(loss) if loss.config == config => loss.since,
            _ => {
                losses.insert(key.clone(), Loss { config, since: now });
                return false;
            }
        };
        let is_newer = |seen: &Seen| heard.get(&seen.name).is_some_and(|asked| *asked > since);
        now.saturating_sub(since) >= APART_MS
            && observed.replicas.iter().filter(|seen| seen.answer().is_some()).all(is_newer)
    }

    /// It is not lost, or not any more.
    pub(super) fn forget(&self, key: &QueueKey) {
        self.lock().remove(key);
    }

    /// What was seen by an earlier leadership is of no use: others have acted meanwhile.
    pub(super) fn forget_all(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<QueueKey, Loss>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
