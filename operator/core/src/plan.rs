//! What is to be done about a queue, decided from what is seen of it. Pure: the same is planned from the same, and nothing
//! where all is as it should be. Whoever carries a plan out does one action after the other and stops at the first that fails:
//! the next look sees what came of it. Promotions are no part of it: they cannot wait for a queue of work, so the failure
//! detector makes them by itself ([`rq_overseer`]).

mod rollout;
mod status;

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use rq_core::config::{Change, Config, FlushPolicy};
use rq_core::ids::StoreId;

use crate::observed::Observed;
use crate::queue::status::ReliableQueueStatus;

/// What the operator was released with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Release {
    /// The image of queues whose spec names none.
    pub broker_image: String,
}

/// What is to be done, and what is to be told.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// The whole status; to be written where it differs from the one there.
    pub status: ReliableQueueStatus,
    /// What people are told has happened.
    pub events: Vec<Note>,
    /// To look again after this, though nothing may have changed.
    pub look_again: Option<Duration>,
}

/// One act.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Make a certificate, with an authority for it where there is none, and write both as Secrets.
    IssueCertificate,
    /// Apply an object by server-side apply, as its only manager.
    Apply(Box<Child>),
    /// Make the `QueueShard`, never formed. It has the queue for an owner if it is to go with it.
    CreateShard {
        /// Whether it has.
        owned: bool,
    },
    /// Give the `QueueShard` that owner, or take it away.
    OwnShard {
        /// Which of both.
        owned: bool,
    },
    /// Put back a configuration that was lost, or replace an older version by it: delete what is there, if it still is what
    /// was seen, and make it anew.
    Rebuild {
        /// What the brokers have kept.
        config: Config,
        /// Whether it has the queue for an owner.
        owned: bool,
    },
    /// Change the configuration, by compare-and-set from the version that was seen.
    Write(Change),
    /// Ask the master for another flush mode: it is a record of the log.
    SetFlushMode(FlushPolicy),
    /// Ask the master to hand its mastership over.
    HandOver {
        /// To this store.
        to: StoreId,
    },
    /// Delete a pod, if it still is this one, so that a newer one takes its place.
    DeletePod {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Have a volume grow.
    ResizeVolume {
        /// Name of its claim.
        name: String,
        /// To this size, as the spec spells it.
        size: String,
    },
    /// Delete the `StatefulSet` and leave its pods: its claims cannot be changed. The next look makes it anew.
    OrphanStatefulSet,
}

/// An object that the operator makes.
#[derive(Clone, PartialEq, Debug)]
pub enum Child {
    /// The account of the brokers.
    ServiceAccount(ServiceAccount),
    /// What they may do.
    Role(Role),
    /// That they may.
    RoleBinding(RoleBinding),
    /// For clients, or for names of pods.
    Service(Service),
    /// Settings.
    ConfigMap(ConfigMap),
    /// One pod at a time may be moved.
    PodDisruptionBudget(PodDisruptionBudget),
    /// The pods.
    StatefulSet(StatefulSet),
}

/// Something that people are told, as an event of the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Whether somebody should worry.
    pub warning: bool,
    /// One word for machines, CamelCase.
    pub reason: String,
    /// What was done, one word for machines.
    pub action: String,
    /// A sentence for people.
    pub note: String,
}

/// What is to be done about a queue.
#[must_use]
pub fn plan(observed: &Observed, release: &Release) -> Plan {
    let status = status::status(observed, release, &rollout::Rollout::UpToDate);
    let events = status::events(observed.queue.status.as_ref(), &status);
    Plan { status, events, ..Plan::default() }
}
