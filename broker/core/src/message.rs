//! What a client's message is in the log: its properties and body as one run of bytes with a checksum, encoded
//! once by the gateway that received it and decoded by the one that delivers it. The state machine never looks
//! inside.
//!
//! Layout: `crc32c u32 | properties_len u32 | properties | body`; the checksum covers all that follows it.
//! Properties are `tag u8 | len varint | bytes` fields, so that later versions can add some; unknown ones are
//! skipped.

use bytes::Bytes;

use crate::codec::{Malformed, Reader, Write as _};
use crate::hash;

/// How a body is encoded. Bodies are kept as they came, never decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum BodyEncoding {
    /// As it is.
    #[default]
    Identity = 1,
    /// Labelled GZIP by the client (zlib in the case of C++).
    Gzip = 2,
}

/// A message's properties and body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MessageContent<'a> {
    /// Made by the client, kept as it is.
    pub message_id: &'a str,
    /// The tag.
    pub tag: Option<&'a str>,
    /// The keys.
    pub keys: Vec<&'a str>,
    /// The FIFO key.
    pub message_group: Option<&'a str>,
    /// Passed through.
    pub trace_context: Option<&'a str>,
    /// Client's wall clock, milliseconds since 1970.
    pub born_ms: i64,
    /// Where it was born.
    pub born_host: &'a str,
    /// How the body is encoded.
    pub encoding: BodyEncoding,
    /// The user's properties, sorted by key.
    pub properties: Vec<(&'a str, &'a str)>,
    /// The body.
    pub body: Bytes,
}

mod field {
    pub(super) const MESSAGE_ID: u8 = 1;
    pub(super) const TAG: u8 = 2;
    pub(super) const KEY: u8 = 3;
    pub(super) const MESSAGE_GROUP: u8 = 4;
    pub(super) const TRACE_CONTEXT: u8 = 5;
    pub(super) const BORN_MS: u8 = 6;
    pub(super) const BORN_HOST: u8 = 7;
    pub(super) const ENCODING: u8 = 8;
    pub(super) const PROPERTY_KEY: u8 = 9;
    pub(super) const PROPERTY_VALUE: u8 = 10;
}

/// Bytes before the properties.
const PREFIX: usize = 8;

impl MessageContent<'_> {
    /// Encodes properties and body.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(PREFIX + 192 + self.body.len());
        out.put(&[0; PREFIX]);
        let mut text = |tag: u8, value: &str| {
            out.put_u8(tag);
            out.put_bytes(value.as_bytes());
        };
        text(field::MESSAGE_ID, self.message_id);
        if let Some(tag) = self.tag {
            text(field::TAG, tag);
        }
        for key in &self.keys {
            text(field::KEY, key);
        }
        if let Some(message_group) = self.message_group {
            text(field::MESSAGE_GROUP, message_group);
        }
        if let Some(trace_context) = self.trace_context {
            text(field::TRACE_CONTEXT, trace_context);
        }
        text(field::BORN_HOST, self.born_host);
        for (key, value) in &self.properties {
            text(field::PROPERTY_KEY, key);
            text(field::PROPERTY_VALUE, value);
        }
        out.put_u8(field::BORN_MS);
        out.put_bytes(&self.born_ms.to_le_bytes());
        out.put_u8(field::ENCODING);
        out.put_bytes(&[self.encoding as u8]);

        let properties_len = (out.len() - PREFIX) as u32;
        out.put(&self.body);
        out[4..PREFIX].copy_from_slice(&properties_len.to_le_bytes());
        let crc = hash::crc32c(&out[4..]);
        out[..4].copy_from_slice(&crc.to_le_bytes());
        Bytes::from(out)
    }
}

impl<'a> MessageContent<'a> {
    /// Whether the checksum matches.
    #[must_use]
    pub fn is_whole(bytes: &[u8]) -> bool {
        bytes.split_first_chunk().is_some_and(|(crc, rest)| u32::from_le_bytes(*crc) == hash::crc32c(rest))
    }

