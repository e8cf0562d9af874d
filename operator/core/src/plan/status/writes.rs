//! Whether producers get their answers.

use rq_overseer::Trouble;

use crate::conditions::ConditionType::WritesAvailable;
use crate::conditions::{Finding, Reason};

use super::view::{Standing, View};
use super::{fails, holds, unknown};

pub(super) fn available(view: &View<'_>) -> Finding {
    match view.serving() {
        Some(master) => served(view, master),
        None => unserved(view),
    }
}

fn served(view: &View<'_>, master: &str) -> Finding {
    if let (Some(why), Some(missing)) = (&view.distrust, view.waits_for(master)) {
        let message = format!(
            "{master} is master and waits for {missing}, which is in its in-sync set: without a configuration nobody can be taken out of that. {why}; if {missing} is gone for good, `kubectl rq promote {} {master} --accept-data-loss 0@EPOCH` goes on without it",
            view.name()
        );
        return fails(WritesAvailable, Reason::ConfigRegressed, message);
    }
    if let Some(config) = view.config.as_ref().filter(|config| !config.enough_in_sync()) {
        let (copies, needed) = (config.in_sync.len(), config.min_in_sync);
        let message = format!(
            "{copies} of the {needed} copies that replication.minInSync demands are in sync, so that producers are refused; consumers go on. {}",
            view.hindrances().map_or_else(
                || "The others are catching up".to_owned(),
                |told| format!("Bring the others back: {told}")
            )
        );
        return fails(WritesAvailable, Reason::NotEnoughInSync, message);
    }
    if view.told(master).is_some_and(|told| !told.accepts_messages) {
        let message = "a volume of a copy in sync is too full for new messages, so that producers are refused; consumers go on. Raise storage.size, or have consumer groups read what they owe: `rq status` names those that hold most";
        return fails(WritesAvailable, Reason::StorageFull, message.to_owned());
    }
    holds(WritesAvailable, format!("{master} is master and takes messages"))
}

fn unserved(view: &View<'_>) -> Finding {
    if let Some(why) = &view.distrust {
        let message = match view.newest_kept() {
            Some(kept) => format!(
                "{why}. It comes back by itself once every replica that it knows answers; if one never will, `kubectl rq promote {} POD --accept-data-loss 0@{}` goes on with what POD has",
                view.name(),
                kept.epoch
            ),
            None => why.clone(),
        };
        return fails(WritesAvailable, Reason::ConfigRegressed, message);
    }
    let Some(config) = &view.config else {
        let waits =
            view.hindrances().unwrap_or_else(|| "all replicas run, the first becomes master".to_owned());
        return fails(WritesAvailable, Reason::Forming, format!("the queue has no master yet: {waits}"));
    };
    let Some(master) = view.appointed() else {
        let message = "the QueueShard names a master that is no member of it: restore it as it was";
        return fails(WritesAvailable, Reason::NoMaster, message.to_owned());
    };
    match view.standing(master) {
        Standing::Up if view.told(master).is_some() => {
            let message = format!("{master} is becoming master in epoch {}", config.epoch);
            fails(WritesAvailable, Reason::Promoting, message)
        }
        // A pod that nobody has asked yet: it may serve.
        Standing::Up => {
            let message = format!("{master} is to be master, and the operator has not heard of it yet");
            unknown(WritesAvailable, Reason::NotReconciled, message)
        }
        Standing::Down(why) if view.is_heard(master) => {
            let message = format!("{master} is master and its slaves hear it, but for the operator it {why}");
            unknown(WritesAvailable, Reason::NoMaster, message)
        }
        Standing::Down(why) => no_master(view, &format!("the master {master} {why}")),
        Standing::Terminating => no_master(view, &format!("the pod of the master {master} is being deleted")),
    }
}

fn no_master(view: &View<'_>, lost: &str) -> Finding {
    let then = match &view.observed.trouble {
        Some(Trouble::Stalled(why)) => view.stalled(*why),
        Some(trouble) => trouble.to_string(),
        None if view.is_manual() => {
            "failover.mode is Manual: bring the master back, or set failover.mode to Automatic, so that a slave in sync takes over"
                .to_owned()
        }
        None => "a slave of the in-sync set takes over".to_owned(),
    };
    fails(WritesAvailable, Reason::NoMaster, format!("{lost}; {then}"))
}
