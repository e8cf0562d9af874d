//! Carries out a plan, one action after the other, and stops at the first that fails; only the growth of a volume is by itself,
//! and holds nothing up. It decides nothing.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Resource, ResourceExt as _};
use rq_core::config::{self, Change, Config, Written};
use rq_kubernetes::{ShardStore, StoreError};
use rq_operator_core::children::{MANAGED_BY_LABEL, MANAGER, selector, shard_name};
use rq_operator_core::observed::Observed;
use rq_operator_core::plan::{Action, Child, Note};
use rq_operator_core::shard::{QueueShard, QueueShardSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Context, Error};
use crate::certificates::{self, CertificateError};
use crate::key::QueueKey;
use crate::peers::Master;

/// Carries out these actions. What the API server refused of them, for good as long as the spec is as it is, is returned in
/// its words.
pub(super) async fn execute(
    context: &Context,
    observed: &Observed,
    actions: &[Action],
) -> Result<Vec<String>, Error> {
    let act = Act { context, observed, key: QueueKey::from(&observed.queue) };
    let mut refusals = Vec::new();
    for action in actions {
        match act.one(action).await {
            Ok(what) => {
                context.metrics.wrote(what);
                tracing::info!(queue = %act.key, what, "carried out");
            }
            Err(error) => {
                refusals.push(refusal(error)?);
                if !matches!(action, Action::ResizeVolume { .. }) {
                    break;
                }
            }
        }
    }
    Ok(refusals)
}

/// What the API server says of an object that it does not take; any other error is one that may pass.
fn refusal(error: Error) -> Result<String, Error> {
    const REFUSED: [u16; 3] = [400, 403, 422];
    match error {
        Error::Api(kube::Error::Api(status)) if REFUSED.contains(&status.code) => Ok(status.message.clone()),
        error => Err(error),
    }
}

struct Act<'a> {
    context: &'a Context,
    observed: &'a Observed,
    key: QueueKey,
}

