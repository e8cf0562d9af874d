//! Each rule by an example, and all small pairs of configurations against a rule of thumb.

use super::*;

const A: StoreId = StoreId(1);
const B: StoreId = StoreId(2);
const C: StoreId = StoreId(3);
const S: Session = Session(7);
const BY_A: (StoreId, Epoch) = (A, Epoch(1));

fn member(name: &str) -> Member {
    Member { name: name.to_owned(), address: String::new() }
}

/// A leads A and B; C follows out of the set.
fn both() -> Config {
    let members = BTreeMap::from([(A, member("a")), (B, member("b")), (C, member("c"))]);
    let formed = Config::form(A, S, members, 1);
    next(&formed, &Change::Expand { by: BY_A, add: B, session: S }).unwrap()
}

fn promote(to: StoreId, keep: &[StoreId]) -> Change {
    Change::Promote { to, session: S, keep: keep.to_vec() }
}

#[test]
fn only_a_copy_that_is_in_sync_is_promoted() {
    assert_eq!(next(&both(), &promote(C, &[C])), Err(Illegal::NotInSync));
    let promoted = next(&both(), &promote(B, &[])).unwrap();
    assert_eq!((promoted.epoch, promoted.master, promoted.version), (Epoch(2), B, 3));
    assert_eq!(promoted.in_sync.keys().collect::<Vec<_>>(), [&B]);
}

#[test]
fn a_restarted_master_takes_a_new_epoch_with_the_same_set() {
    let again = next(&both(), &Change::Promote { to: A, session: Session(8), keep: vec![A, B] }).unwrap();
    assert_eq!((again.epoch, again.master), (Epoch(2), A));
    assert_eq!(again.in_sync, BTreeMap::from([(A, Session(8)), (B, S)]));
}

#[test]
fn in_async_mode_a_changed_session_cannot_lead() {
    let config = next(&both(), &Change::SetFlushMode { by: BY_A, mode: FlushMode::Async }).unwrap();
    let rebooted = Change::Promote { to: B, session: Session(8), keep: vec![] };
    assert_eq!(next(&config, &rebooted), Err(Illegal::NotInSync));
    assert!(next(&config, &promote(B, &[])).is_ok());
    assert!(next(&both(), &rebooted).is_ok(), "what is flushed outlives a boot");
}

#[test]
fn the_set_is_changed_by_the_present_master_alone() {
    for by in [(B, Epoch(1)), (A, Epoch(0)), (A, Epoch(2))] {
        assert_eq!(next(&both(), &Change::Shrink { by, remove: B }), Err(Illegal::NotMaster));
        assert_eq!(next(&both(), &Change::Expand { by, add: C, session: S }), Err(Illegal::NotMaster));
        assert_eq!(next(&both(), &Change::Touch { by }), Err(Illegal::NotMaster));
    }
    assert_eq!(next(&both(), &Change::Shrink { by: BY_A, remove: A }), Err(Illegal::Set));
    assert_eq!(next(&both(), &Change::Shrink { by: BY_A, remove: C }), Err(Illegal::Nothing));
}

#[test]
fn a_replica_leaves_the_members_and_the_set_in_one_write() {
    let removed = next(&both(), &Change::Remove { store: B }).unwrap();
    assert!(!removed.members.contains_key(&B) && !removed.in_sync.contains_key(&B));
    assert_eq!(
        next(&both(), &Change::Remove { store: A }),
        Err(Illegal::Set),
        "the master is switched away first"
    );
    let stranger = Change::Expand { by: BY_A, add: StoreId(9), session: S };
    assert_eq!(next(&both(), &stranger), Err(Illegal::Set));
}

#[test]
fn accepting_data_loss_leaves_a_mark_and_jumps_over_every_epoch_seen() {
    let accepted = next(&both(), &Change::AcceptDataLoss { seen: Epoch(5), to: C, session: S }).unwrap();
    assert_eq!((accepted.epoch, accepted.master, accepted.unclean), (Epoch(6), C, Some(Epoch(6))));
    assert_eq!(accepted.in_sync, BTreeMap::from([(C, S)]));
    let unmarked = Config { unclean: None, ..accepted };
    assert_eq!(check(&both(), &unmarked), Err(Illegal::Epoch));
}

/// All configurations of two stores with few numbers.
fn small() -> Vec<Config> {
    let mut all = Vec::new();
    for bits in 0..(1_u32 << 9) {
        let bit = |n: u32| bits >> n & 1 == 1;
        let session = |n| Session(u64::from(bit(n)));
        let mut in_sync = BTreeMap::new();
        if bit(0) {
            in_sync.insert(A, session(1));
        }
        if bit(2) {
            in_sync.insert(B, session(3));
        }
        all.push(Config {
            version: 1 + u64::from(bit(4)),
            epoch: Epoch(1 + u32::from(bit(5))),
            master: if bit(6) { A } else { B },
            in_sync,
            members: BTreeMap::from([(A, member("a")), (B, member("b"))]),
            min_in_sync: 1,
            flush_mode: if bit(7) { FlushMode::Async } else { FlushMode::Sync },
            unclean: bit(8).then_some(Epoch(2)),
        });
    }
    all
}

#[test]
fn whatever_is_legal_keeps_what_was_acknowledged() {
    let (all, mut legal) = (small(), 0);
    for old in &all {
        for new in all.iter().filter(|new| check(old, new).is_ok()) {
            legal += 1;
            assert!(new.version > old.version && new.epoch >= old.epoch);
            assert!(new.in_sync.contains_key(&new.master));
            if new.unclean == old.unclean && new.master != old.master {
                let session = new.in_sync[&new.master];
                assert!(new.epoch > old.epoch && old.may_lead(new.master, session), "{old:?} {new:?}");
            }
            if new.unclean == old.unclean && new.epoch > old.epoch {
                assert!(new.in_sync.keys().all(|store| old.in_sync.contains_key(store)), "{old:?} {new:?}");
            }
        }
    }
    assert!(legal > 1000, "{legal}");
}
