//! A `SendMessage` request that is encoded once and sent many times: only the message id, the time of a delayed message
//! and a time stamp inside the body change, and they are written straight into the buffer that goes out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rand::Rng as _;
use rq_filter::Properties;
use rq_proto::rocketmq as pb;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use crate::client::named;
use crate::message_id;

/// Bytes of the stamp at the beginning of each body that has room for it.
pub(super) const STAMP: usize = 8;
/// Room for an answer; it grows where that does not suffice.
const ANSWER_BYTES: usize = 256;
/// Bytes that tonic puts before a message.
const PREFIX: usize = 5;

/// Bytes of the time of a delayed message, see [`timestamp`].
const TIME: usize = 12;
const NANOS_A_SECOND: u64 = 1_000_000_000;

/// What a message waits for before consumers get it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Hold {
    #[default]
    Nothing,
    /// The commit of its transaction.
    Transaction,
    /// So long, from the beginning of its send.
    Delay(Duration),
}

/// What the messages of a template have in common.
#[derive(Default)]
pub(super) struct Content {
    pub(super) topic: String,
    pub(super) message_group: Option<String>,
    /// Bytes of a body.
    pub(super) size: usize,
    pub(super) tag: Option<String>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) hold: Hold,
}

impl Content {
    fn kind(&self) -> pb::MessageType {
        match self.hold {
            Hold::Nothing if self.message_group.is_some() => pb::MessageType::Fifo,
            Hold::Nothing => pb::MessageType::Normal,
            Hold::Transaction => pb::MessageType::Transaction,
            Hold::Delay(_) => pb::MessageType::Delay,
        }
    }
}

/// As a SQL filter sees them.
impl Properties for Content {
    fn get(&self, name: &str) -> Option<&str> {
        if name == "TAGS" { self.tag.as_deref() } else { self.properties.get(name).map(String::as_str) }
    }
}

/// A request with gaps for the id, the time and the stamp.
pub(super) struct Template {
    bytes: Vec<u8>,
    id_at: usize,
    /// None where the message is not delayed.
    time_at: Option<usize>,
    /// None where the body is too short for it.
    stamp_at: Option<usize>,
}

impl Template {
    /// For bodies of random bytes.
    pub(super) fn new(content: Content) -> Self {
        // Not hexadecimal, and random, so that it is found nowhere else.
        let marker: String = (0..message_id::LEN).map(|_| rand::random_range('g'..='z')).collect();
        let mut body = vec![0; content.size];
        rand::rng().fill_bytes(&mut body);
        // Likewise as long as any other moment and far from all of them.
        let time_marker = matches!(content.hold, Hold::Delay(_)).then_some(u64::MAX);
        let system = pb::SystemProperties {
            message_id: marker.clone(),
            message_type: content.kind().into(),
            tag: content.tag,
            body_encoding: pb::Encoding::Identity.into(),
            born_host: "rq-bench".to_owned(),
            born_timestamp: Some(std::time::SystemTime::now().into()),
            message_group: content.message_group,
            delivery_timestamp: time_marker.map(|nanos| prost_types::Timestamp {
                seconds: (nanos / NANOS_A_SECOND).cast_signed(),
                nanos: (nanos % NANOS_A_SECOND) as i32,
            }),
            ..Default::default()
        };
        let message = pb::Message {
            topic: Some(named(&content.topic)),
            user_properties: content.properties,
            system_properties: Some(system),
            body: body.into(),
        };
        let bytes = pb::SendMessageRequest { messages: vec![message] }.encode_to_vec();
        let find = |marker: &[u8]| bytes.windows(marker.len()).position(|window| window == marker);
        let id_at = find(marker.as_bytes()).unwrap_or_default();
        let time_at = time_marker.and_then(|nanos| find(&timestamp(nanos)));
        // The body is the last field of the message, and the message the last of the request.
        let stamp_at = (content.size >= STAMP).then(|| bytes.len() - content.size);
        Self { bytes, id_at, time_at, stamp_at }
    }
}

/// A moment in nanoseconds since 1970 as a `Timestamp` on the wire. Its numbers are filled up to their longest, so that
/// all have as many bytes; readers take them like shorter ones.
fn timestamp(nanos: u64) -> [u8; TIME] {
    const SECONDS: u8 = 1 << 3;
    const NANOS: u8 = 2 << 3;
    let mut wire = [0; TIME];
    for (field, tag, number) in
        [(0, SECONDS, nanos / NANOS_A_SECOND), (TIME / 2, NANOS, nanos % NANOS_A_SECOND)]
    {
        wire[field] = tag;
        for (index, byte) in wire[field + 1..field + TIME / 2].iter_mut().enumerate() {
            // Seven bits a byte, and the eighth says that more follow.
            let more = if index + 2 < TIME / 2 { 0x80 } else { 0 };
            *byte = (number >> (7 * index)) as u8 & 0x7F | more;
        }
    }
    wire
}

