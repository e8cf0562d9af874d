//! The receipt handle as text: what a client keeps to ack a delivery. Valid on every pod and after a failover,
//! because all that it names is replicated state.
//!
//! Layout, in lower-case hex: `version u8 | shard u16 | topic u32 | queue u16 | offset u64 | nonce u64 | crc32c
//! u32` of what precedes it. The checksum only tells a mangled handle from a stale one; the nonce is what cannot
//! be guessed.

use thiserror::Error;

use crate::codec::{Reader, Write as _};
use crate::hash;
use crate::ids::{Nonce, Offset, QueueId, ShardId, TopicId};
use crate::queue::request::Handle;

/// The text is not a receipt handle of this shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a receipt handle of this broker: pass the handle as it was received")]
pub struct NotAHandle;

const VERSION: u8 = 1;
const LEN: usize = 1 + 2 + 4 + 2 + 8 + 8 + 4;

/// Writes a handle as text.
#[must_use]
pub fn encode(shard: ShardId, handle: &Handle) -> String {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.put_u8(VERSION);
    bytes.put_u16(shard.0);
    bytes.put_u32(handle.topic.0);
    bytes.put_u16(handle.queue.0);
    bytes.put_u64(handle.offset.0);
    bytes.put_u64(handle.nonce.0);
    let crc = hash::crc32c(&bytes);
    bytes.put_u32(crc);
    let mut text = String::with_capacity(2 * LEN);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// Reads what [`encode`] wrote for the same shard.
pub fn decode(shard: ShardId, text: &str) -> Result<Handle, NotAHandle> {
    let bytes = from_hex(text).ok_or(NotAHandle)?;
    let (content, crc) = bytes.split_at(LEN - 4);
    if crc != hash::crc32c(content).to_le_bytes() {
        return Err(NotAHandle);
    }
    let mut reader = Reader::new(content);
    let mut read = || {
        let version = reader.u8("version")?;
        let of = ShardId(reader.u16("shard")?);
        let handle = Handle {
            topic: TopicId(reader.u32("topic")?),
            queue: QueueId(reader.u16("queue")?),
            offset: Offset(reader.u64("offset")?),
            nonce: Nonce(reader.u64("nonce")?),
        };
        Ok::<_, crate::codec::Malformed>((version, of, handle))
    };
    match read() {
        Ok((VERSION, of, handle)) if of == shard => Ok(handle),
        _ => Err(NotAHandle),
    }
}

fn from_hex(text: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    if text.len() != 2 * LEN {
        return None;
    }
    let mut digits = text.bytes().map(|digit| char::from(digit).to_digit(16));
    for byte in &mut bytes {
        *byte = (digits.next()?? << 4 | digits.next()??) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Handle {
        Handle { topic: TopicId(7), queue: QueueId(3), offset: Offset(1 << 40), nonce: Nonce(u64::MAX) }
    }

    #[test]
    fn a_handle_reads_back_and_belongs_to_one_shard() {
        let text = encode(ShardId(2), &example());
        assert_eq!(decode(ShardId(2), &text), Ok(example()));
        assert_eq!(decode(ShardId(1), &text), Err(NotAHandle));
    }

    #[test]
    fn a_mangled_handle_is_refused() {
        let text = encode(ShardId(0), &example());
        for at in 0..text.len() {
            let mut mangled = text.clone().into_bytes();
            mangled[at] = if mangled[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(
                decode(ShardId(0), std::str::from_utf8(&mangled).unwrap()),
                Err(NotAHandle),
                "at {at}"
            );
        }
    }

    proptest! {
        #[test]
        fn foreign_text_is_refused(text in ".*") {
            prop_assert_eq!(decode(ShardId(0), &text), Err(NotAHandle));
        }
    }
}
