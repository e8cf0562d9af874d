//! What goes over the wire comes out as it went in, and what no replica says is refused.

use rq_proto::reliablequeue::snapshot_part;

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
fn only_a_slave_that_leaves_says_so() {
    assert!(is_leaving(&sent(&write_leaving())));
    assert!(!is_leaving(&sent(&write_room(0))) && !is_leaving(&proto::FromSlave { message: None }));
    assert_eq!(read_from_slave(write_leaving()), Err(WireError::UnknownKind), "no word between replicas");
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

/// What replicas of today say, in hexadecimal digits: a line each.
const FIXTURE: &str = include_str!("../../../fixtures/replication-1.txt");

fn hex<T: prost::Message>(message: &T) -> String {
    message.encode_to_vec().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn read<T: prost::Message + Default>(line: &str) -> T {
    let digits = line.as_bytes().chunks(2).map(|two| str::from_utf8(two).unwrap());
    let bytes: Vec<u8> = digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
    T::decode(bytes.as_slice()).unwrap()
}

fn slave_says() -> [Message; 2] {
    [
        Message::Ack { epoch: EPOCH, received: Lsn(1 << 40), durable: Lsn(8) },
        Message::Refused { promised: EPOCH },
    ]
}

fn master_says() -> [(Message, Bytes); 6] {
    let welcome = |catchup| (Message::Welcome { epoch: EPOCH, catchup }, Bytes::new());
    let frames = Message::Frames { epoch: EPOCH, from: Lsn(8), end: Lsn(14), commit: Lsn(4) };
    [
        welcome(Catchup::Resume),
        welcome(Catchup::Truncate(Lsn(9))),
        welcome(Catchup::Install(Lsn(64))),
        (frames, Bytes::from_static(b"frames")),
        (Message::Heartbeat { epoch: EPOCH, commit: Lsn(64) }, Bytes::new()),
        (Message::Refused { promised: EPOCH }, Bytes::new()),
    ]
}

fn head() -> SnapshotHead {
    SnapshotHead { start: Lsn(1 << 28), chain: u32::MAX, checkpoint: Lsn(1 << 29), bytes: 4 }
}

fn status() -> proto::ReplicaStatus {
    let slave = proto::PeerStatus {
        store_id: StoreId(2).to_string(),
        phase: proto::Phase::Following.into(),
        received_lsn: 9,
        durable_lsn: 8,
    };
    proto::ReplicaStatus {
        name: "r0".to_owned(),
        cluster: "test".to_owned(),
        shard: 1,
        store_id: StoreId(1).to_string(),
        session: 2,
        role: proto::Role::Master.into(),
        serving: true,
        epoch: 3,
        promised: 4,
        log_epoch: 5,
        config_version: 6,
        master: StoreId(1).to_string(),
        log_start_lsn: 7,
        end_lsn: 10,
        durable_lsn: 9,
        commit_lsn: 8,
        phase: proto::Phase::Installing.into(),
        master_silent_ms: Some(11),
        slaves: vec![slave],
        data_dir: "/data".to_owned(),
        uptime_ms: 12,
        halted: "why".to_owned(),
        ..proto::ReplicaStatus::default()
    }
}

/// With what later replicas say besides.
fn full_status() -> proto::ReplicaStatus {
    let (one, two) = (StoreId(1).to_string(), StoreId(2).to_string());
    let config = proto::ShardConfig {
        version: 6,
        epoch: 3,
        master: one.clone(),
        in_sync: vec![proto::CopyInSync { store_id: one, session: 2 }],
        members: vec![proto::ShardMember {
            store_id: two,
            name: "r1".to_owned(),
            address: "10.0.0.2:8083".to_owned(),
        }],
        min_in_sync: 1,
        flush_mode: proto::FlushMode::Async.into(),
        unclean_epoch: 2,
    };
    proto::ReplicaStatus {
        version: "0.1.0".to_owned(),
        disk_free_bytes: 13,
        disk_total_bytes: 14,
        accepts_messages: true,
        flush_mode: proto::FlushMode::Sync.into(),
        flush_interval_ms: 15,
        config: Some(config),
        ..status()
    }
}

fn vouching() -> proto::VouchRequest {
    proto::VouchRequest { clients: vec![proto::LivingClient { client: 1, connection: 2, idle_ms: 3 }] }
}

fn handing_over() -> proto::HandOverRequest {
    proto::HandOverRequest { to_store: StoreId(0xB).to_string() }
}

fn accepting() -> proto::AcceptDataLossRequest {
    proto::AcceptDataLossRequest { shard: 1, epoch: 2 }
}

fn taking() -> proto::TakeChecksRequest {
    proto::TakeChecksRequest { topics: vec!["t".to_owned()], most: 2, wait_ms: 3 }
}

fn taken() -> proto::TakeChecksResponse {
    let command = Bytes::from_static(b"\x12\x01x");
    proto::TakeChecksResponse {
        checks: vec![proto::TransactionCheck { half: 1, topic: "t".to_owned(), command }],
    }
}

fn reporting() -> proto::ReportChecksRequest {
    proto::ReportChecksRequest { asked: vec![1], unasked: vec![2] }
}

fn part(part: snapshot_part::Part) -> proto::SnapshotPart {
    proto::SnapshotPart { part: Some(part) }
}

#[test]
fn replicas_speak_with_the_bytes_of_their_release() {
    let mut lines = vec![hex(&greeting(&[(1, 0), (3, 50)]).write())];
    lines.extend(slave_says().iter().map(|message| hex(&write_from_slave(message).unwrap())));
    lines.push(hex(&write_room(1 << 30)));
    lines.push(hex(&write_leaving()));
    lines.extend(
        master_says().into_iter().map(|(message, frames)| hex(&write_from_master(&message, frames).unwrap())),
    );
    lines.push(hex(&write_snapshot_request(ShardId(1), StoreId(2))));
    lines.push(hex(&part(snapshot_part::Part::Head(write_snapshot_head(head())))));
    lines.push(hex(&part(snapshot_part::Part::Checkpoint(Bytes::from_static(b"state")))));
    lines.extend([hex(&status()), hex(&vouching()), hex(&handing_over()), hex(&accepting())]);
    lines.push(hex(&full_status()));
    lines.extend([hex(&taking()), hex(&taken()), hex(&reporting())]);
    let said: String = lines.into_iter().map(|line| line + "\n").collect();
    assert!(said == FIXTURE, "other bytes than a replica of this release expects: now they are\n{said}");
}

#[test]
fn what_replicas_of_a_released_version_say_is_understood() {
    let mut lines = FIXTURE.lines();
    let mut line = || lines.next().unwrap();
    assert_eq!(Greeting::read(read(line())), Ok(greeting(&[(1, 0), (3, 50)])));
    for message in slave_says() {
        assert_eq!(read_from_slave(read(line())), Ok(message));
    }
    assert_eq!(read_room(&read(line())), Some(1 << 30));
    assert!(is_leaving(&read(line())));
    for message in master_says() {
        assert_eq!(read_from_master(read(line())), Ok(message));
    }
    assert_eq!(read_snapshot_request(&read(line())), Ok((ShardId(1), StoreId(2))));
    let announced: proto::SnapshotPart = read(line());
    assert_eq!(announced, part(snapshot_part::Part::Head(write_snapshot_head(head()))));
    let sent: proto::SnapshotPart = read(line());
    assert_eq!(sent, part(snapshot_part::Part::Checkpoint(Bytes::from_static(b"state"))));
    assert_eq!(read::<proto::ReplicaStatus>(line()), status());
    assert_eq!(read::<proto::VouchRequest>(line()), vouching());
    assert_eq!(read::<proto::HandOverRequest>(line()), handing_over());
    assert_eq!(read::<proto::AcceptDataLossRequest>(line()), accepting());
    assert_eq!(read::<proto::ReplicaStatus>(line()), full_status());
    assert_eq!(read::<proto::TakeChecksRequest>(line()), taking());
    assert_eq!(read::<proto::TakeChecksResponse>(line()), taken());
    assert_eq!(read::<proto::ReportChecksRequest>(line()), reporting());
    assert_eq!(lines.next(), None);
}

#[test]
fn fuzzed_words_of_replicas_are_refused_or_read() {
    use prost::Message as _;
    let ack = Message::Ack { epoch: EPOCH, received: Lsn(u64::MAX), durable: Lsn(8) };
    let seeds = [
        greeting(&[(1, 0), (3, 50)]).write().encode_to_vec(),
        write_from_slave(&ack).unwrap().encode_to_vec(),
        write_room(7).encode_to_vec(),
        write_leaving().encode_to_vec(),
    ];
    rq_fuzz::fuzz(seeds, |input| {
        let said = proto::FromSlave::decode(input).map_err(|error| error.to_string())?;
        let master = proto::FromMaster::decode(input).ok().map(|said| read_from_master(said).is_ok());
        let greeting = Greeting::read(said.clone()).map(drop).map_err(|error| error.to_string());
        let message = read_from_slave(said).map(drop).map_err(|error| error.to_string());
        Ok::<_, String>((master, greeting, message))
    });
}
