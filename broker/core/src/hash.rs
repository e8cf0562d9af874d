//! The hashes that are written into the log. They may never change: a replica of any version must compute the
//! same value from the same bytes, so the functions and their keys are fixed here and held by a test.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128 as _, SipHasher13 as SipHasher13x128};

use crate::ids::{AttemptHash, ClientHash, Lane, TagHash};

/// CRC32C (Castagnoli), as used for frames, records and bodies.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Continues a CRC32C over parts: `crc32c_parts([a, b]) == crc32c(a ++ b)`.
#[must_use]
pub fn crc32c_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    for part in parts {
        digest.update(part);
    }
    digest.finalize() as u32
}

/// SipHash-1-3 with a domain as its key; never 0, which stands for "none" wherever a hash is optional.
fn sip64(domain: u64, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(domain, 0x7271_2d68_6173_6831);
    hasher.write(bytes);
    hasher.finish().max(1)
}

/// Hash of a tag. Two tags collide with probability 2^-64; a collision would let a filter pass the other tag.
#[must_use]
pub fn tag(tag: &str) -> TagHash {
    TagHash(sip64(1, tag.as_bytes()))
}

/// Hash of a message group. A collision only makes two message groups wait for each other.
#[must_use]
pub fn lane(message_group: &str) -> Lane {
    Lane(sip64(2, message_group.as_bytes()))
}

/// Hash of a client id.
#[must_use]
pub fn client(client_id: &str) -> ClientHash {
    ClientHash(sip64(3, client_id.as_bytes()))
}

/// Hash of a receive's attempt id.
#[must_use]
pub fn attempt(attempt_id: &str) -> AttemptHash {
    AttemptHash(sip64(4, attempt_id.as_bytes()))
}

/// Hash of a filter expression in its canonical form.
#[must_use]
pub fn expression(canonical: &str) -> u64 {
    sip64(7, canonical.as_bytes())
}

/// What makes two sends the same send: client, message id and body. Never the message id alone, because ids of
/// the official clients can collide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SendKey(pub u128);

/// Key of a send, by the client's id, the message's id and the CRC32C of its body.
#[must_use]
pub fn send_key(client_id: &str, message_id: &str, body_crc: u32) -> SendKey {
    let mut hasher = SipHasher13x128::new_with_keys(5, 0x7271_2d73_656e_6431);
    hasher.write(&(client_id.len() as u32).to_le_bytes());
    hasher.write(client_id.as_bytes());
    hasher.write(&(message_id.len() as u32).to_le_bytes());
    hasher.write(message_id.as_bytes());
    hasher.write(&body_crc.to_le_bytes());
    let hash = hasher.finish128();
    SendKey(u128::from(hash.h1) << 64 | u128::from(hash.h2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_written_into_logs_never_change() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c_parts([&b"1234"[..], b"56789"]), 0xE306_9283);
        assert_eq!(tag("TagA").0, 0x723a_17d9_38c1_6f9c);
        assert_eq!(lane("order-1").0, 0xcc4b_5703_a2aa_a61a);
        assert_eq!(client("host@1@0@abc").0, 0x11fa_cf37_6932_6f04);
        assert_eq!(attempt("a-1").0, 0x1ebf_4aee_6af3_e172);
        assert_eq!(send_key("host@1@0@abc", "01AB", 7).0, 0x262b_1ae1_445e_3b83_78c9_f59a_6409_5e1b);
    }

    #[test]
    fn the_parts_of_a_send_key_are_told_apart() {
        assert_ne!(send_key("a", "bc", 1), send_key("ab", "c", 1));
    }
}
