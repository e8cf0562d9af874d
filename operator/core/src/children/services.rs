//! How the queue is reached: one Service for clients, whose every pod serves every call, and names for the pods.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use super::{CLIENT_PORT, HTTP_PORT, PEER_PORT, metadata, pod_service_name, selector};
use crate::queue::ReliableQueue;
use crate::queue::spec::ServiceType;

pub(super) fn for_clients(queue: &ReliableQueue) -> Service {
    let wanted = &queue.spec.services.bootstrap;
    let kind = match wanted.type_ {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let mut metadata = metadata(queue, queue.name_any());
    metadata.annotations = Some(wanted.annotations.clone()).filter(|annotations| !annotations.is_empty());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(kind.to_owned()),
            selector: Some(selector(queue)),
            ports: Some(vec![port("grpc", CLIENT_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Replicas must find each other before they are ready.
pub(super) fn for_pods(queue: &ReliableQueue) -> Service {
    Service {
        metadata: metadata(queue, pod_service_name(queue)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector(queue)),
            ports: Some(vec![port("grpc", CLIENT_PORT), port("http", HTTP_PORT), port("peers", PEER_PORT)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number.into(),
        target_port: Some(IntOrString::String(name.to_owned())),
        // Connections live long, and HTTP/2 is spoken on them from the start.
        app_protocol: (name == "grpc").then(|| "kubernetes.io/h2c".to_owned()),
        ..ServicePort::default()
    }
}
