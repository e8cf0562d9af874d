//! What the watches have shown, by queue. Pure: it takes events and says which queues they touch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt as _;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher;
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::shard::QueueShard;

use super::pods::{self, PodSeen};
use crate::key::QueueKey;

/// Something that a watch has shown.
#[expect(clippy::large_enum_variant, reason = "pods are most of them")]
pub(super) enum Event {
    /// Of a queue.
    Queue(watcher::Event<DeserializeGuard<ReliableQueue>>),
    /// Of a configuration: only that there is another one. One that cannot be read must not hide all others.
    Shard(watcher::Event<PartialObjectMeta<QueueShard>>),
    /// Of a pod.
    Pod(watcher::Event<Pod>),
    /// Of a node.
    Node(watcher::Event<Node>),
}

/// What the watches show of one queue.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Surroundings {
    /// The queue.
    pub(super) queue: Arc<ReliableQueue>,
    /// Resource version of its configuration, if there is one. It lags: the configuration is read before anything is decided.
    pub(super) version: Option<String>,
    /// Its pods.
    pub(super) pods: BTreeMap<String, PodSeen>,
}

/// All that the watches show.
#[derive(Debug, Default)]
pub(super) struct Index {
    queues: Mirror<QueueKey, Arc<ReliableQueue>>,
    versions: Mirror<QueueKey, String>,
    pods: Mirror<(QueueKey, String), PodSeen>,
    /// Whether each node is surely off.
    nodes: Mirror<String, bool>,
}

impl Index {
    /// All that a failure can be told from has been shown once. Nodes are waited for by nobody: one that is not known is not
    /// off, and all else is seen without them.
    pub(super) fn is_ready(&self) -> bool {
        self.queues.ready && self.versions.ready && self.pods.ready
    }

    /// All queues.
    pub(super) fn queues(&self) -> Vec<QueueKey> {
        self.queues.there.keys().cloned().collect()
    }

    /// Takes an event; the queues that it touches.
    pub(super) fn take(&mut self, event: Event) -> Vec<QueueKey> {
        match event {
            Event::Queue(event) => self.queues.take(event, readable),
            Event::Shard(event) => self.versions.take(event, |shard| {
                Some((QueueKey::named(&shard), shard.resource_version().unwrap_or_default()))
            }),
            Event::Pod(event) => {
                let key = |pod: Pod| Some(((QueueKey::labelled(&pod)?, pod.name_any()), PodSeen::of(&pod)));
                let touched = self.pods.take(event, key);
                touched.into_iter().map(|(key, _)| key).collect()
            }
            Event::Node(event) => {
                let nodes = self.nodes.take(event, |node| Some((node.name_any(), pods::is_off(&node))));
                self.on(&nodes)
            }
        }
    }

