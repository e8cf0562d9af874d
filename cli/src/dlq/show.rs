//! Dead letters as people and programs see them.

use std::collections::BTreeMap;

use rq_proto::reliablequeue as pb;
use serde::Serialize;

use crate::consume::Body;
use crate::failure::Failure;
use crate::output::{self, Output};

/// Characters of a body that a table shows.
const BODY_SHOWN: usize = 40;

/// A dead letter as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    offset: i64,
    message_id: String,
    topic: String,
    queue: u32,
    tag: String,
    keys: Vec<String>,
    message_group: String,
    properties: BTreeMap<String, String>,
    #[serde(flatten)]
    body: Body,
    born_time_ms: i64,
    store_time_ms: i64,
}

/// A table, one a line, or a list.
pub(super) fn list(output: Output, letters: Vec<pb::DeadLetter>) -> Result<(), Failure> {
    if output == Output::Json {
        return output::json(&letters.into_iter().map(Shown::from).collect::<Vec<_>>());
    }
    let rows = letters.into_iter().map(|letter| {
        let (offset, stored) = (letter.offset.to_string(), output::time(letter.store_time_ms));
        let (tag, keys) = (output::or_dash(&letter.tag), output::or_dash(&letter.keys.join(" ")));
        vec![
            offset,
            letter.message_id,
            letter.topic,
            tag,
            keys,
            stored,
            output::body(&letter.body, BODY_SHOWN),
        ]
    });
    output::table(&["OFFSET", "MESSAGE ID", "TOPIC", "TAG", "KEYS", "STORED", "BODY"], rows)
}

/// All of one.
pub(super) fn one(output: Output, letter: pb::DeadLetter) -> Result<(), Failure> {
    if output == Output::Json {
        return output::json(&Shown::from(letter));
    }
    let properties: BTreeMap<_, _> = letter.properties.iter().collect();
    let properties: Vec<String> = properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
    output::fields(&[
        ("offset", letter.offset.to_string()),
        ("message id", letter.message_id),
        ("topic", letter.topic),
        ("queue", letter.queue.to_string()),
        ("tag", output::or_dash(&letter.tag)),
        ("keys", output::or_dash(&letter.keys.join(" "))),
        ("message group", output::or_dash(&letter.message_group)),
        ("properties", output::or_dash(&output::body(properties.join(" ").as_bytes(), usize::MAX))),
        ("born", output::time(letter.born_time_ms)),
        ("stored", output::time(letter.store_time_ms)),
        ("body", output::bytes(letter.body.len() as u64)),
    ])?;
    output::line("")?;
    output::line(&output::body(&letter.body, usize::MAX))
}

impl From<pb::DeadLetter> for Shown {
    fn from(letter: pb::DeadLetter) -> Self {
        Self {
            offset: letter.offset,
            message_id: letter.message_id,
            topic: letter.topic,
            queue: letter.queue,
            tag: letter.tag,
            keys: letter.keys,
            message_group: letter.message_group,
            properties: letter.properties,
            body: Body::from(letter.body.as_slice()),
            born_time_ms: letter.born_time_ms,
            store_time_ms: letter.store_time_ms,
        }
    }
}
