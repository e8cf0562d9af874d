//! The wire contract: `apache.rocketmq.v2` as the official clients speak it, and `reliablequeue.v1`, our own
//! services. Generated code, and how it is served; what the messages mean is decided in the broker.

pub mod server;

/// Generated from `proto/apache/rocketmq/v2`: the RocketMQ 5 client API.
pub mod rocketmq {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
    tonic::include_proto!("apache.rocketmq.v2");
}

/// Generated from `proto/reliablequeue/v1`: our own services, for administration, for one replica and for replication.
pub mod reliablequeue {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated code")]
    tonic::include_proto!("reliablequeue.v1");
}

/// The serialized `FileDescriptorSet` of every file of this crate, for tests and reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
