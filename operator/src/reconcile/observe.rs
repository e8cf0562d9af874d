//! Everything that is read of a queue, afresh from the API server: no cache that lags behind what was just written.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt as _};
use rq_operator_core::children::{Children, certificate_secret, selector};
use rq_operator_core::observed::{Existing, NodeSeen, Observed};
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::shard::QueueShard;
use serde::de::DeserializeOwned;

use super::{Context, Error};
use crate::certificates;
use crate::key::QueueKey;

/// Label of a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// When the last question was put that each replica has answered, by its name, in ms on the clock of what is observed.
pub(super) type Heard = BTreeMap<String, u64>;

/// All that is known of a queue, and how old the answers of its replicas are; none if it is gone.
pub(super) async fn observe(context: &Context, key: &QueueKey) -> Result<Option<(Observed, Heard)>, Error> {
    let reader = Reader { context, key };
    let Some(queue) = reader.get::<ReliableQueue>(&key.name).await? else { return Ok(None) };
    let labels =
        selector(&queue).iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
    let secret = certificate_secret(&queue);
    // Before the configuration is read: brokers that know a newer one than it would be taken for proof that it went back.
    let found = context.board.of(key);
    let (existing, shard, pods, volumes, certificate) = tokio::try_join!(
        reader.existing(&queue),
        reader.get::<QueueShard>(&key.name),
        reader.list::<Pod>(&labels),
        reader.list::<PersistentVolumeClaim>(&labels),
        reader.get::<Secret>(&secret),
    )?;
    let nodes = reader.nodes(&pods).await?;
    let certificate = certificate.as_ref().and_then(|secret| certificates::seen(&queue, secret));
    let observed = Observed {
        queue,
        existing,
        shard,
        pods,
        volumes,
        nodes,
        certificate,
        // A replica without a pod of which nothing was ever heard has not been seen.
        replicas: found
            .replicas
            .into_iter()
            .filter(|seen| seen.running || !seen.address.is_empty())
            .collect(),
        trouble: found.trouble,
        failover: found.failover,
        now_ms: context.clock.now(),
        now: Time(Timestamp::now()),
    };
    Ok(Some((observed, found.heard)))
}

/// What can be read in a queue's namespace.
trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug
{
}

impl<K> Object for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
{
}

struct Reader<'a> {
    context: &'a Context,
    key: &'a QueueKey,
}

impl Reader<'_> {
    fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.context.client.clone(), &self.key.namespace)
    }

    async fn get<K: Object>(&self, name: &str) -> kube::Result<Option<K>> {
        self.api::<K>().get_opt(name).await
    }

    async fn list<K: Object>(&self, labels: &str) -> kube::Result<Vec<K>> {
        Ok(self.api::<K>().list(&ListParams::default().labels(labels)).await?.items)
    }

    /// The one of this name, if it is there.
    async fn same<K: Object>(&self, wanted: &K) -> kube::Result<Option<K>> {
        self.get(&wanted.name_any()).await
    }

    /// The objects that the operator makes. Their names depend on nothing but the queue's.
    async fn existing(&self, queue: &ReliableQueue) -> kube::Result<Existing> {
        let wanted = Children::of(queue, &self.context.release.broker_image);
        let (service_account, role, role_binding, service, pod_service, disruption_budget, stateful_set) = tokio::try_join!(
            self.same(&wanted.service_account),
            self.same(&wanted.role),
            self.same(&wanted.role_binding),
            self.same(&wanted.service),
            self.same(&wanted.pod_service),
            self.same(&wanted.disruption_budget),
            self.same(&wanted.stateful_set),
        )?;
        Ok(Existing {
            service_account,
            role,
            role_binding,
            service,
            pod_service,
            disruption_budget,
            stateful_set,
        })
    }

    /// The nodes on which these pods run. One that is gone is left out.
    async fn nodes(&self, pods: &[Pod]) -> kube::Result<BTreeMap<String, NodeSeen>> {
        let names: BTreeSet<&String> =
            pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_ref()).collect();
        let api = Api::<Node>::all(self.context.client.clone());
        let mut nodes = BTreeMap::new();
        for name in names {
            if let Some(node) = api.get_opt(name).await? {
                nodes.insert(name.clone(), seen(&node));
            }
        }
        Ok(nodes)
    }
}

fn seen(node: &Node) -> NodeSeen {
    let spec = node.spec.as_ref();
    NodeSeen {
        zone: node.labels().get(ZONE).cloned(),
        unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
    }
}
