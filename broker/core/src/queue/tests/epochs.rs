//! Where epochs begin, as the state tells those who compare logs.

use super::*;
use crate::queue::apply::EPOCHS_KEPT;
use crate::replication::EpochStart;

#[test]
fn an_epoch_begins_with_its_first_frame_even_if_that_has_no_record() {
    let mut broker = Broker::new();
    // The rest of a segment is filled up before the epoch's first record.
    let begins = broker.log.end();
    broker.shard.begin_frame(Epoch(2), begins);
    broker.twin.begin_frame(Epoch(2), begins);
    broker.topic("t", TopicKind::Normal, 1);
    broker.shard.start_epoch(Epoch(2), broker.now, &mut broker.log);
    broker.compare();
    let newest = broker.shard.state().epochs().epochs().last().copied();
    assert_eq!(newest, Some(EpochStart { epoch: Epoch(2), start: begins }));
}

#[test]
fn epochs_below_the_start_of_the_log_are_known_as_long_as_some_replica_may_still_have_them() {
    let mut broker = Broker::new();
    for _ in 0..EPOCHS_KEPT + 10 {
        broker.fail_over();
    }
    let known = |broker: &Broker| broker.shard.state().epochs().epochs().len();
    assert_eq!(known(&broker), EPOCHS_KEPT + 11);
    let below = broker.log.end();
    broker.log.append(&Record::DropBelow(below));
    let mut state = broker.shard.state().clone();
    state.apply(below, broker.now, &Record::DropBelow(below)).unwrap();
    assert_eq!(state.epochs().epochs().len(), EPOCHS_KEPT + 1, "all but the oldest, and the present one");
}
