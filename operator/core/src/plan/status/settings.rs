//! Whether the pods are as the spec says, and whether the brokers took its settings.

use k8s_openapi::api::core::v1::{EnvVar, Pod};

use crate::children::{BROKER_CONTAINER, environment};
use crate::conditions::ConditionType::{ConfigAccepted, UpToDate};
use crate::conditions::{Finding, Reason};
use crate::plan::children::Taken;
use crate::plan::rollout::Rollout;

use super::pods::{broker, last_words};
use super::shown::Shown;
use super::{fails, holds, unknown};

pub(super) fn up_to_date(rollout: &Rollout) -> Finding {
    let pods = |left: usize| if left == 1 { "1 pod is".to_owned() } else { format!("{left} pods are") };
    match rollout {
        Rollout::UpToDate => holds(UpToDate, "every pod is as the spec says".to_owned()),
        Rollout::Rolling { pod, left } => {
            let message = format!("{pod} is being replaced; {} not as the spec says yet", pods(*left));
            fails(UpToDate, Reason::Rolling, message)
        }
        // No pod is known to differ, but what says so is not there yet, or is about to change.
        Rollout::Waiting { why, left: 0 } => fails(UpToDate, Reason::Rolling, why.clone()),
        Rollout::Waiting { why, left } => {
            fails(UpToDate, Reason::Rolling, format!("{} to be replaced, and wait: {why}", pods(*left)))
        }
        Rollout::Failed { pod, why } => {
            let message = format!(
                "the new {pod} does not come up, so that no other pod is replaced: {why}. Correct the spec, or put it back as it was"
            );
            fails(UpToDate, Reason::RolloutFailed, message)
        }
        Rollout::Refused(why) => {
            fails(UpToDate, Reason::Refused, format!("the API server refuses what the spec asks for: {why}"))
        }
        Rollout::Taken(Taken(what)) => {
            let message = format!(
                "{what} is there and was not made by the operator for this queue, so that neither it nor what needs it is touched: rename or delete it, or make the queue by another name"
            );
            fails(UpToDate, Reason::NameTaken, message)
        }
        Rollout::Paused { left: 0 } => {
            let message =
                "the spec has changed, and reconcile is Paused: set it to Active to have it carried out";
            fails(UpToDate, Reason::Paused, message.to_owned())
        }
        Rollout::Paused { left } => {
            let message = format!(
                "{} not as the spec says, and reconcile is Paused: set it to Active to have them replaced",
                pods(*left)
            );
            fails(UpToDate, Reason::Paused, message)
        }
    }
}

/// A broker that ends at its start tells which setting it does not take.
pub(super) fn accepted(shown: &Shown<'_>) -> Finding {
    let config = &shown.observed.queue.spec.config;
    let brokers = || shown.wanted.iter().filter_map(|name| Some((name, broker(shown.pod(name)?)?)));
    let refused = brokers().filter(|(_, broker)| !broker.ready).find_map(|(name, broker)| {
        let words = last_words(broker)?;
        config.keys().any(|key| names(words, key)).then_some((name, words))
    });
    if let Some((name, words)) = refused {
        let reason = if words.contains("unknown") { Reason::UnknownKey } else { Reason::InvalidValue };
        let message = format!("{name} does not start with spec.config: {words}");
        return fails(ConfigAccepted, reason, message);
    }
    if config.is_empty() {
        return holds(ConfigAccepted, "spec.config is empty".to_owned());
    }
    let settings: Vec<_> = environment::settings(&shown.observed.queue).collect();
    let has_them = |name: &str| shown.pod(name).is_some_and(|pod| has(pod, &settings));
    if brokers().any(|(name, broker)| broker.ready && has_them(name)) {
        return holds(ConfigAccepted, "the brokers took spec.config".to_owned());
    }
    unknown(ConfigAccepted, Reason::Forming, "no broker has started with spec.config yet".to_owned())
}

/// Whether a pod was made with these settings, not with those of an older spec.
fn has(pod: &Pod, settings: &[EnvVar]) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut brokers = containers.filter(|container| container.name == BROKER_CONTAINER);
    brokers.any(|broker| {
        settings.iter().all(|setting| broker.env.iter().flatten().any(|there| there == setting))
    })
}

/// Whether a broker speaks of this key, as an option, as a variable, or bare.
fn names(words: &str, key: &str) -> bool {
    let variable = environment::variable(key);
    let mut each = words.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    each.any(|word| word == variable || word.trim_start_matches('-') == key)
}
