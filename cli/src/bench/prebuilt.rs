//! A `SendMessage` request that is encoded once and sent many times: only the message id and a time stamp inside the
//! body change, and they are written straight into the buffer that goes out.

use std::sync::Arc;

use prost::Message as _;
use rand::Rng as _;
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

/// A request with gaps for the id and the stamp.
pub(super) struct Template {
    bytes: Vec<u8>,
    id_at: usize,
    /// None where the body is too short for it.
    stamp_at: Option<usize>,
}

impl Template {
    /// For bodies of random bytes of that size.
    pub(super) fn new(topic: &str, message_group: Option<String>, size: usize) -> Self {
        // Not hexadecimal, and random, so that it is found nowhere else.
        let marker: String = (0..message_id::LEN).map(|_| rand::random_range('g'..='z')).collect();
        let mut body = vec![0; size];
        rand::rng().fill_bytes(&mut body);
        let kind = if message_group.is_some() { pb::MessageType::Fifo } else { pb::MessageType::Normal };
        let system = pb::SystemProperties {
            message_id: marker.clone(),
            message_type: kind.into(),
            body_encoding: pb::Encoding::Identity.into(),
            born_host: "rq-bench".to_owned(),
            born_timestamp: Some(std::time::SystemTime::now().into()),
            message_group,
            ..Default::default()
        };
        let message = pb::Message {
            topic: Some(named(topic)),
            system_properties: Some(system),
            body: body.into(),
            ..Default::default()
        };
        let bytes = pb::SendMessageRequest { messages: vec![message] }.encode_to_vec();
        let find = bytes.windows(message_id::LEN).position(|window| window == marker.as_bytes());
        // The body is the last field of the message, and the message the last of the request.
        let stamp_at = (size >= STAMP).then(|| bytes.len() - size);
        Self { id_at: find.unwrap_or_default(), stamp_at, bytes }
    }
}

/// One message to send.
pub(super) struct Filled {
    pub(super) template: Arc<Template>,
    pub(super) id: [u8; message_id::LEN],
    /// When it was due, nanoseconds since 1970.
    pub(super) stamp: u64,
}

impl Filled {
    fn write(&self, out: &mut impl bytes::BufMut) {
        let Template { bytes, id_at, stamp_at } = &*self.template;
        let id_end = id_at + message_id::LEN;
        out.put_slice(&bytes[..*id_at]);
        out.put_slice(&self.id);
        match stamp_at {
            Some(stamp_at) => {
                out.put_slice(&bytes[id_end..*stamp_at]);
                out.put_u64_le(self.stamp);
                out.put_slice(&bytes[stamp_at + STAMP..]);
            }
            None => out.put_slice(&bytes[id_end..]),
        }
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

    fn filled(size: usize, message_group: Option<&str>) -> pb::Message {
        let template = Template::new("bench", message_group.map(str::to_owned), size);
        let filled =
            Filled { template: Arc::new(template), id: *b"01ABCDEF00010212340102030400000001", stamp: 77 };
        let mut bytes = Vec::new();
        filled.write(&mut bytes);
        let request = pb::SendMessageRequest::decode(&bytes[..]).unwrap();
        request.messages.into_iter().next().unwrap()
    }

    #[test]
    fn a_filled_template_is_the_message_it_should_be() {
        let message = filled(1024, Some("g1"));
        let system = message.system_properties.unwrap();
        assert_eq!(system.message_id, "01ABCDEF00010212340102030400000001");
        assert_eq!(system.message_group.as_deref(), Some("g1"));
        assert_eq!((message.body.len(), stamp(&message.body)), (1024, Some(77)));
        assert_eq!(message.topic.unwrap().name, "bench");
    }

    #[test]
    fn a_body_too_short_for_a_stamp_is_sent_without() {
        let message = filled(7, None);
        assert_eq!((message.body.len(), stamp(&message.body)), (7, None));
        assert_eq!(filled(8, None).body.len(), 8);
    }
}
