//! What the rules ask of what is seen, worked out once: the pods by their ordinals with what their brokers say, and the
//! configuration, if it is one that can be acted on.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use rq_core::config::{Config, Member};
use rq_core::ids::StoreId;
use rq_overseer::{Seen, Told};

use crate::observed::Observed;
use crate::plan::{Action, Release};
use crate::queue::spec::{OnDelete, Reconcile};

/// Label of a pod of a `StatefulSet`: the revision that it was made from.
const POD_REVISION: &str = "controller-revision-hash";

/// What is seen, as the rules look at it.
pub(crate) struct View<'a> {
    pub(crate) observed: &'a Observed,
    pub(crate) release: &'a Release,
    /// Of the queue, its `StatefulSet` and its shard.
    pub(crate) name: String,
    /// As the spec says.
    pub(crate) replicas: u32,
    /// How the shard is.
    pub(crate) shard: ShardState,
    /// Those that the `StatefulSet` made, by ordinal.
    pub(crate) pods: Vec<BrokerPod<'a>>,
}

/// How the configuration of the shard is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum ShardState {
    /// There is none, and nothing speaks against a new one.
    New,
    /// There is none, and who could tell whether there was one has not answered.
    Unknown,
    /// It was never formed. The failure detector does that when all stores have answered.
    Unformed,
    /// It is lost, or went back to an older version: a broker knows better.
    Lost,
    /// Nobody can read it.
    Malformed,
    /// It is the newest that anybody knows.
    Formed(Config),
}

/// A pod with what its broker says.
pub(crate) struct BrokerPod<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) name: String,
    pub(crate) ordinal: u32,
    /// What its broker answers; none if it does not.
    pub(crate) told: Option<&'a Told>,
    /// The kubelet says so.
    pub(crate) ready: bool,
    /// It has been deleted and is still there.
    pub(crate) terminating: bool,
    /// It was made from an older revision.
    pub(crate) outdated: bool,
}

impl<'a> View<'a> {
    pub(crate) fn of(observed: &'a Observed, release: &'a Release) -> Self {
        let name = observed.queue.name_any();
        let update = update_revision(observed);
        let mut pods: Vec<_> = observed
            .pods
            .iter()
            .filter_map(|pod| {
                let ordinal = ordinal(&name, &pod.name_any())?;
                Some(BrokerPod::of(pod, ordinal, &observed.replicas, update))
            })
            .collect();
        pods.sort_by_key(|pod| pod.ordinal);
        Self {
            observed,
            release,
            replicas: u32::try_from(observed.queue.spec.replicas).unwrap_or(1),
            shard: shard(observed, &name),
            pods,
            name,
        }
    }

    pub(crate) fn paused(&self) -> bool {
        self.observed.queue.spec.reconcile == Reconcile::Paused
    }

    /// Whether the `QueueShard` goes with the queue.
    pub(crate) fn owned(&self) -> bool {
        self.observed.queue.spec.storage.on_delete == OnDelete::Delete
    }

    /// The configuration that can be acted on.
    pub(crate) const fn config(&self) -> Option<&Config> {
        match &self.shard {
            ShardState::Formed(config) => Some(config),
            _ => None,
        }
    }

    /// The master's pod, if its broker answers.
    pub(crate) fn master(&self) -> Option<&BrokerPod<'a>> {
        let config = self.config()?;
        self.pods.iter().find(|pod| pod.store() == Some(config.master))
    }

    /// The master's pod, if it is where it serves and nobody is to succeed it.
    pub(crate) fn serving_master(&self) -> Option<&BrokerPod<'a>> {
        let epoch = self.config()?.epoch;
        self.master().filter(|pod| pod.told.is_some_and(|told| told.serves && told.epoch == epoch))
    }

    /// Whether the broker of this pod holds everything acknowledged.
    pub(crate) fn in_sync(&self, pod: &BrokerPod<'_>) -> bool {
        let leads =
            |told: &Told| self.config().is_some_and(|config| config.may_lead(told.store, told.session));
        pod.told.is_some_and(leads)
    }

    /// A hand-over to one of the pods that may have it: rather to one whose node is not about to be emptied.
    pub(crate) fn successor(&self, may: impl Fn(&BrokerPod<'_>) -> bool) -> Option<Action> {
        let is_cordoned = |pod: &&BrokerPod<'_>| {
            let node = pod.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            node.and_then(|node| self.observed.nodes.get(node)).is_some_and(|node| node.unschedulable)
        };
        let pod = self.pods.iter().filter(|pod| may(pod)).min_by_key(is_cordoned)?;
        Some(Action::HandOver { to: pod.store()?, pod: pod.name.clone() })
    }

    /// Every broker that answers knows this version of the configuration, and the master serves in it: what is seen is no
    /// older than what they act on.
    pub(crate) fn settled(&self) -> bool {
        let Some(config) = self.config() else { return false };
        let current = |told: &Told| told.config_version == config.version;
        self.serving_master().is_some() && self.pods.iter().filter_map(|pod| pod.told).all(current)
    }

    /// The ordinal of a member's pod; none if it is no pod of this queue.
    pub(crate) fn ordinal_of(&self, member: &Member) -> Option<u32> {
        ordinal(&self.name, &member.name)
    }
}

