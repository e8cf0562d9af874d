//! What a feature works with: its own topic and consumer group of the same name, and clients of the official library
//! with the settings every feature shares.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rocketmq::conf::{ClientOption, ProducerOption, SimpleConsumerOption};
use rocketmq::model::common::{FilterExpression, FilterType};
use rocketmq::model::message::{MessageBuilder, MessageView};
use rocketmq::model::transaction::TransactionResolution;
use rocketmq::{Producer, SimpleConsumer};

/// How long a message that must come may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing may come where nothing must; longer than the leases that are left to lapse.
pub const QUIET: Duration = Duration::from_secs(7);
/// The invisible duration of messages that are to come back.
pub const SHORT_LEASE: Duration = Duration::from_secs(3);
pub const LEASE: Duration = Duration::from_secs(30);
/// The long-polling time, which this client takes for the deadline of the call as well.
const AWAIT: Duration = Duration::from_secs(5);

/// A detail, or the reason why the client does not have the feature; or what failed.
pub type Outcome = Result<Result<String, &'static str>, String>;

pub struct Scene {
    pub endpoint: String,
    pub name: String,
}

/// A consumer with the topic and the filter it was made for.
pub struct Consumer {
    consumer: SimpleConsumer,
    topic: String,
    filter: FilterExpression,
}

fn client(endpoint: &str) -> ClientOption {
    let mut option = ClientOption::default();
    option.set_access_url(endpoint);
    option.set_enable_tls(false);
    option.set_long_polling_timeout(AWAIT);
    option
}

pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise())
    }
}

/// A producer that answers how its transactions ended.
pub async fn start_transactional(
    endpoint: &str,
    topic: &str,
    answer: impl Fn(String, MessageView) -> TransactionResolution + Send + Sync + 'static,
) -> Result<Producer, String> {
    let mut option = ProducerOption::default();
    option.set_topics(vec![topic]);
    let mut producer =
        Producer::new_transaction_producer(option, client(endpoint), Box::new(answer)).map_err(text)?;
    producer.start().await.map_err(text)?;
    Ok(producer)
}

impl Scene {
    pub async fn producer(&self) -> Result<Producer, String> {
        let mut option = ProducerOption::default();
        option.set_topics(vec![self.name.as_str()]);
        let mut producer = Producer::new(option, client(&self.endpoint)).map_err(text)?;
        producer.start().await.map_err(text)?;
        Ok(producer)
    }

    pub async fn consumer(&self, expression: &str) -> Result<Consumer, String> {
        Consumer::start(&self.endpoint, &self.name, &self.name, expression).await
    }

    pub async fn consumer_by_sql(&self, expression: &str) -> Result<Consumer, String> {
        let consumer = self.consumer("*").await?;
        Ok(Consumer { filter: FilterExpression::new(FilterType::Sql, expression), ..consumer })
    }

    pub fn message(&self, body: impl Into<Vec<u8>>) -> MessageBuilder {
        MessageBuilder::builder().set_topic(&self.name).set_body(body.into())
    }
}

/// Sends a message and returns its id.
pub async fn send(producer: &Producer, message: MessageBuilder) -> Result<String, String> {
    let receipt = producer.send(message.build().map_err(text)?).await.map_err(text)?;
    Ok(receipt.message_id().to_string())
}

pub fn property(key: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(key.to_string(), value.to_string())])
}

impl Consumer {
    pub async fn start(endpoint: &str, topic: &str, group: &str, expression: &str) -> Result<Self, String> {
        let mut option = SimpleConsumerOption::default();
        option.set_topics(vec![topic]);
        option.set_consumer_group(group);
        let mut consumer = SimpleConsumer::new(option, client(endpoint)).map_err(text)?;
        consumer.start().await.map_err(text)?;
        Ok(Self {
            consumer,
            topic: topic.to_string(),
            filter: FilterExpression::new(FilterType::Tag, expression),
        })
    }

    pub async fn poll(&self, count: i32, lease: Duration) -> Result<Vec<MessageView>, String> {
        self.consumer.receive_with(&self.topic, &self.filter, count, lease).await.map_err(text)
    }

    /// Collects so many messages, each delivered once.
    pub async fn receive(&self, count: usize, lease: Duration) -> Result<Vec<MessageView>, String> {
        let mut messages = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while messages.len() < count {
            require(Instant::now() < deadline, || {
                format!("{} of {count} messages came in {PATIENCE:?}", messages.len())
            })?;
            messages.extend(self.poll(16, lease).await?);
        }
        require(messages.len() == count, || {
            format!("{} messages came where {count} were sent", messages.len())
        })?;
        Ok(messages)
    }

    pub async fn receive_one(&self, lease: Duration) -> Result<MessageView, String> {
        self.receive(1, lease).await?.pop().ok_or_else(|| "no message".to_string())
    }

    /// Fails if a message comes within the quiet time.
    pub async fn nothing_comes(&self) -> Result<(), String> {
        let end = Instant::now() + QUIET;
        while Instant::now() < end {
            if let Some(m) = self.poll(16, SHORT_LEASE).await?.first() {
                return Err(format!(
                    "message {} came again, attempt {}",
                    m.message_id(),
                    m.delivery_attempt()
                ));
            }
        }
        Ok(())
    }

    pub async fn ack(&self, messages: Vec<MessageView>) -> Result<(), String> {
        for message in messages {
            self.consumer.ack(&message).await.map_err(text)?;
        }
        Ok(())
    }

    pub async fn shutdown(self) -> Result<(), String> {
        self.consumer.shutdown().await.map_err(text)
    }
}
