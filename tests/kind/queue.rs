//! A ReliableQueue of a test: applied, changed, looked at, and awaited until all of it is as asked for.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::kubectl::{self, name, number, text};
use crate::scene::Scene;
use crate::times;
use crate::wait::{DEADLINE, Looked, once, wait};

/// The name of every queue here; a namespace has one.
pub(crate) const QUEUE: &str = "orders";
/// Labels of all that belongs to it.
pub(crate) const LABELS: &str = "app.kubernetes.io/instance=orders";
/// The image of the brokers, as `make images` makes it.
pub(crate) const BROKER_IMAGE: &str = "reliablequeue/broker:dev";

/// A queue.
pub(crate) struct Queue<'a> {
    /// Where.
    pub(crate) scene: &'a Scene,
}

/// The configuration of its shard: the truth, where the status of the queue may lag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shard {
    /// Grows with every write.
    pub(crate) version: i64,
    /// The present mastership.
    pub(crate) epoch: i64,
    /// Pod of the master.
    pub(crate) master: String,
    /// Store of the master.
    pub(crate) master_store: String,
    /// Stores in sync.
    pub(crate) in_sync: BTreeSet<String>,
    /// Store, pod and address of each member.
    pub(crate) members: Vec<[String; 3]>,
}

impl<'a> Queue<'a> {
    /// Applies a queue with a small log whose volumes go with it, changed by these fields of its spec, and waits until it is whole.
    pub(crate) fn apply(scene: &'a Scene, spec: &Value) -> Result<Self> {
        let begun = Instant::now();
        let queue = Self { scene };
        queue.put(spec)?;
        queue.whole(replicas(spec))?;
        times::note(&scene.test, "queue applied until it is whole", begun.elapsed());
        Ok(queue)
    }

    /// Applies it and waits for nothing.
    pub(crate) fn put(&self, spec: &Value) -> Result<()> {
        let mut queue = json!({
            "apiVersion": "reliablequeue.dev/v1alpha1",
            "kind": "ReliableQueue",
            "metadata": { "name": QUEUE, "namespace": self.scene.namespace },
            "spec": {
                "image": BROKER_IMAGE,
                "storage": { "size": "1Gi", "onDelete": "Delete" },
                "config": { "segment": "16MiB", "prepared-segments": "1" },
            },
        });
        for (field, value) in spec.as_object().into_iter().flatten() {
            queue["spec"][field] = value.clone();
        }
        kubectl::apply(&queue)
    }

    /// Changes its spec by a merge patch.
    pub(crate) fn change(&self, spec: &Value) -> Result<()> {
        let patch = json!({ "spec": spec }).to_string();
        self.kubectl(&["patch", "reliablequeue", QUEUE, "--type", "merge", "--patch", &patch]).map(drop)
    }

