//! The features, in the order of the matrix, and the topics and groups that the programs find prepared for them.

use anyhow::{Context as _, Result};
use rq_proto::reliablequeue::admin_client::AdminClient;
use rq_proto::reliablequeue::{
    CreateGroupRequest, CreateTopicRequest, CustomizedRetry, TopicType, create_group_request,
};
use tonic::transport::Channel;

/// A feature of the matrix.
pub(crate) struct Feature {
    /// What the programs call it.
    pub(crate) name: &'static str,
    /// What the README calls it.
    pub(crate) label: &'static str,
}

/// The feature that ends in a dead letter.
pub(crate) const DEAD_LETTER: &str = "failing-push-consumer-until-dead-letter";
const FIFO: &str = "fifo-order-through-failures";

const TRANSACTIONS: &str = "transactions";
const ORPHAN: &str = "transaction-producer-killed";
const DELAYED: &str = "delayed";
const RECALL: &str = "recall";

/// Every feature.
pub(crate) const FEATURES: [Feature; 17] = [
    Feature { name: "send-receive-ack", label: "send, receive, ack" },
    Feature { name: "no-redelivery-after-ack", label: "no redelivery after an ack" },
    Feature { name: "redelivery-without-ack", label: "redelivery without an ack, attempt + 1" },
    Feature { name: "change-invisible", label: "change invisible duration" },
    Feature { name: "consumer-killed-while-processing", label: "consumer killed while processing" },
    Feature { name: "push-consumer", label: "push consumer" },
    Feature { name: DEAD_LETTER, label: "failing push consumer, until dead letter" },
    Feature { name: "long-handler-auto-renew", label: "handler longer than a lease, renewed" },
    Feature { name: FIFO, label: "FIFO order through failures" },
    Feature { name: "tag-filter", label: "tag filter" },
    Feature { name: "sql-filter", label: "SQL filter" },
    Feature { name: DELAYED, label: "delayed message" },
    Feature { name: RECALL, label: "recall of a delayed message" },
    Feature { name: "bodies", label: "binary, unicode and 1 MiB bodies" },
    Feature { name: "errors", label: "errors for what is illegal" },
    Feature { name: TRANSACTIONS, label: "transactions: commit, rollback, check-back" },
    Feature { name: ORPHAN, label: "transaction of a killed producer" },
];

/// Makes the topic and the group of every feature for a run.
pub(crate) async fn prepare(admin: &mut AdminClient<Channel>, run: &str) -> Result<()> {
    for feature in &FEATURES {
        let name = format!("{run}-{}", feature.name);
        let kind = match feature.name {
            FIFO => TopicType::Fifo,
            TRANSACTIONS | ORPHAN => TopicType::Transaction,
            DELAYED | RECALL => TopicType::Delay,
            _ => TopicType::Normal,
        };
        let topic = CreateTopicRequest { name: name.clone(), r#type: kind.into(), queues: 0 };
        admin.create_topic(topic).await.with_context(|| format!("create topic {name}"))?;
        if feature.name == DEAD_LETTER {
            let reader =
                CreateGroupRequest { name: format!("{name}-reader"), ..CreateGroupRequest::default() };
            admin.create_group(reader).await.with_context(|| format!("create group {name}-reader"))?;
        }
        admin
            .create_group(group(feature.name, name.clone()))
            .await
            .with_context(|| format!("create group {name}"))?;
    }
    Ok(())
}

fn group(feature: &str, name: String) -> CreateGroupRequest {
    let retry = || Some(create_group_request::Retry::Customized(CustomizedRetry { delays_ms: vec![1_000] }));
    let plain = CreateGroupRequest { name, ..CreateGroupRequest::default() };
    match feature {
        DEAD_LETTER => CreateGroupRequest { max_attempts: 3, retry: retry(), ..plain },
        FIFO => CreateGroupRequest { fifo: true, max_attempts: 16, retry: retry(), ..plain },
        _ => plain,
    }
}