    /// Decodes and checks the checksum. The body is a slice of `bytes`, not a copy.
    pub fn decode(bytes: &'a Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let crc = reader.u32("message checksum")?;
        if crc != hash::crc32c(bytes.get(4..).unwrap_or_default()) {
            return Err(reader.malformed("message checksum"));
        }
        let properties_len = reader.u32("length of message properties")? as usize;
        let mut properties = Reader::new(reader.take(properties_len, "message properties")?);
        let mut content = MessageContent { body: bytes.slice(reader.position()..), ..Default::default() };
        while !properties.is_empty() {
            content.decode_field(&mut properties)?;
        }
        Ok(content)
    }

    fn decode_field(&mut self, properties: &mut Reader<'a>) -> Result<(), Malformed> {
        const WHAT: &str = "message property";
        let tag = properties.u8(WHAT)?;
        match tag {
            field::MESSAGE_ID => self.message_id = properties.str(WHAT)?,
            field::TAG => self.tag = Some(properties.str(WHAT)?),
            field::KEY => self.keys.push(properties.str(WHAT)?),
            field::MESSAGE_GROUP => self.message_group = Some(properties.str(WHAT)?),
            field::TRACE_CONTEXT => self.trace_context = Some(properties.str(WHAT)?),
            field::BORN_HOST => self.born_host = properties.str(WHAT)?,
            field::PROPERTY_KEY => self.properties.push((properties.str(WHAT)?, "")),
            field::PROPERTY_VALUE => {
                let value = properties.str(WHAT)?;
                self.properties.last_mut().ok_or(properties.malformed(WHAT))?.1 = value;
            }
            field::BORN_MS => self.born_ms = Reader::new(properties.bytes(WHAT)?).u64(WHAT)?.cast_signed(),
            field::ENCODING => {
                self.encoding = match properties.bytes(WHAT)? {
                    [2] => BodyEncoding::Gzip,
                    _ => BodyEncoding::Identity,
                }
            }
            _ => drop(properties.bytes(WHAT)?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> MessageContent<'static> {
        MessageContent {
            message_id: "01AABBCCDDEEFF00112233445566778899",
            tag: Some("TagA"),
            keys: vec!["k1", "k2"],
            message_group: Some("order-7"),
            trace_context: None,
            born_ms: 1_700_000_000_123,
            born_host: "host",
            encoding: BodyEncoding::Gzip,
            properties: vec![("a", "1"), ("b", "")],
            body: Bytes::from_static(b"\x00\xffbody"),
        }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let bytes = example().encode();
        assert_eq!(MessageContent::decode(&bytes).unwrap(), example());
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let bytes = example().encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << (at % 8);
            assert!(MessageContent::decode(&Bytes::from(damaged)).is_err(), "bit at byte {at}");
            assert!(MessageContent::decode(&bytes.slice(..at)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn fuzzed_contents_are_refused_or_read_back() {
        // The checksum is put right, or nothing would get past it.
        let whole = |input: &[u8]| [&hash::crc32c(input).to_le_bytes(), input].concat();
        rq_fuzz::fuzz([example().encode()[4..].to_vec()], |input| {
            let bytes = Bytes::from(whole(input));
            match MessageContent::decode(&bytes) {
                Ok(content) => {
                    let again = content.encode();
                    assert_eq!(MessageContent::decode(&again).as_ref(), Ok(&content));
                    Ok((content.keys.len(), content.properties.len(), content.tag.is_some()))
                }
                Err(malformed) => Err(malformed.to_string()),
            }
        });
    }

    proptest! {
        #[test]
        fn any_text_and_body_survive(id in ".*", tag in proptest::option::of(".*"), keys in proptest::collection::vec(".*", 0..4), body: Vec<u8>) {
            let content = MessageContent {
                message_id: &id,
                tag: tag.as_deref(),
                keys: keys.iter().map(String::as_str).collect(),
                body: Bytes::from(body),
                ..Default::default()
            };
            let bytes = content.encode();
            prop_assert_eq!(MessageContent::decode(&bytes).unwrap(), content);
        }
    }
}
