//! Generates the wire types with protox, so that no machine needs protoc.

use prost::Message as _;

const FILES: [&str; 5] = [
    "apache/rocketmq/v2/definition.proto",
    "apache/rocketmq/v2/service.proto",
    "reliablequeue/v1/admin.proto",
    "reliablequeue/v1/replica.proto",
    "reliablequeue/v1/replication.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let path = std::path::Path::new(&std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(path, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Bodies stay slices of the buffer that they arrived in: no copy on the way to the log.
        .bytes(".apache.rocketmq.v2.Message.body")
        .bytes(".reliablequeue.v1.Frames.frames")
        .bytes(".reliablequeue.v1.SnapshotPart.checkpoint")
        .bytes(".reliablequeue.v1.SegmentPart.frames")
        .bytes(".reliablequeue.v1.TransactionCheck.command")
        // A map with a stable order, so that one message has one encoding.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
