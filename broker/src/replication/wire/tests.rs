//! What goes over the wire comes out as it went in, and what no replica says is refused.

use super::*;

const EPOCH: Epoch = Epoch(7);

fn greeting(epochs: &[(u32, u64)]) -> Greeting {
    let begins = epochs.iter().map(|(epoch, start)| EpochStart { epoch: Epoch(*epoch), start: Lsn(*start) });
    Greeting {
        shard: ShardId(u16::MAX),
        master: StoreId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        hello: Hello {
            store: StoreId(u128::MAX - 1),
            session: Session(u64::MAX),
            promised: EPOCH,
            history: EpochHistory::new(begins.collect()),
            end: Lsn(1 << 50),
        },
    }
}

fn hello(change: impl FnOnce(&mut proto::Hello)) -> proto::FromSlave {
    let Some(SlaveSays::Hello(mut hello)) = greeting(&[(1, 0), (3, 50)]).write().message else {
        panic!("a greeting is a hello");
    };
    change(&mut hello);
    from_slave(SlaveSays::Hello(hello))
}

/// Over the wire and back.
fn sent<T: prost::Message + Default>(message: &T) -> T {
    T::decode(message.encode_to_vec().as_slice()).unwrap()
}

#[test]
fn a_greeting_arrives_as_it_was_said() {
    for epochs in [&[][..], &[(1, 0)], &[(1, 0), (3, 50), (u32::MAX, u64::MAX)]] {
        let said = greeting(epochs);
        assert_eq!(Greeting::read(sent(&said.write())), Ok(said));
    }
}

#[test]
fn the_ids_of_stores_are_big_endian_on_the_wire() {
    let Some(SlaveSays::Hello(hello)) = greeting(&[]).write().message else {
        panic!("a greeting is a hello")
    };
    assert_eq!(hello.master, (1..=16).collect::<Vec<u8>>());
}

#[test]
fn what_a_slave_says_arrives_as_it_was_said() {
    let said = [
        Message::Ack { epoch: EPOCH, received: Lsn(u64::MAX), durable: Lsn(8) },
        Message::Ack { epoch: Epoch(0), received: Lsn(0), durable: Lsn(0) },
        Message::Refused { promised: EPOCH },
    ];
    for message in said {
        assert_eq!(read_from_slave(sent(&write_from_slave(&message).unwrap())), Ok(message));
    }
}

#[test]
fn a_snapshot_is_asked_for_and_announced_as_it_was_said() {
    let (shard, master) = (ShardId(u16::MAX), StoreId(u128::MAX - 1));
    let asked = sent(&write_snapshot_request(shard, master));
    assert_eq!(read_snapshot_request(&asked), Ok((shard, master)));
    let nameless = proto::SnapshotRequest { master: Vec::new(), ..asked };
    assert_eq!(read_snapshot_request(&nameless), Err(WireError::StoreId(0)));
    let head = SnapshotHead { start: Lsn(1), chain: u32::MAX, checkpoint: Lsn(u64::MAX), bytes: 4 };
    assert_eq!(read_snapshot_head(sent(&write_snapshot_head(head))), head);
}

#[test]
fn what_a_master_says_arrives_as_it_was_said_with_its_frames() {
    let none = Bytes::new();
    let said = [
        (Message::Welcome { epoch: EPOCH, catchup: Catchup::Resume }, none.clone()),
        (Message::Welcome { epoch: EPOCH, catchup: Catchup::Truncate(Lsn(0)) }, none.clone()),
        (Message::Welcome { epoch: EPOCH, catchup: Catchup::Truncate(Lsn(9)) }, none.clone()),
        (Message::Welcome { epoch: EPOCH, catchup: Catchup::Install(Lsn(64)) }, none.clone()),
        (
            Message::Frames { epoch: EPOCH, from: Lsn(8), end: Lsn(64), commit: Lsn(4) },
            Bytes::from_static(b"frames"),
        ),
        (Message::Heartbeat { epoch: EPOCH, commit: Lsn(64) }, none.clone()),
        (Message::Refused { promised: EPOCH }, none),
    ];
    for (message, frames) in said {
        let wire = sent(&write_from_master(&message, frames.clone()).unwrap());
        assert_eq!(read_from_master(wire), Ok((message, frames)));
    }
}

#[test]
fn a_greeting_that_no_slave_says_is_refused() {
    let refused = |message| Greeting::read(message).unwrap_err();
    assert_eq!(refused(hello(|hello| hello.shard = 65_536)), WireError::Shard(65_536));
    assert_eq!(refused(hello(|hello| hello.master.truncate(15))), WireError::StoreId(15));
    assert_eq!(refused(hello(|hello| hello.store.push(0))), WireError::StoreId(17));
    assert_eq!(refused(hello(|hello| hello.store.clear())), WireError::StoreId(0));
    let begin = |epoch, start| EpochStart { epoch: Epoch(epoch), start: Lsn(start) };
    let same_epoch = hello(|hello| hello.epochs[1].epoch = 1);
    assert_eq!(refused(same_epoch), WireError::Epochs(begin(1, 50)));
    let same_start = hello(|hello| hello.epochs[1].start = 0);
    assert_eq!(refused(same_start), WireError::Epochs(begin(3, 0)));
    let ack = Message::Ack { epoch: EPOCH, received: Lsn(1), durable: Lsn(1) };
    assert_eq!(refused(write_from_slave(&ack).unwrap()), WireError::NoHello);
    assert_eq!(refused(proto::FromSlave { message: None }), WireError::UnknownKind);
}

#[test]
fn a_message_without_content_is_refused() {
    assert_eq!(read_from_slave(proto::FromSlave { message: None }), Err(WireError::UnknownKind));
    assert_eq!(read_from_master(proto::FromMaster { message: None }), Err(WireError::UnknownKind));
    let welcome =
        proto::FromMaster { message: Some(MasterSays::Welcome(proto::Welcome { epoch: 1, catchup: None })) };
    assert_eq!(read_from_master(welcome), Err(WireError::UnknownKind));
}

#[test]
fn a_slave_introduces_itself_once() {
    assert_eq!(read_from_slave(hello(|_| {})), Err(WireError::SecondHello));
}

#[test]
fn nobody_says_what_the_other_end_says() {
    let heartbeat = Message::Heartbeat { epoch: EPOCH, commit: Lsn(0) };
    assert_eq!(write_from_slave(&heartbeat), Err(WireError::WrongWay(heartbeat)));
    let ack = Message::Ack { epoch: EPOCH, received: Lsn(0), durable: Lsn(0) };
    assert_eq!(write_from_master(&ack, Bytes::new()), Err(WireError::WrongWay(ack)));
}
