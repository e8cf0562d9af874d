//! A replica that comes with another address, or for the first time, writes down itself where it is: once per start, so that
//! one that was removed meanwhile stays so.

use rq_core::config::{Change, Config, Member, next};
use rq_core::ids::StoreId;

/// The entry of this replica among the members of its shard.
#[derive(Debug)]
pub struct Registration {
    store: StoreId,
    member: Member,
    done: bool,
    refused: bool,
}

impl Registration {
    /// That this store is there.
    pub const fn new(store: StoreId, member: Member) -> Self {
        Self { store, member, done: false, refused: false }
    }

    /// The configuration that says so, after `newest`; none if that says it, or cannot.
    pub(super) fn change(&mut self, newest: &Config) -> Option<Config> {
        if newest.members.get(&self.store) == Some(&self.member) {
            self.done = true;
            return None;
        }
        let change = Change::Register { store: self.store, member: self.member.clone() };
        match next(newest, &change) {
            Ok(config) => Some(config),
            Err(error) => {
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::error!(%error, "this replica cannot be made a member: remove those that are gone");
                }
                None
            }
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        self.done
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rq_core::ids::Session;

    use super::*;

    const A: StoreId = StoreId(0xA);
    const B: StoreId = StoreId(0xB);

    fn member(address: &str) -> Member {
        Member { name: "orders-1".to_owned(), address: address.to_owned() }
    }

    #[test]
    fn a_replica_that_is_missing_or_elsewhere_registers_until_the_members_say_so() {
        let formed = Config::form(A, Session(1), [(A, Member::default())].into(), 1);
        let mut missing = Registration::new(B, member("10.0.0.2:8083"));
        let registered = missing.change(&formed).unwrap();
        assert_eq!(registered.members[&B], member("10.0.0.2:8083"));
        assert!(!missing.is_done(), "it may not be stored");
        assert_eq!(missing.change(&registered), None);
        assert!(missing.is_done());
        let mut elsewhere = Registration::new(B, member("10.0.0.7:8083"));
        let moved = elsewhere.change(&registered).unwrap();
        assert_eq!(moved.members[&B], member("10.0.0.7:8083"));
    }

    #[test]
    fn a_replica_for_which_there_is_no_room_waits() {
        let members = (1..=9).map(|store| (StoreId(store), Member::default())).collect();
        let full = Config::form(StoreId(1), Session(1), members, 1);
        let mut tenth = Registration::new(B, member("10.0.0.2:8083"));
        assert_eq!(tenth.change(&full), None);
        assert!(!tenth.is_done());
    }
}
