//! Where epochs begin, as the state tells those who compare logs.

use super::*;
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