    /// `kubectl` in its namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        kubectl::run(&[arguments, &["--namespace", &self.scene.namespace]].concat())
    }

    /// The resource.
    pub(crate) fn object(&self) -> Result<Value> {
        kubectl::get(&self.scene.namespace, "reliablequeue", QUEUE)?.context("the queue is not there")
    }

    /// Status, reason and message of a condition.
    pub(crate) fn condition(&self, kind: &str) -> Result<[String; 3]> {
        let object = self.object()?;
        let condition = condition(&object, kind).with_context(|| format!("no condition {kind}"))?;
        Ok(["/status", "/reason", "/message"].map(|field| text(condition, field).to_owned()))
    }

    /// Its pods.
    pub(crate) fn pods(&self) -> Result<Vec<Value>> {
        kubectl::list(&self.scene.namespace, "pods", LABELS)
    }

    /// One of its pods.
    pub(crate) fn pod(&self, pod: &str) -> Result<Value> {
        kubectl::get(&self.scene.namespace, "pod", pod)?.with_context(|| format!("no pod {pod}"))
    }

    /// The `QueueShard` as it is.
    pub(crate) fn shard_object(&self) -> Result<Value> {
        kubectl::get(&self.scene.namespace, "queueshard", QUEUE)?.context("the QueueShard is not there")
    }

    /// What it says.
    pub(crate) fn shard(&self) -> Result<Shard> {
        Ok(Shard::of(&self.shard_object()?))
    }

    /// A pod that is not the master.
    pub(crate) fn a_slave(&self) -> Result<String> {
        let Shard { members, master, .. } = self.shard()?;
        let slave = members.into_iter().map(|[_, pod, _]| pod).find(|pod| *pod != master);
        slave.context("no slave")
    }

    /// Waits until the shard has another epoch than `before`, and returns it. That it ever grows is the rule of the CRD.
    pub(crate) fn promoted_after(&self, before: &Shard) -> Result<Shard> {
        wait("a new epoch", DEADLINE, || {
            let shard = self.shard()?;
            Ok(if shard.epoch > before.epoch {
                Looked::Found(shard)
            } else {
                Looked::NotYet(format!("{shard:?}"))
            })
        })
    }

    /// Waits until every one of `replicas` copies is in sync, every pod is ready and reached where the shard says, and the
    /// status says all of that.
    pub(crate) fn whole(&self, replicas: usize) -> Result<Shard> {
        wait("the queue is whole", DEADLINE, || {
            let (object, shard) = (self.object()?, self.shard()?);
            let missing = self.missing(&object, &shard, replicas)?;
            Ok(if missing.is_empty() { Looked::Found(shard) } else { Looked::NotYet(missing.join(", ")) })
        })
    }

    /// Waits until two copies are in sync, whatever the operator says, or whether there is one.
    pub(crate) fn both_in_sync(&self) -> Result<()> {
        wait("both copies in sync", DEADLINE, || {
            let shard = self.shard()?;
            Ok(once(shard.in_sync.len() == 2, format!("{shard:?}")))
        })
    }

    fn missing(&self, object: &Value, shard: &Shard, replicas: usize) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        let mut check = |is_so: bool, what: String| {
            if !is_so {
                missing.push(what);
            }
        };
        for kind in ["Ready", "WritesAvailable", "FullyReplicated", "UpToDate", "ConfigAccepted"] {
            let seen = condition(object, kind).cloned().unwrap_or_default();
            check(holds(&seen), format!("{kind} {} {}", text(&seen, "/reason"), text(&seen, "/message")));
        }
        let generations =
            ["/metadata/generation", "/status/observedGeneration"].map(|field| number(object, field));
        check(generations[0] == generations[1], format!("generations {generations:?}"));
        check(
            text(object, "/status/master") == shard.master,
            format!("master {} of {shard:?}", text(object, "/status/master")),
        );
        check(number(object, "/status/epoch") == shard.epoch, format!("status.epoch of {shard:?}"));
        let told = object.pointer("/status/inSync").and_then(Value::as_array).map_or(0, Vec::len);
        check(told == replicas, format!("status.inSync has {told}"));
        check(shard.in_sync.len() == replicas, format!("in sync {:?}", shard.in_sync));
        check(shard.members.len() == replicas, format!("members {:?}", shard.members));
        let pods = self.pods()?;
        check(pods.len() == replicas, format!("{} pods", pods.len()));
        for pod in &pods {
            let reached = format!("{}:", text(pod, "/status/podIP"));
            let listed = shard
                .members
                .iter()
                .any(|[_, name_, address]| name_ == name(pod) && address.starts_with(&reached));
            check(is_ready(pod), format!("{} is not ready", name(pod)));
            check(listed, format!("{} at {reached} is none of {:?}", name(pod), shard.members));
        }
        Ok(missing)
    }

    /// Runs `rq` in the pod of a broker, against that broker; it forwards what the master must do.
    pub(crate) fn rq(&self, pod: &str, arguments: &[&str]) -> Result<String> {
        let command = [
            "exec",
            pod,
            "--container",
            "broker",
            "--namespace",
            &self.scene.namespace,
            "--",
            "/usr/local/bin/rq",
        ];
        kubectl::run(&[&command, arguments].concat())
    }

    /// Events about the queue: type, reason and note.
    pub(crate) fn events(&self) -> Result<Vec<[String; 3]>> {
        let events = kubectl::list(&self.scene.namespace, "events.events.k8s.io", "")?;
        let mine = events.iter().filter(|event| text(event, "/regarding/kind") == "ReliableQueue");
        Ok(mine
            .map(|event| ["/type", "/reason", "/note"].map(|field| text(event, field).to_owned()))
            .collect())
    }

    /// Deletes the resource and waits until it and its pods are gone.
    pub(crate) fn delete(&self) -> Result<()> {
        self.kubectl(&["delete", "reliablequeue", QUEUE, "--wait=false"])?;
        wait("the queue and its pods are gone", DEADLINE, || {
            let left = kubectl::list(&self.scene.namespace, "reliablequeues,statefulsets,pods", LABELS)?;
            let queue = kubectl::get(&self.scene.namespace, "reliablequeue", QUEUE)?;
            let left: Vec<_> = left.iter().chain(&queue).map(name).collect();
            Ok(once(left.is_empty(), left.join(" ")))
        })
    }
}

impl Shard {
    /// The configuration that an object holds.
    pub(crate) fn of(object: &Value) -> Self {
        let list = |field: &str| object.pointer(field).and_then(Value::as_array).into_iter().flatten();
        let member = |member| ["/storeId", "/name", "/address"].map(|field| text(member, field).to_owned());
        let members: Vec<[String; 3]> = list("/spec/members").map(member).collect();
        let master_store = text(object, "/spec/master").to_owned();
        let master = members.iter().find(|[store, ..]| *store == master_store).map(|[_, pod, _]| pod.clone());
        Self {
            version: number(object, "/spec/version"),
            epoch: number(object, "/spec/epoch"),
            master: master.unwrap_or_default(),
            master_store,
            in_sync: list("/spec/inSync").map(|copy| text(copy, "/storeId").to_owned()).collect(),
            members,
        }
    }

    /// The store of a pod.
    pub(crate) fn store_of(&self, pod: &str) -> Result<String> {
        let [store, ..] = self.members.iter().find(|[_, name, _]| name == pod).context("no such member")?;
        Ok(store.clone())
    }
}

/// Its number of replicas as asked for.
pub(crate) fn replicas(spec: &Value) -> usize {
    spec["replicas"].as_u64().unwrap_or(2) as usize
}

/// A condition of a resource.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// A condition is true; or it is not because the disk of the machine, which the volumes of kind are, is nearly full.
pub(crate) fn holds(condition: &Value) -> bool {
    text(condition, "/status") == "True" || text(condition, "/reason") == "NearFull"
}

/// A pod is ready and not being deleted.
pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
        && text(pod, "/metadata/deletionTimestamp").is_empty()
}

/// What makes a pod another one, or its broker another process.
pub(crate) fn incarnation(pod: &Value) -> (String, String) {
    let container = text(pod, "/status/containerStatuses/0/containerID");
    (text(pod, "/metadata/uid").to_owned(), container.to_owned())
}

/// Fails unless the queue went on in the same mastership.
pub(crate) fn ensure_same_mastership(before: &Shard, after: &Shard) -> Result<()> {
    ensure!(
        (before.epoch, &before.master) == (after.epoch, &after.master),
        "the master changed though nothing was wrong with it: {before:?}, then {after:?}"
    );
    Ok(())
}
