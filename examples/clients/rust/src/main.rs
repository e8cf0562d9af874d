//! Sends one message, receives it, acknowledges it. Run a broker with `make run`, then here: cargo run

use std::error::Error;
use std::time::Duration;

use rocketmq::conf::{ClientOption, ProducerOption, SimpleConsumerOption};
use rocketmq::model::common::{FilterExpression, FilterType};
use rocketmq::model::message::MessageBuilder;
use rocketmq::{Producer, SimpleConsumer};

fn client() -> ClientOption {
    let mut option = ClientOption::default();
    option.set_access_url("127.0.0.1:8081");
    option.set_enable_tls(false); // the broker speaks plaintext
    option.set_long_polling_timeout(Duration::from_secs(5));
    option
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut option = ProducerOption::default();
    option.set_topics(vec!["greetings-rust"]);
    let mut producer = Producer::new(option, client())?;
    producer.start().await?;
    let message = MessageBuilder::builder().set_topic("greetings-rust").set_body("hello from Rust".into()).build()?;
    println!("sent {}", producer.send(message).await?.message_id());

    let mut option = SimpleConsumerOption::default();
    option.set_topics(vec!["greetings-rust"]);
    option.set_consumer_group("greeters");
    let mut consumer = SimpleConsumer::new(option, client())?;
    consumer.start().await?;
    let all = FilterExpression::new(FilterType::Tag, "*");
    for message in consumer.receive_with("greetings-rust", &all, 1, Duration::from_secs(30)).await? {
        println!("received {}: {}", message.message_id(), String::from_utf8_lossy(message.body()));
        // Without this the message comes back after 30 s.
        consumer.ack(&message).await?;
    }
    consumer.shutdown().await?;
    producer.shutdown().await?;
    Ok(())
}
