//! The features that the released client has: a producer and a simple consumer.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rocketmq::model::message::MessageBuilder;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::scene::{property, require, send, Consumer, Outcome, Scene, LEASE, QUIET, SHORT_LEASE};

pub async fn send_receive_ack(scene: Scene) -> Outcome {
    const COUNT: usize = 10;
    let producer = scene.producer().await?;
    let mut sent = HashMap::new();
    for i in 0..COUNT {
        let message = scene
            .message(format!("body {i}"))
            .set_tag("tag")
            .set_keys(vec!["key".to_string(), format!("key-{i}")])
            .set_properties(property("number", &i.to_string()));
        sent.insert(send(&producer, message).await?, i);
    }
    let consumer = scene.consumer("*").await?;
    let messages = consumer.receive(COUNT, LEASE).await?;
    for m in &messages {
        let i =
            sent.remove(m.message_id()).ok_or_else(|| format!("message {} came twice", m.message_id()))?;
        require(m.body() == format!("body {i}").as_bytes(), || {
            format!("body {:?} of message {i}", m.body())
        })?;
        require(m.tag() == Some("tag"), || format!("tag {:?}", m.tag()))?;
        require(m.keys() == ["key".to_string(), format!("key-{i}")], || format!("keys {:?}", m.keys()))?;
        require(*m.properties() == property("number", &i.to_string()), || format!("{:?}", m.properties()))?;
        require(m.topic() == scene.name, || format!("topic {}", m.topic()))?;
        require(m.delivery_attempt() == 1, || format!("attempt {}, want 1", m.delivery_attempt()))?;
    }
    consumer.ack(messages).await?;
    consumer.shutdown().await?;
    producer.shutdown().await.map_err(|e| e.to_string())?;
    Ok(Ok(format!("{COUNT} messages")))
}

pub async fn no_redelivery_after_ack(scene: Scene) -> Outcome {
    let producer = scene.producer().await?;
    for i in 0..3 {
        send(&producer, scene.message(i.to_string())).await?;
    }
    let consumer = scene.consumer("*").await?;
    consumer.ack(consumer.receive(3, SHORT_LEASE).await?).await?;
    consumer.nothing_comes().await?;
    Ok(Ok(format!("quiet for {QUIET:?} after acks of leases of {SHORT_LEASE:?}")))
}

pub async fn redelivery_without_ack(scene: Scene) -> Outcome {
    let producer = scene.producer().await?;
    let id = send(&producer, scene.message("come back")).await?;
    let consumer = scene.consumer("*").await?;
    let mut earlier = Vec::new();
    for attempt in 1..=3 {
        let m = consumer.receive_one(SHORT_LEASE).await?;
        require(m.message_id() == id && m.delivery_attempt() == attempt, || {
            format!(
                "message {} attempt {}, want {id} attempt {attempt}",
                m.message_id(),
                m.delivery_attempt()
            )
        })?;
        earlier.push(m);
    }
    let newest = earlier.pop().into_iter().collect();
    let Err(refusal) = consumer.ack(earlier).await else {
        return Err("an ack with the handle of an earlier delivery: accepted".into());
    };
    consumer.ack(newest).await?;
    Ok(Ok(format!("attempts 1, 2, 3; ack of the first delivery: {refusal}")))
}

/// This client has no push consumer: the order is that of what a FIFO group receives, with leases left to lapse.
pub async fn fifo_order(scene: Scene) -> Outcome {
    const PER_GROUP: usize = 5;
    let producer = scene.producer().await?;
    for i in 0..PER_GROUP {
        for group in ["a", "b"] {
            send(&producer, scene.message(format!("{group} {i}")).set_message_group(group)).await?;
        }
    }
    let consumer = scene.consumer("*").await?;
    let mut failures = HashMap::from([("a 2".to_string(), 1), ("b 3".to_string(), 2)]);
    let mut done = HashMap::from([("a".to_string(), 0), ("b".to_string(), 0)]);
    while done.values().any(|n| *n < PER_GROUP) {
        for m in consumer.poll(16, SHORT_LEASE).await? {
            let body = String::from_utf8_lossy(m.body()).to_string();
            let group = m.message_group().unwrap_or_default().to_string();
            let expected =
                done.get_mut(&group).ok_or_else(|| format!("message group {group:?} of {body}"))?;
            require(body == format!("{group} {expected}"), || {
                format!("{body} came while {expected} of its message group is not done")
            })?;
            match failures.get_mut(&body) {
                Some(left) if *left > 0 => *left -= 1,
                _ => {
                    *expected += 1;
                    consumer.ack(vec![m]).await?;
                }
            }
        }
    }
    Ok(Ok("2 message groups of 5 in order through 3 lapsed leases".into()))
}

pub async fn tag_filter(scene: Scene) -> Outcome {
    let producer = scene.producer().await?;
    for tag in ["a", "b", "c", "", "a", "b"] {
        let message = scene.message(format!("tag {tag}"));
        send(&producer, if tag.is_empty() { message } else { message.set_tag(tag) }).await?;
    }
    let consumer = scene.consumer("a || c").await?;
    let messages = consumer.receive(3, LEASE).await?;
    let mut got: Vec<_> = messages.iter().map(|m| String::from_utf8_lossy(m.body()).to_string()).collect();
    got.sort();
    require(got == ["tag a", "tag a", "tag c"], || format!("got {got:?}"))?;
    consumer.ack(messages).await?;
    consumer.nothing_comes().await?;
    Ok(Ok("\"a || c\" of a, b, c and none".into()))
}

