//! Where clients go, case by case.

use rq_core::ids::StoreId;
use rq_overseer::Told;
use rq_proto::reliablequeue as pb;

use super::*;

const A: StoreId = StoreId(0xA);
const B: StoreId = StoreId(0xB);

fn status(store: StoreId) -> pb::ReplicaStatus {
    pb::ReplicaStatus { store_id: store.to_string(), ..pb::ReplicaStatus::default() }
}

/// A replica that has answered at time 1000.
fn seen(number: u16, status: &pb::ReplicaStatus) -> Seen {
    let address = format!("127.0.0.1:{}", 8082 + 2 * number);
    let told = Told::read(status, 1_000);
    Seen { running: true, told, ..Seen::new(format!("r{number}"), address) }
}

/// A is master.
fn pair() -> [Seen; 2] {
    let master = pb::ReplicaStatus { role: pb::Role::Master.into(), serving: true, epoch: 1, ..status(A) };
    [seen(0, &master), seen(1, &status(B))]
}

#[test]
fn clients_go_to_the_master_that_serves_else_to_whoever_answers() {
    let mut pair = pair();
    let addresses = |backends: &Backends| backends.order.join(" ");
    assert_eq!(addresses(&backends(&pair, 1_000)), "127.0.0.1:8082 127.0.0.1:8084");
    let successor = pb::ReplicaStatus { role: pb::Role::Master.into(), serving: true, epoch: 2, ..status(B) };
    pair[1] = seen(1, &successor);
    assert_eq!(addresses(&backends(&pair, 1_000)), "127.0.0.1:8084 127.0.0.1:8082", "the newer epoch counts");
    pair[0].running = false;
    assert_eq!(addresses(&backends(&pair, 1_000)), "127.0.0.1:8084");
    pair[1].silent_since = Some(900);
    assert_eq!(addresses(&backends(&pair, 1_000)), "");
}

#[test]
fn connections_to_a_process_that_hangs_are_cut_once_another_one_serves() {
    let mut pair = pair();
    pair[0].silent_since = Some(1_000);
    assert!(backends(&pair, 9_000).hang.is_empty(), "there is nowhere else to go");
    let successor = pb::ReplicaStatus { role: pb::Role::Master.into(), serving: true, epoch: 2, ..status(B) };
    pair[1] = seen(1, &successor);
    assert!(backends(&pair, 2_999).hang.is_empty(), "it may only be slow");
    assert_eq!(backends(&pair, 3_000).hang, ["127.0.0.1:8082".to_owned()].into());
}
