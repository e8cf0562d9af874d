//! Which queue: by namespace and name, in every map, log line and metric.

use std::fmt;

use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use rq_operator_core::children::QUEUE_LABEL;
use rq_operator_core::queue::ReliableQueue;

/// A queue, whether it is there or not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct QueueKey {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

impl QueueKey {
    /// Of the object that is named like its queue: the queue itself, or its `QueueShard`.
    pub(crate) fn named(object: &impl kube::ResourceExt) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }

    /// Of an object that says in a label whose it is; none if it does not.
    pub(crate) fn labelled(object: &impl kube::ResourceExt) -> Option<Self> {
        let name = object.labels().get(QUEUE_LABEL)?.clone();
        Some(Self { namespace: object.namespace().unwrap_or_default(), name })
    }

    /// It for the controller.
    pub(crate) fn reference(&self) -> ObjectRef<ReliableQueue> {
        ObjectRef::new(&self.name).within(&self.namespace)
    }

    /// Name of the pod of this number.
    pub(crate) fn pod(&self, number: i32) -> String {
        format!("{}-{number}", self.name)
    }
}

impl From<&ReliableQueue> for QueueKey {
    fn from(queue: &ReliableQueue) -> Self {
        Self { namespace: queue.namespace().unwrap_or_default(), name: queue.name_any() }
    }
}

impl fmt::Display for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
