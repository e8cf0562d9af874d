//! The pods: one broker in each, restricted, with a volume of its own. They start at once, for a slave must not wait for a
//! master that waits for it, and are replaced by the operator alone, slaves first.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, HTTPGetAction, LocalObjectReference,
    ObjectFieldSelector, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodAffinityTerm, PodAntiAffinity,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, SeccompProfile,
    SecretVolumeSource, SecurityContext, ServiceAccountTokenProjection, Toleration, TopologySpreadConstraint,
    Volume, VolumeMount, VolumeProjection, VolumeResourceRequirements, WeightedPodAffinityTerm,
};
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    BROKER_CONTAINER, CLIENT_PORT, HTTP_PORT, PEER_PORT, certificate_secret, environment, metadata,
    pod_service_name, selector, shard_name,
};
use crate::queue::ReliableQueue;
use crate::queue::scheduling::Spread;
use crate::queue::spec::{OnDelete, PullPolicy};

/// User and group of the broker's image.
const USER: i64 = 65_532;
/// The volume of a replica and where it is mounted.
const VOLUME: &str = "data";
const MOUNT: &str = "/data";
/// Only its user and its group read the key.
const CERTIFICATE_MODE: i32 = 0o440;
/// Where a client of the API server looks for its account's token.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Lifetime of that token, in seconds. The kubelet renews it.
const TOKEN_SECONDS: i64 = 3_607;
/// A broker has so long to hand over and to close its log, in seconds.
const STOP_SECONDS: i64 = 60;
/// A pod counts as available when it was ready for so long, in seconds.
const MIN_READY_SECONDS: i32 = 10;

pub(super) fn stateful_set(queue: &ReliableQueue, image: &str) -> StatefulSet {
    let mut template = metadata(queue, String::new());
    template.name = None;
    template.namespace = None;
    template.owner_references = None;
    let extra = &queue.spec.scheduling.pod_template;
    template.labels.get_or_insert_default().extend(extra.labels.clone());
    template.annotations = Some(extra.annotations.clone()).filter(|annotations| !annotations.is_empty());
    let retention = match queue.spec.storage.on_delete {
        OnDelete::Retain => "Retain",
        OnDelete::Delete => "Delete",
    };
    StatefulSet {
        metadata: metadata(queue, shard_name(queue)),
        spec: Some(StatefulSetSpec {
            replicas: Some(queue.spec.replicas),
            service_name: Some(pod_service_name(queue)),
            selector: LabelSelector { match_labels: Some(selector(queue)), ..LabelSelector::default() },
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            min_ready_seconds: Some(MIN_READY_SECONDS),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: Some(retention.to_owned()),
                // A replica that comes back later catches up from what it has.
                when_scaled: Some("Retain".to_owned()),
            }),
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod(queue, image)) },
            volume_claim_templates: Some(vec![claim(queue)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn claim(queue: &ReliableQueue) -> PersistentVolumeClaim {
    let storage = &queue.spec.storage;
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(VOLUME.to_owned()),
            labels: Some(selector(queue)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), Quantity(storage.size.0.clone()))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

fn pod(queue: &ReliableQueue, image: &str) -> PodSpec {
    let scheduling = &queue.spec.scheduling;
    let secrets = queue.spec.image_pull_secrets.iter();
    PodSpec {
        service_account_name: Some(shard_name(queue)),
        automount_service_account_token: Some(false),
        // The broker looks nobody up by variables that each Service of a namespace would add.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(STOP_SECONDS),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // A volume with many segments would take minutes to be gone through at each start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        image_pull_secrets: Some(
            secrets.map(|secret| LocalObjectReference { name: secret.name.clone() }).collect::<Vec<_>>(),
        )
        .filter(|secrets| !secrets.is_empty()),
        node_selector: Some(scheduling.node_selector.clone()).filter(|labels| !labels.is_empty()),
        priority_class_name: scheduling.priority_class_name.clone(),
        tolerations: Some(tolerations(queue)),
        affinity: affinity(queue),
        topology_spread_constraints: zones(queue).map(|constraint| vec![constraint]),
        containers: vec![broker(queue, image)],
        volumes: Some(vec![account(), certificate(queue)]),
        ..PodSpec::default()
    }
}

fn broker(queue: &ReliableQueue, image: &str) -> Container {
    let policy = match queue.spec.image_pull_policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    };
    let mount = |name: &str, path: &str, read_only: bool| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    };
    let port = |name: &str, number: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        ..ContainerPort::default()
    };
    Container {
        name: BROKER_CONTAINER.to_owned(),
        image: Some(queue.spec.image.clone().unwrap_or_else(|| image.to_owned())),
        image_pull_policy: Some(policy.to_owned()),
        env: Some(environment::of(queue)),
        ports: Some(vec![port("grpc", CLIENT_PORT), port("http", HTTP_PORT), port("peers", PEER_PORT)]),
        resources: Some(queue.spec.resources.clone()),
        // A broker that cannot start says why in its last line, and the queue's status repeats it.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![
            mount(VOLUME, MOUNT, false),
            mount("account", ACCOUNT, true),
            mount("certificate", environment::CERTIFICATE, true),
        ]),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        // A log of any length may be recovered, as long as it goes on: a hung process is another matter.
        startup_probe: Some(Probe { failure_threshold: Some(60), ..probe("/startupz", 5) }),
        readiness_probe: Some(Probe { failure_threshold: Some(2), ..probe("/readyz", 2) }),
        // Of the process alone, never of its peers, its disk or the API server: those are not mended by a restart.
        liveness_probe: Some(Probe { failure_threshold: Some(6), ..probe("/livez", 10) }),
        ..Container::default()
    }
}

