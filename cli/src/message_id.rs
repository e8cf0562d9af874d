//! Message ids as the official clients make them: 17 bytes as 34 upper-case hex digits, see the layout below.
//!
//! `01 | node 6 bytes | process 2 bytes | seconds since 2021 4 bytes | sequence 4 bytes`. The node is random for
//! each process instead of a MAC address, so that two processes in containers never share ids.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Hex digits of an id.
pub(crate) const LEN: usize = 34;
/// Hex digits of the sequence, at the end.
const SEQUENCE_DIGITS: usize = 8;
/// 2021-01-01T00:00:00Z.
const ORIGIN: Duration = Duration::from_hours(447_072);

/// Makes ids, each another one for the first 2^32.
pub(crate) struct MessageIds {
    prefix: [u8; LEN - SEQUENCE_DIGITS],
    next: AtomicU32,
}

impl MessageIds {
    /// Ids of this process, begun now.
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH + ORIGIN).unwrap_or_default();
        Self::with(rand::random(), std::process::id() as u16, since.as_secs() as u32)
    }

    fn with(node: [u8; 6], process: u16, seconds: u32) -> Self {
        let mut prefix = [0; LEN - SEQUENCE_DIGITS];
        let head = [&[1][..], &node, &process.to_be_bytes(), &seconds.to_be_bytes()].concat();
        for (digits, byte) in prefix.chunks_exact_mut(2).zip(head) {
            hex(digits, byte.into());
        }
        Self { prefix, next: AtomicU32::new(0) }
    }

    /// Writes the next id.
    pub(crate) fn write(&self, id: &mut [u8; LEN]) {
        let (prefix, sequence) = id.split_at_mut(LEN - SEQUENCE_DIGITS);
        prefix.copy_from_slice(&self.prefix);
        hex(sequence, self.next.fetch_add(1, Ordering::Relaxed));
    }

    /// Which one of the ids made here this is; none if it is another's.
    pub(crate) fn number(&self, id: &[u8]) -> Option<u32> {
        let sequence = id.strip_prefix(&self.prefix).filter(|rest| rest.len() == SEQUENCE_DIGITS)?;
        u32::from_str_radix(std::str::from_utf8(sequence).ok()?, 16).ok()
    }

    /// The next id.
    pub(crate) fn next(&self) -> String {
        let mut id = [0; LEN];
        self.write(&mut id);
        id.iter().map(|digit| char::from(*digit)).collect()
    }
}

/// The number in as many upper-case hex digits as there is room for.
fn hex(digits: &mut [u8], mut number: u32) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_layout_of_the_official_clients() {
        let ids = MessageIds::with([0xAB, 0xCD, 0xEF, 0, 1, 2], 0x1234, 0x0102_0304);
        assert_eq!(ids.next(), "01ABCDEF0001021234010203040000 0000".replace(' ', ""));
        assert_eq!(ids.next(), "01ABCDEF00010212340102030400000001");
    }

    #[test]
    fn an_id_tells_its_number_to_its_maker_only() {
        let ids = MessageIds::new();
        let made = [ids.next(), ids.next()];
        assert_eq!(made.map(|id| ids.number(id.as_bytes())), [Some(0), Some(1)]);
        assert_eq!(ids.number(MessageIds::new().next().as_bytes()), None);
        assert_eq!(ids.number(b""), None);
    }

    #[test]
    fn two_processes_make_different_ids() {
        assert_ne!(MessageIds::new().next(), MessageIds::new().next());
    }
}
