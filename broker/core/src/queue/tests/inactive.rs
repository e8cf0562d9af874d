//! Groups that owe messages and do not consume them: told of, named on a full disk, and, where that is wanted, made
//! to give up what they owe, counted.

use super::*;
use crate::ids::Offset;
use crate::queue::idle::{IdleGroup, IdleSubscription, idle_subscriptions};
use crate::queue::request::{Expired, Retain};
use crate::queue::retention::{InactiveGroup, Policy};

const DAY: u64 = 24 * 3_600_000;

impl Broker {
    fn idle(&self) -> Vec<IdleSubscription> {
        idle_subscriptions(self.shard.state(), self.now, 7 * DAY)
    }

    fn idle_groups(&self) -> Vec<String> {
        self.idle().iter().map(|idle| idle.group.to_string()).collect()
    }

    /// A retention run over all that is in the log, under a policy that lets groups idle for a week give up what they
    /// owe of messages that came no later than `newest`.
    fn expire(&mut self, newest: LogTime) -> Vec<(String, u64)> {
        let policy = Policy { inactive_group: InactiveGroup::ExpireAfter(7 * DAY), ..Policy::default() };
        let retain = Retain { below: self.log.end(), newest, relocate: Vec::new(), policy };
        let Some(Answer::Retain(retained)) = self.ask(Request::Retain(retain)) else { panic!("no answer") };
        let told = |expired: &Expired| (expired.group.to_string(), expired.messages);
        retained.expired.iter().map(told).collect()
    }

    fn expired(&self, group: &str) -> u64 {
        self.shard.group_status(group).unwrap().expired
    }
}

#[test]
fn a_group_is_idle_once_it_owes_and_has_not_consumed_for_a_week() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b"]);
    broker.receive("owes", "t");
    for delivery in broker.receive("done", "t") {
        assert_eq!(broker.ack("done", &delivery), Ok(()));
    }
    broker.pass(7 * DAY);
    assert_eq!(broker.idle_groups(), Vec::<String>::new());
    broker.pass(1);
    assert_eq!(broker.idle_groups(), ["owes"], "who owes nothing is never idle");
    let idle = broker.idle().remove(0);
    assert_eq!((idle.topic.as_ref(), idle.last_used), ("t", TIME_START));
    assert_eq!(broker.text(idle.oldest), "a");

    broker.send("u", &["nobody wants it"]);
    broker.fail_over();
    broker.pass(INVISIBLE_MS);
    assert_eq!(broker.idle_groups(), ["owes"], "a new master is no use of it");
    let again = broker.receive("owes", "t");
    assert_eq!(broker.idle_groups(), Vec::<String>::new(), "a receive that gets something is");
    broker.pass(7 * DAY);
    broker.nack("owes", &again[0], 1_000);
    broker.pass(DAY);
    assert_eq!(broker.idle_groups(), Vec::<String>::new(), "and so is a nack");
    broker.pass(7 * DAY);
    assert_eq!(broker.idle_groups(), ["owes"]);
    broker.ask(Request::DeleteGroup(Arc::from("owes")));
    assert_eq!(broker.idle_groups(), Vec::<String>::new());
}

#[test]
fn a_renewed_lease_is_a_use() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b"]);
    let mut receive = broker.receiving("g", "t");
    (receive.auto_renew, receive.batch, receive.invisible_ms) = (true, 1, 45_000);
    broker.receive_as(receive);
    broker.pass(20_000);
    broker.vouch(1, 1, 0);
    assert_eq!(broker.idle_in(19_999), Vec::<String>::new());
}

#[test]
fn one_abandoned_topic_makes_a_group_idle_whatever_else_it_consumes() {
    let mut broker = Broker::new();
    broker.send("left", &["a"]);
    assert_eq!(broker.receive("g", "left").len(), 1);
    broker.pass(8 * DAY);
    broker.send("used", &["b"]);
    let delivery = broker.receive_one("g", "used");
    assert_eq!(broker.ack("g", &delivery), Ok(()));
    assert_eq!(broker.idle()[0].topic.as_ref(), "left");
}

#[test]
fn a_full_disk_names_the_idle_group_that_keeps_most_of_the_log() {
    let mut broker = Broker::with(Limits { free_bytes_min: 1000, ..Limits::default() });
    broker.topic("t", TopicKind::Normal, 1);
    broker.shard.set_free_bytes(10);
    let mut refusal = |pinned_by: Option<IdleGroup>| {
        broker.shard.set_pinned_by(pinned_by.map(Arc::new));
        let message = broker.message("x");
        broker.try_send("t", vec![message]).unwrap_err().to_string()
    };
    assert!(refusal(None).ends_with("consume, delete topics or enlarge the volume"));
    let idle = IdleGroup {
        group: Arc::from("billing"),
        topic: Arc::from("orders"),
        idle_ms: 9 * DAY + 1,
        pinned_bytes: 41 << 30,
    };
    assert_eq!(
        refusal(Some(idle)),
        "the disk is too full for new messages (10 bytes free): nothing was stored; consumer group billing has not \
         consumed topic orders for 9 days and pins 41.0 GiB of the log: let it consume, delete the group, set \
         --retention-inactive-group, or enlarge the volume"
    );
}

