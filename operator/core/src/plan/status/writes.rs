//! Whether producers get their answers.

use rq_overseer::Trouble;

use crate::conditions::ConditionType::WritesAvailable;
use crate::conditions::{Finding, Reason};
use crate::plan::loss::newest_kept;

use super::shown::{Shown, Standing};
use super::{fails, holds, unknown};

pub(super) fn available(shown: &Shown<'_>) -> Finding {
    match shown.serving() {
        Some(master) => served(shown, master),
        None => unserved(shown),
    }
}

fn served(shown: &Shown<'_>, master: &str) -> Finding {
    if let (Some(why), Some(missing)) = (&shown.distrust, shown.waits_for(master)) {
        let message = format!(
            "{master} is master and waits for {missing}, which is in its in-sync set: without a configuration nobody can be taken out of that. {why}; if {missing} is gone for good, `kubectl rq promote {} {master} --accept-data-loss 0@EPOCH` goes on without it",
            shown.name()
        );
        return fails(WritesAvailable, Reason::ConfigRegressed, message);
    }
    if let Some(config) = shown.config.as_ref().filter(|config| !config.enough_in_sync()) {
        let (copies, needed) = (config.in_sync.len(), config.min_in_sync);
        let message = format!(
            "{copies} of the {needed} copies that replication.minInSync demands are in sync, so that producers are refused; consumers go on. {}",
            shown.hindrances().map_or_else(
                || "The others are catching up".to_owned(),
                |told| format!("Bring the others back: {told}")
            )
        );
        return fails(WritesAvailable, Reason::NotEnoughInSync, message);
    }
    if shown.told(master).is_some_and(|told| !told.accepts_messages) {
        let message = "a volume of a copy in sync is too full for new messages, so that producers are refused; consumers go on. Raise storage.size, or have consumer groups read what they owe: `rq status` names those that hold most";
        return fails(WritesAvailable, Reason::StorageFull, message.to_owned());
    }
    holds(WritesAvailable, format!("{master} is master and takes messages"))
}

fn unserved(shown: &Shown<'_>) -> Finding {
    if let Some(why) = &shown.distrust {
        let message = match newest_kept(shown.observed) {
            Some(kept) => format!(
                "{why}. It comes back by itself once every replica that it knows answers; if one never will, `kubectl rq promote {} POD --accept-data-loss 0@{}` goes on with what POD has",
                shown.name(),
                kept.epoch
            ),
            None => why.clone(),
        };
        return fails(WritesAvailable, Reason::ConfigRegressed, message);
    }
    let Some(config) = &shown.config else {
        let waits =
            shown.hindrances().unwrap_or_else(|| "all replicas run, the first becomes master".to_owned());
        return fails(WritesAvailable, Reason::Forming, format!("the queue has no master yet: {waits}"));
    };
    let Some(master) = shown.appointed() else {
        let message = "the QueueShard names a master that is no member of it: restore it as it was";
        return fails(WritesAvailable, Reason::NoMaster, message.to_owned());
    };
    match shown.standing(master) {
        Standing::Up if shown.told(master).is_some() => {
            let message = format!("{master} is becoming master in epoch {}", config.epoch);
            fails(WritesAvailable, Reason::Promoting, message)
        }
        // A pod that nobody has asked yet: it may serve.
        Standing::Up => {
            let message = format!("{master} is to be master, and the operator has not heard of it yet");
            unknown(WritesAvailable, Reason::NotReconciled, message)
        }
        Standing::Down(why) if shown.is_heard(master) => {
            let message = format!("{master} is master and its slaves hear it, but for the operator it {why}");
            unknown(WritesAvailable, Reason::NoMaster, message)
        }
        Standing::Down(why) => no_master(shown, &format!("the master {master} {why}")),
        Standing::Terminating => {
            no_master(shown, &format!("the pod of the master {master} is being deleted"))
        }
    }
}

fn no_master(shown: &Shown<'_>, lost: &str) -> Finding {
    let then = match &shown.observed.trouble {
        Some(Trouble::Stalled(why)) => shown.stalled(*why),
        Some(trouble) => trouble.to_string(),
        None if shown.is_manual() => {
            "failover.mode is Manual: bring the master back, or set failover.mode to Automatic, so that a slave in sync takes over"
                .to_owned()
        }
        None => "a slave of the in-sync set takes over".to_owned(),
    };
    fails(WritesAvailable, Reason::NoMaster, format!("{lost}; {then}"))
}
