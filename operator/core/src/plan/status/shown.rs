//! What a status shows of what is seen of a queue: by names of pods instead of ids of stores, and without what a hiccup changes.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use rq_core::config::Config;
use rq_core::failover::Stalled;
use rq_core::ids::StoreId;
use rq_overseer::{Seen, Told, Trouble};

use super::pods::{hindrance, is_labelled_master, is_ready, node};
use crate::children::SELF_PROMOTION;
use crate::observed::Observed;
use crate::queue::spec::FailoverMode;

/// Silence after which a replica counts as away, where the spec's own span cannot be read, in ms.
const SILENCE_MS: u64 = 2_000;

/// What is shown of one moment.
pub(super) struct Shown<'o> {
    /// All of it.
    pub(super) observed: &'o Observed,
    /// The configuration of the shard; none where it was never formed, is gone or cannot be read.
    pub(super) config: Option<Config>,
    /// Why the configuration cannot be trusted.
    pub(super) distrust: Option<String>,
    /// The pods that there should be.
    pub(super) wanted: Vec<String>,
}

/// Whether a replica takes part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// It does.
    Up,
    /// Its pod is being deleted.
    Terminating,
    /// It does not, and why: a clause that goes after its name.
    Down(String),
}

impl<'o> Shown<'o> {
    pub(super) fn of(observed: &'o Observed) -> Self {
        let name = observed.queue.name_any();
        let (config, unreadable) = match observed.shard.as_ref().map(|shard| shard.spec.config()) {
            Some(Ok(config)) => (config, None),
            Some(Err(malformed)) => (None, Some(malformed.to_string())),
            None => (None, None),
        };
        let distrust = match &observed.trouble {
            Some(Trouble::Stalled(_)) | None => unreadable,
            Some(of_config) => Some(of_config.to_string()),
        };
        let wanted = (0..observed.queue.spec.replicas).map(|ordinal| format!("{name}-{ordinal}")).collect();
        Self { observed, config, distrust, wanted }
    }