/// One message to send.
#[derive(Clone)]
pub(super) struct Filled {
    pub(super) template: Arc<Template>,
    pub(super) id: [u8; message_id::LEN],
    /// When its send was due, nanoseconds since 1970.
    pub(super) stamp: u64,
    /// When a delayed message is to be delivered, nanoseconds since 1970.
    pub(super) time: u64,
}

impl Filled {
    fn write(&self, out: &mut impl bytes::BufMut) {
        let Template { bytes, id_at, time_at, stamp_at } = &*self.template;
        let (time, stamp) = (timestamp(self.time), self.stamp.to_le_bytes());
        let gaps: [(Option<usize>, &[u8]); 3] =
            [(Some(*id_at), &self.id), (*time_at, &time), (*stamp_at, &stamp)];
        let mut from = 0;
        for (at, gap) in gaps {
            let Some(at) = at else { continue };
            out.put_slice(&bytes[from..at]);
            out.put_slice(gap);
            from = at + gap.len();
        }
        out.put_slice(&bytes[from..]);
    }
}

/// The stamp of a body made by a template.
pub(super) fn stamp(body: &[u8]) -> Option<u64> {
    body.first_chunk().map(|stamp| u64::from_le_bytes(*stamp))
}

/// Encodes filled templates, decodes the answers.
pub(super) struct SendCodec {
    /// Bytes of a request.
    len: usize,
}

impl SendCodec {
    pub(super) fn of(template: &Template) -> Self {
        Self { len: template.bytes.len() }
    }
}

impl Codec for SendCodec {
    type Encode = Filled;
    type Decode = pb::SendMessageResponse;
    type Encoder = FilledEncoder;
    type Decoder = ProstDecoder<pb::SendMessageResponse>;

    fn encoder(&mut self) -> FilledEncoder {
        FilledEncoder(BufferSettings::new(self.len + PREFIX, self.len))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(ANSWER_BYTES, ANSWER_BYTES))
    }
}

/// Encodes a filled template.
pub(super) struct FilledEncoder(BufferSettings);

impl Encoder for FilledEncoder {
    type Item = Filled;
    type Error = Status;

    fn encode(&mut self, item: Filled, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.write(out);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(content: Content) -> pb::Message {
        let filled = Filled {
            template: Arc::new(Template::new(Content { topic: "bench".to_owned(), ..content })),
            id: *b"01ABCDEF00010212340102030400000001",
            stamp: 77,
            time: 1_800_000_000_000_000_005,
        };
        let mut bytes = Vec::new();
        filled.write(&mut bytes);
        let request = pb::SendMessageRequest::decode(&bytes[..]).unwrap();
        request.messages.into_iter().next().unwrap()
    }

    #[test]
    fn a_filled_template_is_the_message_it_should_be() {
        let group = Some("g1".to_owned());
        let message = filled(Content { size: 1024, message_group: group, ..Content::default() });
        let system = message.system_properties.unwrap();
        assert_eq!(system.message_id, "01ABCDEF00010212340102030400000001");
        assert_eq!(system.message_group.as_deref(), Some("g1"));
        assert_eq!((message.body.len(), stamp(&message.body)), (1024, Some(77)));
        assert_eq!(message.topic.unwrap().name, "bench");
    }

    #[test]
    fn a_body_too_short_for_a_stamp_is_sent_without() {
        let message = filled(Content { size: 7, ..Content::default() });
        assert_eq!((message.body.len(), stamp(&message.body)), (7, None));
        assert_eq!(filled(Content { size: 8, ..Content::default() }).body.len(), 8);
    }

    #[test]
    fn a_delayed_message_has_its_own_time_and_every_other_part_too() {
        let hold = Hold::Delay(Duration::from_secs(5));
        let tag = Some("paid".to_owned());
        let properties = BTreeMap::from([("amount".to_owned(), "250".to_owned())]);
        let message = filled(Content { size: 64, tag, properties, hold, ..Content::default() });
        let system = message.system_properties.unwrap();
        assert_eq!(system.message_id, "01ABCDEF00010212340102030400000001");
        let time = prost_types::Timestamp { seconds: 1_800_000_000, nanos: 5 };
        assert_eq!((system.delivery_timestamp, system.tag.as_deref()), (Some(time), Some("paid")));
        assert_eq!(message.user_properties["amount"], "250");
        assert_eq!((message.body.len(), stamp(&message.body)), (64, Some(77)));
    }

    #[test]
    fn a_moment_is_as_long_as_any_other() {
        for nanos in [0, 1, 999_999_999, 1_800_000_000_000_000_005, u64::MAX] {
            let read = prost_types::Timestamp::decode(&timestamp(nanos)[..]).unwrap();
            assert_eq!(
                read.seconds.cast_unsigned() * NANOS_A_SECOND + u64::from(read.nanos.cast_unsigned()),
                nanos
            );
        }
    }
}
