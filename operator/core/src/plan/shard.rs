//! The `QueueShard`: that there is one, whose it is, and what becomes of it where it was lost. It is formed by the failure
//! detector, and changed by the brokers.

use kube::ResourceExt as _;

use super::view::{ShardState, View};
use super::{Action, Note, loss};

/// Makes the `QueueShard`, or brings back what the brokers have kept of it; all of them, or those with which a human makes do.
pub(super) fn keep(view: &View<'_>, notes: &mut Vec<Note>) -> Option<Action> {
    match &view.shard {
        ShardState::New => Some(Action::CreateShard { owned: view.owned() }),
        ShardState::Lost => {
            let Some(config) = rq_overseer::kept(&view.observed.replicas).cloned() else {
                let config = loss::rebuilt(view, notes)?;
                return Some(Action::Rebuild { config, owned: view.owned() });
            };
            notes.push(Note {
                warning: true,
                reason: "ConfigRebuilt".to_owned(),
                action: "Rebuild".to_owned(),
                note: format!(
                    "the QueueShard was lost or is older than what the brokers know: version {} is put back as they have kept it",
                    config.version
                ),
            });
            Some(Action::Rebuild { config, owned: view.owned() })
        }
        ShardState::Unknown | ShardState::Unformed | ShardState::Malformed | ShardState::Formed(_) => None,
    }
}

/// Has it go with the queue, or stay with the volumes.
pub(super) fn own(view: &View<'_>) -> Option<Action> {
    let shard = view.observed.shard.as_ref()?;
    let uid = view.observed.queue.uid()?;
    let owned = shard.owner_references().iter().any(|owner| owner.uid == uid);
    (owned != view.owned()).then(|| Action::OwnShard { owned: view.owned() })
}
