//! Digests of message bodies: made for every delivery, checked where a producer sent one. On the thread that serves
//! the call: 4 MiB take it some milliseconds, and bodies of a batch go one by one, with other work between them.

use md5::{Digest as _, Md5};
use rq_proto::rocketmq::{Digest, DigestType};
use sha1::Sha1;

use super::invalid::Invalid;

/// The digest that every delivered message carries: MD5 as upper-case hex. The official clients check it.
pub(super) fn of_body(body: &[u8]) -> Digest {
    Digest { r#type: DigestType::Md5.into(), checksum: hex(&Md5::digest(body)) }
}

/// Checks the body against the digest that its producer gave; none, or one of an unknown kind, passes.
pub(super) fn check(body: &[u8], digest: Option<&Digest>) -> Result<(), Invalid> {
    let Some(digest) = digest else { return Ok(()) };
    let stated = digest.checksum.as_str();
    let (kind, matches) = match digest.r#type() {
        DigestType::Unspecified => return Ok(()),
        // Compared as a number: some clients write it without leading zeros.
        DigestType::Crc32 => ("CRC32", u32::from_str_radix(stated, 16) == Ok(crc32(body))),
        DigestType::Md5 => ("MD5", stated.eq_ignore_ascii_case(&hex(&Md5::digest(body)))),
        DigestType::Sha1 => ("SHA1", stated.eq_ignore_ascii_case(&hex(&Sha1::digest(body)))),
    };
    if matches { Ok(()) } else { Err(Invalid::BodyCorrupted { digest: kind }) }
}

fn crc32(body: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, body) as u32
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivered_body_carries_its_md5_in_upper_case() {
        assert_eq!(of_body(b"abc").checksum, "900150983CD24FB0D6963F7D28E17F72");
    }

    #[test]
    fn a_body_is_checked_against_each_kind_of_digest() {
        let rows = [
            (DigestType::Crc32, "352441C2"),
            (DigestType::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (DigestType::Sha1, "A9993E364706816ABA3E25717850C26C9CD0D89D"),
        ];
        for (kind, checksum) in rows {
            let digest = Digest { r#type: kind.into(), checksum: checksum.into() };
            assert_eq!(check(b"abc", Some(&digest)), Ok(()), "{kind:?}");
            assert!(matches!(check(b"abd", Some(&digest)), Err(Invalid::BodyCorrupted { .. })), "{kind:?}");
        }
        assert_eq!(check(b"abc", Some(&Digest { r#type: 0, checksum: String::new() })), Ok(()));
        assert_eq!(check(b"abc", None), Ok(()));
    }
}
