//! What clients keep to come back to a message, as text: the receipt handle of a delivery, the id of a transaction and the
//! handle to recall a delayed message by. Valid on every pod and after a failover, because all that they name is
//! replicated state.
//!
//! Layout, in lower-case hex: `kind u8 | shard u16 | fields | crc32c u32` of what precedes it. The checksum only tells a
//! mangled text from one whose message is gone; of a receipt handle the nonce is what cannot be guessed.

use thiserror::Error;

use crate::codec::{Malformed, Reader, Write as _};
use crate::hash;
use crate::ids::{HeldId, LogTime, Nonce, Offset, QueueId, ShardId, TopicId};
use crate::queue::request::Handle;

/// The text is not a receipt handle of this shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a receipt handle of this broker: pass the handle as it was received")]
pub struct NotAHandle;

/// The text is not a transaction id of this shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a transaction id of this broker: pass the id as SendMessage returned it")]
pub struct NotATransactionId;

/// The text is not a recall handle of this shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a recall handle of this broker: pass the handle as SendMessage returned it")]
pub struct NotARecallHandle;

/// Names the transaction of a half message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransactionId {
    /// The topic's incarnation.
    pub topic: TopicId,
    /// The half message.
    pub half: HeldId,
}

/// Names a delayed message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecallHandle {
    /// The topic's incarnation.
    pub topic: TopicId,
    /// When it is to be delivered.
    pub deliver_at: LogTime,
    /// The message.
    pub id: HeldId,
    /// Its id as its producer made it, which the answer to a recall repeats.
    pub message_id: String,
}

/// What kind of text it is; also the version of its layout.
mod kind {
    pub(super) const RECEIPT: u8 = 1;
    pub(super) const TRANSACTION: u8 = 2;
    pub(super) const RECALL: u8 = 3;
}

/// Bytes around the fields.
const FRAME: usize = 1 + 2 + 4;
/// Longest text: a message id has at most 255 bytes.
const TEXT_MAX: usize = 2 * (FRAME + 4 + 8 + 8 + 10 + 255);

/// Writes a receipt handle as text.
#[must_use]
pub fn encode(shard: ShardId, handle: &Handle) -> String {
    seal(kind::RECEIPT, shard, |out| {
        out.put_u32(handle.topic.0);
        out.put_u16(handle.queue.0);
        out.put_u64(handle.offset.0);
        out.put_u64(handle.nonce.0);
    })
}

/// Reads what [`encode`] wrote for the same shard.
pub fn decode(shard: ShardId, text: &str) -> Result<Handle, NotAHandle> {
    let read = |r: &mut Reader<'_>| {
        Ok(Handle {
            topic: TopicId(r.u32("topic")?),
            queue: QueueId(r.u16("queue")?),
            offset: Offset(r.u64("offset")?),
            nonce: Nonce(r.u64("nonce")?),
        })
    };
    open(kind::RECEIPT, shard, text, read).ok_or(NotAHandle)
}

/// Writes the id of a transaction as text.
#[must_use]
pub fn encode_transaction(shard: ShardId, transaction: TransactionId) -> String {
    seal(kind::TRANSACTION, shard, |out| {
        out.put_u32(transaction.topic.0);
        out.put_u64(transaction.half.0);
    })
}

/// Reads what [`encode_transaction`] wrote for the same shard.
pub fn decode_transaction(shard: ShardId, text: &str) -> Result<TransactionId, NotATransactionId> {
    let read = |r: &mut Reader<'_>| {
        Ok(TransactionId { topic: TopicId(r.u32("topic")?), half: HeldId(r.u64("half message")?) })
    };
    open(kind::TRANSACTION, shard, text, read).ok_or(NotATransactionId)
}

/// Writes a recall handle as text.
#[must_use]
pub fn encode_recall(shard: ShardId, handle: &RecallHandle) -> String {
    seal(kind::RECALL, shard, |out| {
        out.put_u32(handle.topic.0);
        out.put_u64(handle.deliver_at.0);
        out.put_u64(handle.id.0);
        out.put_bytes(handle.message_id.as_bytes());
    })
}

/// Reads what [`encode_recall`] wrote for the same shard.
pub fn decode_recall(shard: ShardId, text: &str) -> Result<RecallHandle, NotARecallHandle> {
    let read = |r: &mut Reader<'_>| {
        Ok(RecallHandle {
            topic: TopicId(r.u32("topic")?),
            deliver_at: LogTime(r.u64("delivery time")?),
            id: HeldId(r.u64("delayed message")?),
            message_id: r.str("message id")?.to_owned(),
        })
    };
    open(kind::RECALL, shard, text, read).ok_or(NotARecallHandle)
}