pub async fn sql_filter(scene: Scene) -> Outcome {
    let producer = scene.producer().await?;
    for number in ["1", "3", "12"] {
        let message = scene.message(format!("number {number}"));
        send(&producer, message.set_properties(property("number", number))).await?;
    }
    send(&producer, scene.message("number none")).await?;
    send(&producer, scene.message("number always").set_tag("always")).await?;
    let expression = "number >= 3 OR TAGS = 'always'";
    let consumer = scene.consumer_by_sql(expression).await?;
    let messages = consumer.receive(3, LEASE).await?;
    let mut got: Vec<_> = messages.iter().map(|m| String::from_utf8_lossy(m.body()).to_string()).collect();
    got.sort();
    require(got == ["number 12", "number 3", "number always"], || format!("got {got:?}"))?;
    consumer.ack(messages).await?;
    consumer.nothing_comes().await?;
    Ok(Ok(expression.into()))
}

pub async fn bodies(scene: Scene) -> Outcome {
    let sent: HashMap<&str, Vec<u8>> = HashMap::from([
        ("binary", (0..=255).collect()),
        ("unicode", "žluťoučký 馬 🐎\0\n".into()),
        ("mebibyte", (0..1_u32 << 20).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()),
        ("byte", vec![0]),
    ]);
    let producer = scene.producer().await?;
    for (kind, body) in &sent {
        let mut properties = property("kind", kind);
        properties.extend(property("ключ-鍵", "значение 値 🗝"));
        send(&producer, scene.message(body.clone()).set_properties(properties)).await?;
    }
    let consumer = scene.consumer("*").await?;
    let messages = consumer.receive(sent.len(), LEASE).await?;
    for m in &messages {
        let kind = m.properties().get("kind").map_or("", String::as_str);
        require(sent.get(kind).is_some_and(|body| body == m.body()), || {
            format!("the {kind} body came back changed")
        })?;
        require(
            m.properties().get("ключ-鍵").is_some_and(|v| v == "значение 値 🗝"),
            || format!("unicode property came back as {:?}", m.properties()),
        )?;
    }
    consumer.ack(messages).await?;
    Ok(Ok("every byte value, unicode with properties, 1 MiB, 1 byte".into()))
}

pub async fn illegal_input(scene: Scene) -> Outcome {
    let producer = scene.producer().await?;
    let unknown = format!("{}-unknown", scene.name);
    let cases: [(&str, MessageBuilder); 7] = [
        ("empty body", scene.message("")),
        ("body over the limit", scene.message(vec![0; (4 << 20) + 1])),
        ("illegal topic", scene.message("x").set_topic("no spaces!")),
        ("unknown topic", scene.message("x").set_topic(&unknown)),
        ("message group on a normal topic", scene.message("x").set_message_group("group")),
        ("reserved property", scene.message("x").set_properties(property("UNIQ_KEY", "x"))),
        ("tag with a bar", scene.message("x").set_tag("a|b")),
    ];
    let mut seen = Vec::new();
    for (what, message) in cases {
        let Err(error) = send(&producer, message).await else { return Err(format!("{what}: accepted")) };
        seen.push(format!("{what}: {error}"));
    }
    let receive = async {
        Consumer::start(&scene.endpoint, &unknown, &scene.name, "*").await?.poll(1, SHORT_LEASE).await
    };
    let Err(error) = receive.await else { return Err("receive from an unknown topic: accepted".into()) };
    seen.push(format!("receive from an unknown topic: {error}"));
    send(&producer, scene.message("a legal message after the illegal ones")).await?;
    Ok(Ok(seen.join("; ")))
}

/// Kills a consumer in the middle of a message: another one must get it.
pub async fn consumer_killed(scene: Scene) -> Outcome {
    let producer = scene.producer().await?;
    let id = send(&producer, scene.message("survive")).await?;
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut holder = tokio::process::Command::new(program)
        .args(["--endpoint", &scene.endpoint, "--hold", &scene.name, &scene.name])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| e.to_string())?;
    let output = holder.stdout.take().ok_or("no output of the consumer to be killed")?;
    let line = BufReader::new(output).lines().next_line().await.map_err(|e| e.to_string())?;
    holder.kill().await.map_err(|e| e.to_string())?;
    require(line.as_deref() == Some(&format!("held {id}")), || {
        format!("the consumer to be killed said {line:?}")
    })?;
    let killed = Instant::now();
    let m = scene.consumer("*").await?.receive_one(LEASE).await?;
    require(m.message_id() == id && m.delivery_attempt() == 2, || {
        format!("message {} attempt {}, want {id} attempt 2", m.message_id(), m.delivery_attempt())
    })?;
    Ok(Ok(format!("another consumer got it after {} s", killed.elapsed().as_secs())))
}

/// Takes a message and never finishes with it, until the process is killed.
pub async fn hold_message(endpoint: &str, topic: &str, group: &str) {
    let held = async {
        Consumer::start(endpoint, topic, group, "*").await?.receive_one(Duration::from_secs(15)).await
    };
    match held.await {
        Ok(message) => {
            println!("held {}", message.message_id());
            std::future::pending::<()>().await;
        }
        Err(error) => eprintln!("{error}"),
    }
}