impl<'a> BrokerPod<'a> {
    fn of(pod: &'a Pod, ordinal: u32, replicas: &'a [Seen], update: Option<&str>) -> Self {
        let name = pod.name_any();
        let told = replicas.iter().find(|seen| seen.name == name).and_then(Seen::answer);
        let ready = condition(pod, "Ready").is_some_and(|(status, _)| status == "True");
        let revision = pod.labels().get(POD_REVISION).map(String::as_str);
        Self {
            pod,
            ordinal,
            told,
            ready,
            terminating: pod.metadata.deletion_timestamp.is_some(),
            outdated: update.is_some() && revision != update,
            name,
        }
    }

    pub(crate) fn store(&self) -> Option<StoreId> {
        self.told.map(|told| told.store)
    }
}

/// Status and message of a condition of a pod.
pub(crate) fn condition<'p>(pod: &'p Pod, type_: &str) -> Option<(&'p str, &'p str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((&found.status, found.message.as_deref().unwrap_or_default()))
}

/// The revision of the template as it is now; none as long as the controller of the `StatefulSet` has not looked at it.
pub(crate) fn update_revision(observed: &Observed) -> Option<&str> {
    let set =
        observed.existing.stateful_set.as_ref().filter(|set| set.metadata.deletion_timestamp.is_none())?;
    let status = set.status.as_ref()?;
    let current =
        status.observed_generation.is_some() && status.observed_generation == set.metadata.generation;
    status.update_revision.as_deref().filter(|_| current)
}

/// The number at the end of the name of a pod of this `StatefulSet`.
pub(crate) fn ordinal(set: &str, pod: &str) -> Option<u32> {
    let number = pod.strip_prefix(set)?.strip_prefix('-')?;
    number.parse().ok().filter(|ordinal: &u32| ordinal.to_string() == number)
}

fn shard(observed: &Observed, name: &str) -> ShardState {
    let used = observed.replicas.iter().any(|seen| seen.told.as_ref().is_some_and(|told| !told.is_new()));
    let Some(shard) = &observed.shard else {
        return match (used, all_new(observed, name)) {
            (true, _) => ShardState::Lost,
            (false, true) => ShardState::New,
            (false, false) => ShardState::Unknown,
        };
    };
    match shard.spec.config() {
        Err(_) => ShardState::Malformed,
        Ok(None) if used => ShardState::Lost,
        Ok(None) => ShardState::Unformed,
        Ok(Some(config)) if rq_overseer::is_newest(&config, &observed.replicas).is_err() => ShardState::Lost,
        Ok(Some(config)) => ShardState::Formed(config),
    }
}

/// Nothing is there that could have been of a shard: no pod and no volume, or each of both with a store that was never used.
fn all_new(observed: &Observed, name: &str) -> bool {
    let is_new = |pod: &String| {
        let seen = observed.replicas.iter().find(|seen| seen.name == *pod);
        seen.and_then(Seen::answer).is_some_and(Told::is_new)
    };
    traces(observed, name).iter().all(is_new)
}

/// Names of the pods that are there, or have left a volume.
pub(crate) fn traces(observed: &Observed, name: &str) -> BTreeSet<String> {
    let claims = observed.volumes.iter().map(ResourceExt::name_any);
    let pods = observed.pods.iter().map(ResourceExt::name_any);
    // A claim is named by its template and its pod.
    let of_claims = claims.filter_map(|claim| claim.split_once('-').map(|(_, pod)| pod.to_owned()));
    pods.chain(of_claims).filter(|pod| ordinal(name, pod).is_some()).collect()
}