fn seal(kind: u8, shard: ShardId, fields: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = Vec::with_capacity(64);
    bytes.put_u8(kind);
    bytes.put_u16(shard.0);
    fields(&mut bytes);
    let crc = hash::crc32c(&bytes);
    bytes.put_u32(crc);
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for nibble in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

fn open<T>(
    kind: u8,
    shard: ShardId,
    text: &str,
    fields: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Option<T> {
    let bytes = from_hex(text)?;
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*crc) != hash::crc32c(content) {
        return None;
    }
    let mut reader = Reader::new(content);
    let is_one = reader.u8("kind") == Ok(kind) && reader.u16("shard") == Ok(shard.0);
    let fields = fields(&mut reader).ok()?;
    (is_one && reader.is_empty()).then_some(fields)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() > TEXT_MAX
        || !text.len().is_multiple_of(2)
        || text.bytes().any(|digit| digit.is_ascii_uppercase())
    {
        return None;
    }
    let digits = text.bytes().map(|digit| char::from(digit).to_digit(16));
    let digits = digits.collect::<Option<Vec<u32>>>()?;
    Some(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn receipt() -> Handle {
        Handle { topic: TopicId(7), queue: QueueId(3), offset: Offset(1 << 40), nonce: Nonce(u64::MAX) }
    }

    fn transaction() -> TransactionId {
        TransactionId { topic: TopicId(7), half: HeldId(1 << 50) }
    }

    fn recall() -> RecallHandle {
        let (topic, deliver_at, id) = (TopicId(7), LogTime(1_700_000_000_000), HeldId(9));
        RecallHandle { topic, deliver_at, id, message_id: "01AABBCCDDEEFF00112233445566778899".to_owned() }
    }

    fn one_of_each(shard: ShardId) -> [String; 3] {
        [encode(shard, &receipt()), encode_transaction(shard, transaction()), encode_recall(shard, &recall())]
    }

    fn is_refused(shard: ShardId, text: &str) -> bool {
        decode(shard, text).is_err()
            && decode_transaction(shard, text).is_err()
            && decode_recall(shard, text).is_err()
    }

    #[test]
    fn each_reads_back_for_its_shard_and_as_what_it_is() {
        let [of_receipt, of_transaction, of_recall] = one_of_each(ShardId(2));
        assert_eq!(decode(ShardId(2), &of_receipt), Ok(receipt()));
        assert_eq!(decode_transaction(ShardId(2), &of_transaction), Ok(transaction()));
        assert_eq!(decode_recall(ShardId(2), &of_recall), Ok(recall()));
        assert!(one_of_each(ShardId(1)).iter().all(|text| is_refused(ShardId(2), text)));
        assert_eq!(decode(ShardId(2), &of_transaction), Err(NotAHandle));
        assert_eq!(decode_transaction(ShardId(2), &of_recall), Err(NotATransactionId));
        assert_eq!(decode_recall(ShardId(2), &of_receipt), Err(NotARecallHandle));
    }

    #[test]
    fn a_mangled_one_is_refused() {
        for text in one_of_each(ShardId(0)) {
            for at in 0..text.len() {
                let mut mangled = text.clone().into_bytes();
                mangled[at] = if mangled[at] == b'0' { b'1' } else { b'0' };
                assert!(is_refused(ShardId(0), std::str::from_utf8(&mangled).unwrap()), "at {at} of {text}");
                assert!(is_refused(ShardId(0), &text[..at]), "cut at {at} of {text}");
            }
        }
    }

    #[test]
    fn fuzzed_texts_are_refused_or_read_back() {
        let shard = ShardId(0);
        // The checksum is put right, or nothing would get past it.
        let sealed = |bytes: &[u8]| hex(&[bytes, &hash::crc32c(bytes).to_le_bytes()].concat());
        let seeds = one_of_each(shard).map(|text| from_hex(&text[..text.len() - 8]).unwrap());
        rq_fuzz::fuzz(seeds, |input| {
            let text = &*sealed(input);
            if let Ok(handle) = decode(shard, text) {
                assert_eq!(encode(shard, &handle), text);
                return 1;
            }
            if let Ok(transaction) = decode_transaction(shard, text) {
                assert_eq!(encode_transaction(shard, transaction), text);
                return 2;
            }
            if let Ok(handle) = decode_recall(shard, text) {
                assert_eq!(encode_recall(shard, &handle), text);
                return 3;
            }
            4 + input.first().copied().unwrap_or(0) % 8
        });
    }

    proptest! {
        #[test]
        fn foreign_text_is_refused(text in ".*") {
            prop_assert!(is_refused(ShardId(0), &text));
        }
    }
}