impl Act<'_> {
    /// Carries one out; what was written, in one word.
    async fn one(&self, action: &Action) -> Result<&'static str, Error> {
        match action {
            Action::IssueCertificate => self.issue_certificate().await,
            Action::Apply(child) => self.apply(child).await,
            Action::CreateShard { owned } => self.create_shard(QueueShardSpec::unformed(), *owned).await,
            Action::OwnShard { owned } => self.own_shard(*owned).await,
            Action::Rebuild { config, owned } => self.rebuild(config, *owned).await,
            Action::Write(change) => self.write(change).await,
            Action::SetFlushMode(policy) => {
                self.master().await?.set_flush_mode(*policy).await?;
                Ok("flush mode")
            }
            Action::HandOver { to, .. } => {
                self.master().await?.hand_over(*to).await?;
                Ok("hand over")
            }
            Action::DeletePod { name, uid } => self.delete_pod(name, uid).await,
            Action::ResizeVolume { name, size } => self.resize_volume(name, size).await,
            Action::OrphanStatefulSet => self.orphan_stateful_set().await,
        }
    }

    fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.context.client.clone(), &self.key.namespace)
    }

    async fn issue_certificate(&self) -> Result<&'static str, Error> {
        let queue = &self.observed.queue;
        let issued = certificates::issue(self.context.client.clone(), queue).await;
        if let Err(error @ CertificateError::NameTaken(_)) = &issued {
            let (reason, action) = ("NameTaken".to_owned(), "Issue".to_owned());
            self.context.teller.tell(queue, Note { warning: true, reason, action, note: error.to_string() });
        }
        issued?;
        Ok("certificate")
    }

    async fn apply(&self, child: &Child) -> Result<&'static str, Error> {
        match child {
            Child::ServiceAccount(object) => self.applied(object).await.map(|()| "serviceaccount"),
            Child::Role(object) => self.applied(object).await.map(|()| "role"),
            Child::RoleBinding(object) => self.applied(object).await.map(|()| "rolebinding"),
            Child::Service(object) => self.applied(object).await.map(|()| "service"),
            Child::PodDisruptionBudget(object) => self.applied(object).await.map(|()| "poddisruptionbudget"),
            Child::StatefulSet(object) => self.applied(object).await.map(|()| "statefulset"),
        }
    }

    async fn applied<K>(&self, object: &K) -> Result<(), Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Serialize
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let force = PatchParams::apply(MANAGER).force();
        self.api::<K>().patch(&object.name_any(), &force, &Patch::Apply(object)).await?;
        Ok(())
    }

    async fn create_shard(&self, spec: QueueShardSpec, owned: bool) -> Result<&'static str, Error> {
        let queue = &self.observed.queue;
        let mut labels = selector(queue);
        labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
        let metadata = ObjectMeta {
            name: Some(shard_name(queue)),
            namespace: queue.namespace(),
            labels: Some(labels),
            owner_references: owned.then(|| queue.controller_owner_ref(&()).into_iter().collect()),
            ..ObjectMeta::default()
        };
        let shard = QueueShard { metadata, spec };
        let created = self.api::<QueueShard>().create(&PostParams::default(), &shard).await;
        created.map_err(changed("the QueueShard"))?;
        Ok("queueshard")
    }

    async fn own_shard(&self, owned: bool) -> Result<&'static str, Error> {
        let mut shard = self.observed.shard.clone().ok_or(Error::Missing("QueueShard"))?;
        let owner = self.observed.queue.controller_owner_ref(&());
        shard.metadata.owner_references = owned.then(|| owner.into_iter().collect());
        // It carries the resource version that was seen: a promotion meanwhile is never undone.
        let shards = self.api::<QueueShard>();
        let replaced = shards.replace(&shard.name_any(), &PostParams::default(), &shard).await;
        replaced.map_err(changed("the QueueShard"))?;
        Ok("queueshard")
    }

    async fn rebuild(&self, config: &Config, owned: bool) -> Result<&'static str, Error> {
        if let Some(old) = &self.observed.shard {
            let delete = DeleteParams::default()
                .preconditions(Preconditions { uid: old.uid(), resource_version: old.resource_version() });
            let deleted = self.api::<QueueShard>().delete(&old.name_any(), &delete).await;
            deleted.map_err(changed("the QueueShard"))?;
        }
        self.create_shard(QueueShardSpec::from(config), owned).await
    }

    async fn write(&self, change: &Change) -> Result<&'static str, Error> {
        let shard = self.observed.shard.as_ref().ok_or(Error::Missing("QueueShard"))?;
        let old = shard.spec.config().map_err(StoreError::from)?.ok_or(Error::Missing("configuration"))?;
        let new = config::next(&old, change).map_err(StoreError::from)?;
        let client = self.context.without_retries.clone();
        match ShardStore::new(client, &self.key.namespace, &self.key.name).compare_and_set(&new).await? {
            Written::Done => Ok("queueshard"),
            Written::Conflict(_) => {
                self.context.metrics.conflicts.get_or_create(&(&self.key).into()).inc();
                Err(Error::Changed("the QueueShard"))
            }
        }
    }

    /// The master of the configuration that was seen.
    async fn master(&self) -> Result<Master, Error> {
        let shard = self.observed.shard.as_ref().ok_or(Error::Missing("QueueShard"))?;
        let master = shard.spec.members.iter().find(|member| member.store_id == shard.spec.master);
        let master = master.ok_or(Error::Missing("master"))?;
        Ok(Master::at(self.context.client.clone(), &self.observed.queue, &master.address).await?)
    }

    async fn delete_pod(&self, name: &str, uid: &str) -> Result<&'static str, Error> {
        let this = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let delete = DeleteParams::default().preconditions(this);
        match self.api::<Pod>().delete(name, &delete).await {
            Ok(_) => Ok("pod"),
            // It is gone, which was wanted.
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok("pod"),
            Err(error) => Err(changed("the pod")(error)),
        }
    }

    async fn resize_volume(&self, name: &str, size: &str) -> Result<&'static str, Error> {
        let larger = serde_json::json!({ "spec": { "resources": { "requests": { "storage": size } } } });
        let volumes = self.api::<PersistentVolumeClaim>();
        volumes.patch(name, &PatchParams::default(), &Patch::Merge(larger)).await?;
        Ok("persistentvolumeclaim")
    }

    async fn orphan_stateful_set(&self) -> Result<&'static str, Error> {
        let there = self.observed.existing.stateful_set.as_ref().ok_or(Error::Missing("StatefulSet"))?;
        let this = Preconditions { uid: there.uid(), resource_version: None };
        let delete = DeleteParams::orphan().preconditions(this);
        let deleted = self.api::<StatefulSet>().delete(&there.name_any(), &delete).await;
        deleted.map_err(changed("the StatefulSet"))?;
        Ok("statefulset")
    }
}

/// Whether it is only that somebody else was first.
fn changed(what: &'static str) -> impl Fn(kube::Error) -> Error {
    move |error| match error {
        kube::Error::Api(status)
            if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
        {
            Error::Changed(what)
        }
        error => Error::Api(error),
    }
}
