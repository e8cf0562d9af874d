//! What the detector tells people, in words.

use rq_core::config::Config;
use rq_operator_core::plan::Note;
use rq_operator_core::queue::status::{FailoverCause, LastFailover};
use rq_overseer::Trouble;

use super::failover::{called, seconds};

fn note(warning: bool, reason: &str, action: &str, note: String) -> Note {
    Note { warning, reason: reason.to_owned(), action: action.to_owned(), note }
}

/// The shard has its first master.
pub(super) fn formed(config: &Config) -> Note {
    let master = called(config, config.master);
    note(
        false,
        "Formed",
        "Form",
        format!("{} new replicas make a shard; {master} is master", config.members.len()),
    )
}

/// The master is gone, with the proof.
pub(super) fn lost(master: &str, cause: FailoverCause) -> Option<Note> {
    let proof = match cause {
        FailoverCause::PodDeleted => "its pod was deleted",
        FailoverCause::ContainerTerminated => "its container ended",
        FailoverCause::NodeOutOfService => "its node is out of service",
        FailoverCause::Silent => "it does not answer, and its slaves do not hear it",
        FailoverCause::HandedOver | FailoverCause::DataLossAccepted => return None,
    };
    Some(note(true, "MasterLost", "Detect", format!("the master {master} is lost: {proof}")))
}

/// Another mastership.
pub(super) fn promoted(failover: &LastFailover, config: &Config) -> Note {
    let LastFailover { epoch, from, to, .. } = failover;
    let from = from.as_deref().unwrap_or("nobody");
    let copies = config.in_sync.len();
    let in_sync =
        if copies == 1 { "one copy in sync".to_owned() } else { format!("{copies} copies in sync") };
    match failover.cause {
        Some(FailoverCause::HandedOver) => note(
            false,
            "HandedOver",
            "HandOver",
            format!("{from} handed over to {to}, epoch {epoch}, {in_sync}"),
        ),
        Some(FailoverCause::DataLossAccepted) => note(
            true,
            "DataLossAccepted",
            "Promote",
            format!("{to} is master of epoch {epoch} although it may lack acknowledged messages"),
        ),
        _ if from == to => {
            note(false, "Promoted", "Promote", format!("{to} is master again, epoch {epoch}, {in_sync}"))
        }
        _ => {
            let text = format!("{to} promoted in place of {from}, epoch {epoch}, {in_sync}");
            note(false, "Promoted", "Promote", text)
        }
    }
}

/// The new master takes messages.
pub(super) fn serving(failover: &LastFailover) -> Note {
    let since = |from| seconds(from, failover.served_at.as_ref());
    let took = match (since(failover.dead_at.as_ref()), since(failover.decided_at.as_ref())) {
        (Some(dead), _) => format!(", {dead:.2} s after the master before was last known to live"),
        (None, Some(decided)) => format!(", {decided:.2} s after the configuration said so"),
        (None, None) => String::new(),
    };
    note(false, "Serving", "Serve", format!("{} takes messages{took}", failover.to))
}

/// One copy is left of those asked for.
pub(super) fn single_copy(config: &Config) -> Note {
    let master = called(config, config.master);
    let text = format!(
        "{master} alone holds everything acknowledged: until another replica has caught up, its disk must not be lost"
    );
    note(true, "SingleCopy", "Watch", text)
}

/// All copies that were asked for are in sync again.
pub(super) fn fully_replicated(config: &Config) -> Note {
    note(false, "FullyReplicated", "Watch", format!("all {} copies are in sync", config.in_sync.len()))
}

/// What keeps the shard from being well; none if that is told by the reconciler.
pub(super) fn trouble(trouble: &Trouble) -> Note {
    let reason = match trouble {
        Trouble::ConfigLost(_) => "ConfigLost",
        Trouble::ConfigOld { .. } | Trouble::ConfigBehind { .. } => "ConfigRegressed",
        Trouble::Stalled(_) => "Stalled",
    };
    note(true, reason, "Watch", trouble.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handed_over_mastership_is_no_loss() {
        assert_eq!(lost("q-0", FailoverCause::HandedOver), None);
        let told = lost("q-0", FailoverCause::PodDeleted).unwrap();
        assert!(told.warning && told.note.contains("its pod was deleted"), "{told:?}");
    }
}
