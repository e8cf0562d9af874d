//! Whether every replica has everything, and whether the loss of the master now would be survived.

use rq_overseer::Trouble;

use crate::conditions::ConditionType::{FailoverReady, FullyReplicated};
use crate::conditions::{Finding, Reason};
use crate::queue::spec::BrokerInitiated;

use super::shown::{Shown, Standing};
use super::{fails, holds, unknown};

pub(super) fn replicated(shown: &Shown<'_>) -> Finding {
    if let (None, Some(why)) = (&shown.config, &shown.distrust) {
        return unknown(FullyReplicated, Reason::ConfigRegressed, why.clone());
    }
    if shown.config.is_none() {
        let waits =
            shown.hindrances().unwrap_or_else(|| "all replicas run, the first becomes master".to_owned());
        return fails(FullyReplicated, Reason::Forming, format!("no copy is in sync yet: {waits}"));
    }
    let in_sync = shown.in_sync();
    let mut worst = None;
    let mut told = Vec::new();
    for name in &shown.wanted {
        let (reason, sentence) = match shown.standing(name) {
            Standing::Down(why) => (Reason::MemberDown, format!("{name} {why}")),
            Standing::Terminating => (Reason::MemberTerminating, format!("{name} is being deleted")),
            Standing::Up if in_sync.contains(&name.as_str()) => continue,
            Standing::Up => (
                Reason::CatchingUp,
                format!("{name} is catching up: `kubectl rq status {}` shows how far it is", shown.name()),
            ),
        };
        if worst.is_none_or(|worst| rank(reason) < rank(worst)) {
            worst = Some(reason);
        }
        told.push(sentence);
    }
    match worst {
        Some(reason) => fails(FullyReplicated, reason, told.join("; ")),
        None => holds(FullyReplicated, format!("all of {} are in sync", shown.wanted.join(", "))),
    }
}

/// The worst reason is told for the whole.
const fn rank(reason: Reason) -> u8 {
    match reason {
        Reason::MemberDown => 0,
        Reason::MemberTerminating => 1,
        _ => 2,
    }
}

pub(super) fn failover_ready(shown: &Shown<'_>) -> Finding {
    match &shown.observed.trouble {
        Some(Trouble::Stalled(why)) => {
            return fails(FailoverReady, Reason::FailoverStalled, shown.stalled(*why));
        }
        _ if shown.distrust.is_some() => {
            let why = shown.distrust.clone().unwrap_or_default();
            return fails(FailoverReady, Reason::ConfigRegressed, why);
        }
        _ => {}
    }
    if shown.config.is_none() {
        let message = "the queue has no master yet".to_owned();
        return fails(FailoverReady, Reason::Forming, message);
    }
    let mut alive = shown.in_sync();
    alive.retain(|name| shown.standing(name) == Standing::Up || shown.serving() == Some(name));
    if alive.len() < 2 {
        return fails(FailoverReady, Reason::SingleInSync, alone(shown, alive.first().copied()));
    }
    let failover = &shown.observed.queue.spec.failover;
    if shown.is_manual() {
        let mut message = "failover.mode is Manual: when the master is lost, nobody takes over until somebody sets it to Automatic".to_owned();
        let others = shown.promoting_themselves();
        if !others.is_empty() {
            let note =
                format!("; {} may still promote themselves until their pods are replaced", others.join(", "));
            message.push_str(&note);
        }
        return fails(FailoverReady, Reason::Manual, message);
    }
    if failover.broker_initiated == BrokerInitiated::Disabled {
        let message = "failover.brokerInitiated is Disabled: when the master is lost while no operator runs, nobody takes over; set it to Enabled to have slaves promote themselves";
        return fails(FailoverReady, Reason::OperatorOnly, message.to_owned());
    }
    holds(FailoverReady, survived(shown, &alive))
}

fn alone(shown: &Shown<'_>, alive: Option<&str>) -> String {
    if shown.wanted.len() == 1 {
        return "the queue has one replica, and waits for it when its pod or node is lost: set replicas to 2 or more"
            .to_owned();
    }
    let others = shown.hindrances().unwrap_or_else(|| "the others are catching up".to_owned());
    match alive {
        Some(alone) => format!(
            "{alone} alone holds everything acknowledged: do not delete its pod or its volume before another copy is in sync; {others}"
        ),
        None => format!("no copy of the in-sync set is up: {others}"),
    }
}

fn survived(shown: &Shown<'_>, alive: &[&str]) -> String {
    let master = shown.serving();
    let successors: Vec<_> = alive.iter().copied().filter(|name| Some(*name) != master).collect();
    let mut message = format!("when the master is lost, {} takes over", successors.join(" or "));
    let needed = shown.config.as_ref().map_or(0, |config| usize::from(config.min_in_sync));
    if needed > successors.len() {
        let note = format!(
            "; producers are then refused until {needed} copies are in sync again, as replication.minInSync demands"
        );
        message.push_str(&note);
    }
    message
}