    /// The queues with pods on these nodes.
    fn on(&self, nodes: &[String]) -> Vec<QueueKey> {
        let touched = |pod: &PodSeen| pod.node.as_ref().is_some_and(|node| nodes.contains(node));
        let pods = self.pods.there.iter().filter(|(_, pod)| touched(pod));
        pods.map(|((key, _), _)| key.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What is shown of a queue; none if there is no such queue. One that is being deleted serves until it is gone.
    pub(super) fn surroundings(&self, key: &QueueKey) -> Option<Surroundings> {
        let queue = self.queues.there.get(key)?;
        let is_off = |pod: &PodSeen| pod.node.as_ref().and_then(|node| self.nodes.there.get(node));
        let pods = self.pods.there.range((key.clone(), String::new())..);
        let pods = pods.take_while(|((of, _), _)| of == key).map(|((_, name), pod)| {
            (name.clone(), PodSeen { node_off: is_off(pod).copied().unwrap_or(false), ..pod.clone() })
        });
        Some(Surroundings {
            queue: queue.clone(),
            version: self.versions.there.get(key).cloned(),
            pods: pods.collect(),
        })
    }
}

/// A queue of another release may be one that this one cannot read: it must not hide all others.
fn readable(queue: DeserializeGuard<ReliableQueue>) -> Option<(QueueKey, Arc<ReliableQueue>)> {
    match queue.0 {
        Ok(queue) => Some((QueueKey::from(&queue), Arc::new(queue))),
        Err(invalid) => {
            let name = invalid.metadata.name.unwrap_or_default();
            tracing::error!(queue = name, error = invalid.error, "a queue cannot be read");
            None
        }
    }
}

/// The objects of one kind, by a key.
#[derive(Debug)]
struct Mirror<K, T> {
    there: BTreeMap<K, T>,
    /// Of a list that is on its way.
    listed: BTreeMap<K, T>,
    ready: bool,
}

impl<K, T> Default for Mirror<K, T> {
    fn default() -> Self {
        Self { there: BTreeMap::new(), listed: BTreeMap::new(), ready: false }
    }
}

impl<K: Ord + Clone, T: PartialEq> Mirror<K, T> {
    /// Takes an event; what it touches.
    fn take<O>(&mut self, event: watcher::Event<O>, read: impl Fn(O) -> Option<(K, T)>) -> Vec<K> {
        match event {
            watcher::Event::Apply(object) => {
                let Some((key, value)) = read(object) else { return Vec::new() };
                if self.there.get(&key) == Some(&value) {
                    return Vec::new();
                }
                self.there.insert(key.clone(), value);
                vec![key]
            }
            watcher::Event::Delete(object) => {
                let gone = read(object).and_then(|(key, _)| self.there.remove_entry(&key));
                gone.into_iter().map(|(key, _)| key).collect()
            }
            watcher::Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            watcher::Event::InitApply(object) => {
                self.listed.extend(read(object));
                Vec::new()
            }
            watcher::Event::InitDone => {
                let before = std::mem::replace(&mut self.there, std::mem::take(&mut self.listed));
                self.ready = true;
                let differs = |key: &&K| before.get(*key) != self.there.get(*key);
                let keys: BTreeSet<&K> = before.keys().chain(self.there.keys()).filter(differs).collect();
                keys.into_iter().cloned().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn queue(name: &str) -> ReliableQueue {
        serde_json::from_value(json!({
            "apiVersion": "reliablequeue.dev/v1alpha1", "kind": "ReliableQueue",
            "metadata": {"name": name, "namespace": "shop"}, "spec": {"storage": {"size": "1Gi"}},
        }))
        .unwrap()
    }

    fn pod(queue: &str, name: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop", "uid": "u", "labels": {"app.kubernetes.io/instance": queue}},
            "spec": {"nodeName": "n1", "containers": []},
        }))
        .unwrap()
    }

    fn node(taints: &serde_json::Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n1"}, "spec": {"taints": taints}})).unwrap()
    }

    fn key(name: &str) -> QueueKey {
        QueueKey { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn ready() -> Index {
        let mut index = Index::default();
        index.take(Event::Queue(watcher::Event::InitApply(DeserializeGuard(Ok(queue("orders"))))));
        index.take(Event::Pod(watcher::Event::InitApply(pod("orders", "orders-0"))));
        assert!(!index.is_ready());
        assert_eq!(index.take(Event::Queue(watcher::Event::InitDone)), [key("orders")]);
        index.take(Event::Shard(watcher::Event::InitDone));
        index.take(Event::Pod(watcher::Event::InitDone));
        assert!(index.is_ready(), "without nodes");
        index.take(Event::Node(watcher::Event::InitApply(node(&json!([])))));
        index.take(Event::Node(watcher::Event::InitDone));
        index
    }

    #[test]
    fn a_queue_has_its_own_pods_and_no_others() {
        let mut index = ready();
        assert_eq!(
            index.take(Event::Pod(watcher::Event::Apply(pod("orders-2", "orders-2-0")))),
            [key("orders-2")]
        );
        let shown = index.surroundings(&key("orders")).unwrap();
        assert_eq!(shown.pods.keys().collect::<Vec<_>>(), ["orders-0"]);
        assert_eq!(index.surroundings(&key("orders-2")), None, "pods without a queue");
    }

    #[test]
    fn what_a_list_does_not_hold_any_more_is_gone() {
        let mut index = ready();
        index.take(Event::Pod(watcher::Event::Init));
        assert_eq!(index.surroundings(&key("orders")).unwrap().pods.len(), 1, "the list is on its way");
        assert_eq!(index.take(Event::Pod(watcher::Event::InitDone)), [key("orders")]);
        assert!(index.surroundings(&key("orders")).unwrap().pods.is_empty());
    }

    #[test]
    fn a_node_that_goes_out_of_service_touches_its_queues_once() {
        let mut index = ready();
        let off = node(&json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]));
        assert_eq!(index.take(Event::Node(watcher::Event::Apply(off.clone()))), [key("orders")]);
        assert!(index.take(Event::Node(watcher::Event::Apply(off))).is_empty());
        assert!(index.surroundings(&key("orders")).unwrap().pods["orders-0"].node_off);
    }
}