fn probe(path: &str, every_seconds: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(every_seconds),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

/// The Secret appears when the operator has made it; until then the kubelet waits with the pod.
fn certificate(queue: &ReliableQueue) -> Volume {
    Volume {
        name: "certificate".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(certificate_secret(queue)),
            default_mode: Some(CERTIFICATE_MODE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The account's token, renewed by the kubelet, with what else a client in a pod looks for beside it.
fn account() -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            path: "token".to_owned(),
            expiration_seconds: Some(TOKEN_SECONDS),
            ..ServiceAccountTokenProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let authority = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: "kube-root-ca.crt".to_owned(),
            items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None }]),
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    field_path: "metadata.namespace".to_owned(),
                    ..ObjectFieldSelector::default()
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name: "account".to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![token, authority, namespace]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// A pod on a node that is gone is replaced after a while. The loss of its mastership does not wait for that.
fn tolerations(queue: &ReliableQueue) -> Vec<Toleration> {
    let scheduling = &queue.spec.scheduling;
    let lost = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"].map(|taint| Toleration {
        key: Some(taint.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: Some(scheduling.node_lost_seconds),
        ..Toleration::default()
    });
    scheduling.tolerations.iter().cloned().chain(lost).collect()
}

fn affinity(queue: &ReliableQueue) -> Option<Affinity> {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some(selector(queue)),
            ..LabelSelector::default()
        }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let apart = match queue.spec.scheduling.host_spread {
        Spread::None => return None,
        Spread::Required => PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        },
        Spread::Preferred => PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![WeightedPodAffinityTerm {
                weight: 100,
                pod_affinity_term: term,
            }]),
            ..PodAntiAffinity::default()
        },
    };
    Some(Affinity { pod_anti_affinity: Some(apart), ..Affinity::default() })
}

fn zones(queue: &ReliableQueue) -> Option<TopologySpreadConstraint> {
    let otherwise = match queue.spec.scheduling.zone_spread {
        Spread::None => return None,
        Spread::Required => "DoNotSchedule",
        Spread::Preferred => "ScheduleAnyway",
    };
    Some(TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "topology.kubernetes.io/zone".to_owned(),
        when_unsatisfiable: otherwise.to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(selector(queue)),
            ..LabelSelector::default()
        }),
        ..TopologySpreadConstraint::default()
    })
}
