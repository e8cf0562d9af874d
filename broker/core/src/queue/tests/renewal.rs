//! Renewal by the server: for clients that live and are known to have their delivery.

use super::*;
use crate::queue::RENEWED_LEASE_MS;

/// A delivery to client 1 over connection 1 that the server is to renew.
fn renewed(broker: &mut Broker) -> Delivery {
    broker.send("t", &["a"]);
    let mut receive = broker.receiving("g", "t");
    (receive.auto_renew, receive.invisible_ms) = (true, 60_000);
    broker.receive_as(receive)[0]
}

/// Whether the message stays hidden for ten minutes of vouching every 5 s.
fn stays_hidden(broker: &mut Broker, vouch: impl Fn(&mut Broker)) -> bool {
    (0..120).all(|_| {
        broker.pass(5_000);
        vouch(broker);
        broker.receive("g", "t").is_empty()
    })
}

#[test]
fn a_living_client_keeps_what_it_is_known_to_have_and_can_ack_with_its_first_handle() {
    let mut broker = Broker::new();
    let delivery = renewed(&mut broker);
    assert!(stays_hidden(&mut broker, |broker| broker.vouch(1, 1, 1_000)));
    broker.fail_over();
    assert!(stays_hidden(&mut broker, |broker| broker.vouch(1, 1, 1_000)));
    assert_eq!(broker.ack("g", &delivery), Ok(()));
}

#[test]
fn a_delivery_that_may_never_have_arrived_is_not_renewed() {
    let cases: [fn(&mut Broker); 3] = [
        |broker| broker.vouch(1, 2, 0),
        |broker| broker.vouch(2, 1, 0),
        |broker| broker.vouch(1, 1, 1_000_000),
    ];
    for vouch in cases {
        let mut broker = Broker::new();
        renewed(&mut broker);
        assert!(!stays_hidden(&mut broker, vouch));
    }
}

#[test]
fn a_client_that_nobody_vouches_for_loses_what_it_holds_and_no_earlier_than_promised() {
    let mut broker = Broker::new();
    renewed(&mut broker);
    broker.pass(31_000);
    broker.vouch(1, 1, 0);
    broker.pass(RENEWED_LEASE_MS - 1);
    assert!(broker.receive("g", "t").is_empty());
    broker.pass(1);
    assert_eq!(broker.receive_one("g", "t").attempt, 2);
}

/// The repeat shows that the first answer did not arrive, however busy its connection was since.
#[test]
fn a_repeated_attempt_must_be_shown_to_have_arrived_anew() {
    let mut broker = Broker::new();
    broker.send("t", &["a"]);
    let mut receive = broker.receiving("g", "t");
    (receive.auto_renew, receive.invisible_ms, receive.attempt) = (true, 60_000, Some(AttemptHash(7)));
    let first = broker.receive_as(receive.clone());
    broker.pass(40_000);
    broker.vouch(1, 1, 0);
    assert_eq!(broker.receive_as(receive), first);
    broker.pass(59_999);
    broker.vouch(1, 1, 60_000);
    broker.pass(1);
    assert_eq!(broker.receive_one("g", "t").attempt, 2);
}

#[test]
fn a_delivery_is_renewed_for_three_hours_at_most() {
    let mut broker = Broker::new();
    renewed(&mut broker);
    let hidden = (0..).take_while(|_| {
        broker.pass(20_000);
        broker.vouch(1, 1, 1_000);
        broker.receive("g", "t").is_empty()
    });
    let seconds = hidden.count() * 20;
    assert!((10_800..10_900).contains(&seconds), "{seconds} s");
}

#[test]
fn what_waits_out_a_back_off_is_not_renewed() {
    let mut broker = Broker::new();
    let delivery = renewed(&mut broker);
    broker.nack("g", &delivery, 10_000);
    broker.vouch(1, 1, 0);
    broker.pass(10_000);
    assert_eq!(broker.receive_one("g", "t").attempt, 2);
}

#[test]
fn a_client_that_says_goodbye_gives_back_what_it_holds_at_once() {
    let mut broker = Broker::new();
    let delivery = renewed(&mut broker);
    broker.ask(Request::Release(ClientHash(2)));
    assert!(broker.receive("g", "t").is_empty());
    broker.ask(Request::Release(ClientHash(1)));
    assert_eq!(broker.ack("g", &delivery), Ok(()), "its last ack may come late");

    let delivery = renewed(&mut broker);
    broker.ask(Request::Release(ClientHash(1)));
    assert_eq!(broker.receive_one("g", "t").attempt, 2);
    assert_eq!(broker.ack("g", &delivery), Err(StaleHandle));
}

#[test]
fn a_goodbye_in_the_last_delivery_makes_a_dead_letter() {
    let mut broker = Broker::new();
    broker.group("g", GroupSettings { max_attempts: 1, ..GroupSettings::default() });
    renewed(&mut broker);
    broker.ask(Request::Release(ClientHash(1)));
    assert_eq!(broker.dead_letters("g"), ["a"]);
}

#[test]
fn nothing_is_watched_that_has_ended() {
    let mut broker = Broker::new();
    broker.group("g", GroupSettings { max_attempts: 1, ..GroupSettings::default() });
    let endings: [fn(&mut Broker, &Delivery); 4] = [
        |broker, delivery| assert_eq!(broker.ack("g", delivery), Ok(())),
        |broker, delivery| broker.forward("g", delivery),
        |broker, _| broker.pass(60_000),
        |broker, _| drop(broker.ask(Request::DeleteTopic(Arc::from("t")))),
    ];
    for end in endings {
        let delivery = renewed(&mut broker);
        assert!(!broker.shard.watches_nothing());
        end(&mut broker, &delivery);
        assert!(broker.shard.watches_nothing());
        assert_eq!(broker.shard.next_wakeup(), None);
    }
}
