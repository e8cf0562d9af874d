//! Held messages, as the records say: half messages until their transaction ends, delayed ones until their time.
//! The requests for them come later; replicas of this release apply the records already.

use super::*;
use crate::ids::{Offset, QueueId, TopicId};
use crate::queue::ApplyError;
use crate::record::{Hold, MessageRecord};

impl Broker {
    /// Appends a record that no request makes yet.
    fn apply(&mut self, record: &Record<'_>) -> Result<Lsn, ApplyError> {
        let mut probe = self.shard.state().clone();
        probe.apply(self.log.end(), self.now, record)?;
        let lsn = self.log.append(record);
        self.shard.state.apply(lsn, self.now, record)?;
        self.tick();
        Ok(lsn)
    }

    /// Stores a held message in topic 1.
    fn hold(&mut self, text: &str, hold: Hold) -> Lsn {
        let record = Record::Message(MessageRecord {
            topic: TopicId(1),
            queue: QueueId(0),
            offset: Offset(0),
            kind: TopicKind::Delay,
            hold,
            key: SendKey(u128::from(self.number())),
            tag: TagHash(0),
            lane: Lane(0),
            stored_at: self.now,
            content: text.as_bytes(),
        });
        self.apply(&record).unwrap()
    }
}

fn broker() -> Broker {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Delay, 1);
    broker
}

#[test]
fn delayed_messages_come_in_the_order_of_their_times_and_none_before() {
    let mut broker = broker();
    let at = |millis| Hold::Until(TIME_START.plus(millis));
    for (text, millis) in [("30", 30), ("10", 10), ("20", 20), ("10 too", 10)] {
        broker.hold(text, at(millis));
    }
    broker.fail_over();
    assert!(broker.receive("g", "t").is_empty());
    broker.apply(&Record::TimerFire { up_to: TIME_START.plus(9) }).unwrap();
    assert!(broker.receive("g", "t").is_empty());
    broker.apply(&Record::TimerFire { up_to: TIME_START.plus(20) }).unwrap();
    assert_eq!(broker.receive_texts("g", "t"), ["10", "10 too", "20"]);
    broker.apply(&Record::TimerFire { up_to: TIME_START.plus(1_000) }).unwrap();
    assert_eq!(broker.receive_texts("g", "t"), ["30"]);
}

#[test]
fn a_half_message_comes_after_its_commit_and_never_after_its_rollback() {
    let mut broker = broker();
    let hold = Hold::Transaction(TIME_START.plus(1));
    let (kept, dropped) = (broker.hold("kept", hold), broker.hold("dropped", hold));
    broker.apply(&Record::TransactionCheck { half: kept, next_check: TIME_START.plus(50) }).unwrap();
    broker.apply(&Record::TimerFire { up_to: TIME_START.plus(1_000) }).unwrap();
    assert!(broker.receive("g", "t").is_empty(), "time alone ends no transaction");
    broker.apply(&Record::TransactionEnd { half: dropped, commit: false }).unwrap();
    broker.fail_over();
    broker.apply(&Record::TransactionEnd { half: kept, commit: true }).unwrap();
    assert_eq!(broker.receive_texts("g", "t"), ["kept"]);
    for half in [kept, dropped] {
        let end = Record::TransactionEnd { half, commit: true };
        assert!(broker.apply(&end).is_err(), "a transaction ends once");
    }
}

#[test]
fn held_messages_go_with_their_topic() {
    let mut broker = broker();
    broker.hold("delayed", Hold::Until(TIME_START.plus(10)));
    broker.hold("half", Hold::Transaction(TIME_START.plus(10)));
    broker.ask(Request::DeleteTopic(Arc::from("t")));
    assert!(broker.shard.state().held.messages.is_empty());
    broker.apply(&Record::TimerFire { up_to: TIME_START.plus(1_000) }).unwrap();
}

#[test]
fn a_check_of_what_is_no_half_message_is_refused() {
    let mut broker = broker();
    let delayed = broker.hold("delayed", Hold::Until(TIME_START.plus(10)));
    for half in [delayed, Lsn(1)] {
        assert!(broker.apply(&Record::TransactionCheck { half, next_check: TIME_START }).is_err());
    }
    broker.apply(&Record::TimerFire { up_to: TIME_START.plus(10) }).unwrap();
    assert_eq!(broker.receive_texts("g", "t"), ["delayed"]);
}

#[test]
fn a_delayed_message_of_a_send_is_held() {
    let mut broker = broker();
    let mut message = broker.message("later");
    (message.kind, message.deliver_at) = (TopicKind::Delay, TIME_START.plus(100));
    broker.try_send("t", vec![message.clone()]).unwrap();
    assert!(broker.try_send("t", vec![message]).unwrap()[0].duplicate);
    broker.pass(1_000);
    assert!(broker.receive("g", "t").is_empty());
    broker.apply(&Record::TimerFire { up_to: broker.now }).unwrap();
    assert_eq!(broker.receive_texts("g", "t"), ["later"]);
}
