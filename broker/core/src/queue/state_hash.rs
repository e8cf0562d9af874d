//! The hash by which the states of replicas are compared: of the state's one encoding.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::checkpoint;
use super::state::State;
use crate::codec::Write;

impl State {
    /// Hash of everything that decisions depend on: equal on replicas that applied the same records.
    pub fn hash(&self) -> u128 {
        struct Hashing(SipHasher13);
        impl Write for Hashing {
            fn put(&mut self, bytes: &[u8]) {
                self.0.write(bytes);
            }
        }
        let mut hashing = Hashing(SipHasher13::new_with_keys(6, 0x7271_2d73_7461_7465));
        checkpoint::encode(self, &mut hashing);
        let hash = hashing.0.finish128();
        u128::from(hash.h1) << 64 | u128::from(hash.h2)
    }
}