    pub(super) fn pod(&self, name: &str) -> Option<&'o Pod> {
        self.observed.pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name))
    }

    fn seen(&self, name: &str) -> Option<&'o Seen> {
        self.observed.replicas.iter().find(|seen| seen.name == name)
    }

    /// The last answer of a replica, unless it has been away for longer than a hiccup.
    pub(super) fn told(&self, name: &str) -> Option<&'o Told> {
        let seen = self.seen(name)?;
        seen.told.as_ref().filter(|_| seen.running && !self.is_silent(seen))
    }

    fn is_silent(&self, seen: &Seen) -> bool {
        let span = self.observed.queue.spec.failover.detect_timeout.duration();
        let limit = span.map_or(SILENCE_MS, |span| span.as_millis() as u64);
        seen.silent_since.is_some_and(|since| self.observed.now_ms.saturating_sub(since) >= limit)
    }

    /// The pod whose mastership the configuration knows.
    pub(super) fn appointed(&self) -> Option<&str> {
        let config = self.config.as_ref()?;
        config.members.get(&config.master).map(|member| member.name.as_str())
    }

    /// The pod that serves as master. What the failure detector has not seen yet is taken from the pod itself, so that a
    /// new operator does not cry wolf.
    pub(super) fn serving(&self) -> Option<&str> {
        let epoch = self.config.as_ref().map(|config| config.epoch);
        let serves = |seen: &&Seen| {
            let told = self.told(&seen.name);
            told.is_some_and(|told| told.serves && epoch.is_none_or(|epoch| told.promised >= epoch))
        };
        let promised = |seen: &&Seen| seen.told.as_ref().map(|told| told.promised);
        let told = self.observed.replicas.iter().filter(serves).max_by_key(promised);
        told.map(|seen| seen.name.as_str()).or_else(|| {
            let unseen = self.appointed().filter(|name| self.seen(name).is_none())?;
            self.pod(unseen).is_some_and(|pod| is_ready(pod) && is_labelled_master(pod)).then_some(unseen)
        })
    }

    /// A copy that is away, or has another disk now, and that the master must wait for, by the configuration that it has kept.
    pub(super) fn waits_for(&self, master: &str) -> Option<String> {
        let config = self.told(master)?.config.as_ref()?;
        let is_there = |store| {
            self.observed
                .replicas
                .iter()
                .any(|seen| self.told(&seen.name).is_some_and(|told| told.store == store))
        };
        let missing = config.in_sync.keys().find(|store| !is_there(**store))?;
        Some(config.members.get(missing).map_or_else(|| missing.to_string(), |member| member.name.clone()))
    }

    /// The pods whose brokers were started with leave to promote themselves.
    pub(super) fn promoting_themselves(&self) -> Vec<&str> {
        let may = |pod: &&Pod| {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut variables = containers.flat_map(|container| container.env.iter().flatten());
            variables
                .any(|variable| variable.name == SELF_PROMOTION && variable.value.as_deref() == Some("true"))
        };
        let mut names: Vec<_> =
            self.observed.pods.iter().filter(may).filter_map(|pod| pod.metadata.name.as_deref()).collect();
        names.sort_unstable();
        names
    }

    /// The pods of the in-sync set, in the order of their names.
    pub(super) fn in_sync(&self) -> Vec<&str> {
        let Some(config) = &self.config else { return Vec::new() };
        let mut names: Vec<_> = config
            .in_sync
            .keys()
            .filter_map(|store| Some((*store, config.members.get(store)?)))
            .filter(|(store, member)| self.store_of(&member.name).is_none_or(|now| now == *store))
            .map(|(_, member)| member.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The store that the pod of this name has now, as far as it has said so.
    fn store_of(&self, name: &str) -> Option<StoreId> {
        self.seen(name)?.told.as_ref().map(|told| told.store)
    }

    /// The copy in sync that had this pod's name was on another volume than the pod has now.
    fn has_lost_its_volume(&self, name: &str) -> bool {
        let Some(now) = self.store_of(name) else { return false };
        let of_name = |config: &Config| {
            let stores = config.in_sync.keys().copied();
            let of_name =
                |store: &StoreId| config.members.get(store).is_some_and(|member| member.name == name);
            stores.filter(of_name).collect::<Vec<_>>()
        };
        let copies = self.config.as_ref().map(of_name).unwrap_or_default();
        !copies.is_empty() && !copies.contains(&now)
    }

    /// Whether a slave has heard of this master lately, though the operator has not.
    pub(super) fn is_heard(&self, master: &str) -> bool {
        let hears = |seen: &Seen| {
            let since = self.told(&seen.name).and_then(|told| told.master_silent_since);
            since.is_some_and(|since| self.observed.now_ms.saturating_sub(since) < SILENCE_MS)
        };
        self.seen(master).is_some_and(|seen| seen.running && self.is_silent(seen))
            && self.observed.replicas.iter().any(|seen| seen.name != master && hears(seen))
    }

    pub(super) fn name(&self) -> String {
        self.observed.queue.name_any()
    }

    /// Why nobody can be promoted, and what to do in Kubernetes.
    pub(super) fn stalled(&self, why: Stalled) -> String {
        match (why, &self.config) {
            (Stalled::OnlyCopy, Some(config)) => format!(
                "the master held the only copy that is in sync: bring it back; if it is gone for good, `kubectl rq promote {} POD --accept-data-loss 0@{}` makes do with another, which may lack acknowledged messages",
                self.name(),
                config.epoch
            ),
            _ => why.to_string(),
        }
    }

    pub(super) fn is_manual(&self) -> bool {
        self.observed.queue.spec.failover.mode == FailoverMode::Manual
    }

    /// Whether the replica of a pod takes part.
    pub(super) fn standing(&self, name: &str) -> Standing {
        let Some(pod) = self.pod(name) else { return Standing::Down("has no pod yet".to_owned()) };
        if pod.metadata.deletion_timestamp.is_some() {
            return Standing::Terminating;
        }
        if let Some(hindrance) = hindrance(pod) {
            return Standing::Down(hindrance);
        }
        match self.seen(name) {
            Some(seen) if !seen.running => Standing::Down("is not running yet".to_owned()),
            Some(seen) if self.is_silent(seen) => Standing::Down(format!(
                "does not answer: see its node{}, and whether the operator reaches it",
                node(pod).map_or_else(String::new, |node| format!(" {node}"))
            )),
            Some(seen) if seen.told.as_ref().is_some_and(|told| told.halted) => {
                Standing::Down(format!("has stopped by itself, for its log: see `kubectl logs {name}`"))
            }
            Some(_) if self.has_lost_its_volume(name) => Standing::Down(
                "has another volume than the copy in sync that had its name: what was on that one is not on this".to_owned(),
            ),
            Some(_) => Standing::Up,
            None if is_ready(pod) => Standing::Up,
            None => Standing::Down("is not ready yet".to_owned()),
        }
    }

    /// What keeps each of the wanted pods, a sentence together; none if they are all up.
    pub(super) fn hindrances(&self) -> Option<String> {
        let told = self.wanted.iter().filter_map(|name| match self.standing(name) {
            Standing::Up => None,
            Standing::Terminating => Some(format!("{name} is being deleted")),
            Standing::Down(why) => Some(format!("{name} {why}")),
        });
        Some(told.collect::<Vec<_>>().join("; ")).filter(|told| !told.is_empty())
    }
}