#[test]
fn an_idle_group_gives_up_what_it_owes_and_the_messages_are_counted() {
    let mut broker = Broker::new();
    broker.send("t", &["acked", "leased", "nacked", "new", "newer"]);
    let mut receive = broker.receiving("idle", "t");
    (receive.batch, receive.attempt) = (3, Some(AttemptHash(5)));
    let deliveries = broker.receive_as(receive);
    assert_eq!(broker.ack("idle", &deliveries[0]), Ok(()));
    broker.nack("idle", &deliveries[2], 60_000);
    broker.pass(8 * DAY);
    for delivery in broker.receive("busy", "t") {
        assert_eq!(broker.ack("busy", &delivery), Ok(()));
    }
    assert_eq!(broker.expire(TIME_START), [("idle".to_owned(), 4)]);
    assert_eq!((broker.expired("idle"), broker.expired("busy")), (4, 0));
    assert_eq!(broker.shard.state().log_start(), broker.log_start_after_run());
    assert!(broker.shard.watches_nothing());
    assert_eq!(broker.attempt("idle", "t", 5), [], "what was given up is not repeated");
    assert_eq!(
        broker.ack("idle", &deliveries[1]),
        Ok(()),
        "it will not come back, which is what an ack asks for"
    );
    broker.fail_over();
    assert_eq!((broker.expired("idle"), broker.shard.state().expired_messages()), (4, 4));
    broker.send("t", &["after"]);
    assert_eq!(broker.receive_texts("idle", "t"), ["after"], "the group goes on where the log does");
}

#[test]
fn nothing_is_given_up_that_came_within_the_week_or_by_a_group_that_consumed_within_it() {
    let mut broker = Broker::new();
    broker.send("t", &["a", "b"]);
    let held = broker.receive("g", "t");
    assert_eq!(broker.ack("g", &held[0]), Ok(()));
    broker.pass(8 * DAY);
    assert_eq!(broker.expire(TIME_START.plus(2 * DAY)), [], "the messages are too young");
    broker.nack("g", &held[1], 0);
    assert_eq!(broker.expire(TIME_START), [], "it consumed just now");
    assert_eq!(broker.receive_texts("g", "t"), ["b"]);
    assert_eq!(broker.expired("g"), 0);
}

#[test]
fn the_time_in_which_no_broker_ran_makes_neither_groups_inactive_nor_messages_old() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    broker.receive("g", "t");
    broker.pass(6 * DAY);
    broker.send("t", &["b"]);
    let sent = broker.now;
    for _ in 0..3 {
        broker.set_now(broker.now.plus(30 * DAY));
        broker.fail_over();
    }
    broker.pass(DAY);
    assert_eq!(broker.idle_groups(), Vec::<String>::new());
    broker.pass(1);
    assert_eq!(broker.idle_groups(), ["g"], "away for a week in which it could consume");
    assert_eq!(broker.expire(sent), [], "the newest message was there for a day of service only");
    broker.pass(6 * DAY);
    assert_eq!(broker.expire(sent), [("g".to_owned(), 2)]);
}

#[test]
fn groups_keep_what_they_owe_unless_told_otherwise() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    broker.receive("g", "t");
    broker.pass(1_000 * DAY);
    let start = broker.shard.state().log_start();
    let (below, newest) = (broker.log.end(), TIME_START);
    let retain = Retain { below, newest, relocate: Vec::new(), policy: Policy::default() };
    let Some(Answer::Retain(retained)) = broker.ask(Request::Retain(retain)) else { panic!("no answer") };
    assert_eq!((retained.log_start, retained.expired), (start, Vec::new()));
    assert_eq!(broker.receive_texts("g", "t"), ["a"]);
}

#[test]
fn a_fifo_group_gives_up_whole_message_groups_from_their_first_message_on() {
    let mut broker = Broker::new();
    broker.topic("t", TopicKind::Fifo, 1);
    broker.fifo_group("g");
    broker.send_fifo("t", "x", &["x1", "x2", "x3"]);
    broker.send_fifo("t", "y", &["y1"]);
    assert_eq!(broker.receive_texts("g", "t"), ["x1", "y1"]);
    broker.send_fifo("t", "x", &["x4"]);
    broker.pass(8 * DAY);
    let between = broker.log.end();
    broker.send_fifo("t", "x", &["x5"]);
    let policy = Policy { inactive_group: InactiveGroup::ExpireAfter(7 * DAY), ..Policy::default() };
    let retain = Retain { below: between, newest: TIME_START, relocate: Vec::new(), policy };
    let Some(Answer::Retain(retained)) = broker.ask(Request::Retain(retain)) else { panic!("no answer") };
    assert_eq!(retained.expired[0].messages, 5, "in flight, behind it, and never looked at");
    let status = broker.shard.group_status("g").unwrap().progress[0].clone();
    assert_eq!((status.in_flight, status.waiting, status.ready, status.next), (0, 0, 1, Offset(5)));
    assert_eq!(broker.receive_texts("g", "t"), ["x5"], "its message group is free");
}

impl Broker {
    fn idle_in(&self, idle_ms: u64) -> Vec<String> {
        let idle = idle_subscriptions(self.shard.state(), self.now, idle_ms);
        idle.iter().map(|idle| idle.group.to_string()).collect()
    }

    /// Where the newest retention run ended: before the records that it wrote itself.
    fn log_start_after_run(&self) -> Lsn {
        let below =
            self.log.records.iter().rev().find_map(|(lsn, _)| match record::decode(self.log.record(*lsn)) {
                Ok(Record::DropBelow(below)) => Some(below),
                _ => None,
            });
        below.unwrap()
    }
}
