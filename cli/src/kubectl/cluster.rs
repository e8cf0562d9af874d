//! The API server: which one, and what is asked of it. Each call has its deadline and names what it is for.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use rq_operator_core::children;
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::shard::QueueShard;
use serde_json::Value;

use super::Access;
use super::failure::KubeFailure;
use crate::output;

/// Code of what is not there.
const NOT_FOUND: u16 = 404;

/// A cluster, and the namespace that is looked into.
pub(super) struct Cluster {
    client: Client,
    pub(super) namespace: String,
    url: String,
    timeout: Duration,
}

impl Cluster {
    /// Reads where it is. The API server is not asked yet.
    pub(super) async fn connect(access: &Access, timeout: Duration) -> Result<Self, KubeFailure> {
        fn none(error: impl std::error::Error) -> KubeFailure {
            KubeFailure::NoCluster(error.to_string())
        }
        let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
        let config = match &access.kubeconfig {
            Some(file) => {
                let file = Kubeconfig::read_from(file).map_err(none)?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(none)?
            }
            None if access.context.is_some() => Config::from_kubeconfig(&options).await.map_err(none)?,
            None => Config::infer().await.map_err(none)?,
        };
        let namespace = access.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(none)?;
        Ok(Self { client, namespace, url, timeout })
    }

    /// Waits for an answer, and says of a failure what it was for.
    async fn ask<T>(
        &self,
        doing: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, KubeFailure> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map_err(|error| KubeFailure::of(error, doing, &self.url)),
            Err(_) => Err(KubeFailure::Silent { doing: doing.to_owned(), waited: self.timeout }),
        }
    }

    fn queue_api(&self) -> Api<ReliableQueue> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) fn pod_api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The queues of the namespace, or of all.
    pub(super) async fn queues(&self, all: bool) -> Result<Vec<ReliableQueue>, KubeFailure> {
        let api = if all { Api::all(self.client.clone()) } else { self.queue_api() };
        let everything = ListParams::default();
        let listed = self.ask("list queues", async {
            match api.list(&everything).await {
                // Of a list, only the kind of resource may be unknown.
                Err(kube::Error::Api(status)) if status.code == NOT_FOUND => Ok(None),
                other => other.map(Some),
            }
        });
        let mut queues = listed.await?.ok_or(KubeFailure::NotInstalled)?.items;
        queues.sort_by_key(|queue| (queue.namespace(), queue.name_any()));
        Ok(queues)
    }

    /// One queue; where it is not there, the failure names those that are.
    pub(super) async fn queue(&self, name: &str) -> Result<ReliableQueue, KubeFailure> {
        if let Some(queue) = self.ask("get the queue", self.queue_api().get_opt(name)).await? {
            return Ok(queue);
        }
        let there = self.queues(false).await?;
        Err(KubeFailure::NoQueue {
            name: name.to_owned(),
            namespace: self.namespace.clone(),
            there: there.iter().map(ReliableQueue::name_any).collect(),
        })
    }

    /// The configuration of its shard: newer than what the operator says of it. None where there is none.
    pub(super) async fn shard(&self, queue: &ReliableQueue) -> Result<Option<QueueShard>, KubeFailure> {
        let api: Api<QueueShard> = Api::namespaced(self.client.clone(), &self.namespace);
        self.ask("get the QueueShard", api.get_opt(&children::shard_name(queue))).await
    }

    /// Its pods, in the order of their names.
    pub(super) async fn pods(&self, queue: &ReliableQueue) -> Result<Vec<Pod>, KubeFailure> {
        let labels = children::selector(queue);
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let of_queue = ListParams::default().labels(&labels.join(","));
        let mut pods = self.ask("list pods", self.pod_api().list(&of_queue)).await?.items;
        pods.sort_by(|one, other| output::by_name(&one.name_any(), &other.name_any()));
        Ok(pods)
    }

    /// What was told of the queue, in no order.
    pub(super) async fn events(&self, name: &str) -> Result<Vec<Event>, KubeFailure> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_queue =
            ListParams::default().fields(&format!("regarding.kind=ReliableQueue,regarding.name={name}"));
        Ok(self.ask("list events", api.list(&of_queue)).await?.items)
    }

    /// Changes a part of the queue.
    pub(super) async fn patch(&self, name: &str, change: Value) -> Result<(), KubeFailure> {
        let api = self.queue_api();
        let params = PatchParams::default();
        self.ask("change the queue", api.patch(name, &params, &Patch::Merge(change))).await?;
        Ok(())
    }
}
