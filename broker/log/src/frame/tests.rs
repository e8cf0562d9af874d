//! Frames read back as they were written, where they were written, and nothing else is one.

use proptest::prelude::*;

use super::*;

const TAG: u32 = 7;

fn sealed(records: &[Vec<u8>]) -> (Frame, u32) {
    let mut builder = FrameBuilder::new(Epoch(3), LogTime(5), Lsn(4096), 1 << 20, 0);
    for record in records {
        builder.push(record);
    }
    builder.seal(Lsn(4000), 11, TAG)
}

fn expected() -> Expected {
    Expected { lsn: Lsn(4096), shard_tag: TAG, chain: Some(11), epoch: Epoch(3), room: 1 << 20 }
}

fn verify(expected: &Expected, bytes: &[u8]) -> Result<Vec<(Lsn, Vec<u8>)>, Fault> {
    let head = bytes.first_chunk().ok_or(Fault::Length)?;
    let (header, _) = expected.header(head)?;
    let payload = bytes.get(HEADER_LEN..header.frame_len() as usize).ok_or(Fault::Length)?;
    let frame = FrameRef::verify(&header, payload)?;
    Ok(frame.records().map(|(lsn, record)| (lsn, record.to_vec())).collect())
}

proptest! {
    #[test]
    fn records_read_back_from_where_they_were_pushed(records: Vec<Vec<u8>>) {
        let (frame, _) = sealed(&records);
        prop_assert!(frame.bytes.len().is_multiple_of(ALIGNMENT));
        let found = verify(&expected(), &frame.bytes).unwrap();
        for ((lsn, found), record) in found.iter().zip(&records) {
            prop_assert_eq!(found, record);
            let at = (lsn.0 - frame.lsn.0) as usize;
            prop_assert_eq!(Reader::new(&frame.bytes[at..]).bytes("record").unwrap(), record.as_slice());
        }
        prop_assert_eq!(found.len(), records.len());
    }

    #[test]
    fn any_bytes_are_no_frame_and_no_panic(bytes: Vec<u8>, magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() > 8 {
            bytes[..8].copy_from_slice(&[b'R', b'Q', b'F', b'1', 1, 0, 64, 0]);
        }
        prop_assert!(verify(&expected(), &bytes).is_err());
    }
}

#[test]
fn a_frame_is_valid_only_where_it_belongs() {
    let (frame, _) = sealed(&[b"record".to_vec()]);
    let fault = |expected: Expected| verify(&expected, &frame.bytes).unwrap_err();
    assert_eq!(fault(Expected { lsn: Lsn(0), ..expected() }), Fault::Position);
    assert_eq!(fault(Expected { shard_tag: 8, ..expected() }), Fault::Shard);
    assert_eq!(fault(Expected { chain: Some(12), ..expected() }), Fault::Chain);
    assert_eq!(fault(Expected { epoch: Epoch(4), ..expected() }), Fault::Epoch);
    assert_eq!(fault(Expected { room: 64, ..expected() }), Fault::Length);
    assert!(verify(&Expected { chain: None, epoch: Epoch(2), room: 72, ..expected() }, &frame.bytes).is_ok());
}

/// The checksums are put right, or nothing would get past them.
#[test]
fn fuzzed_frames_are_refused_or_what_their_records_say() {
    let checked = |input: &[u8]| {
        let mut bytes = input.to_vec();
        if bytes.len() >= HEADER_LEN {
            let payload = crc32c(&bytes[HEADER_LEN..]).to_le_bytes();
            bytes[HEADER_LEN - 8..HEADER_LEN - 4].copy_from_slice(&payload);
            let header = crc32c(&bytes[..HEADER_LEN - 4]).to_le_bytes();
            bytes[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&header);
        }
        bytes
    };
    let seeds: [&[Vec<u8>]; 3] = [&[], &[b"record".to_vec()], &[vec![1; 300], Vec::new(), vec![2; 7]]];
    rq_fuzz::fuzz(seeds.map(|records| sealed(records).0.bytes.to_vec()), |input| {
        let bytes = checked(input);
        let read = verify(&expected(), &bytes);
        if let Ok(records) = &read {
            let held: usize = records.iter().map(|(_, record)| record.len() + 1).sum();
            assert!(HEADER_LEN + held <= bytes.len(), "records longer than their frame");
        }
        read.map(|records| records.len()).map_err(|fault| format!("{fault:?}"))
    });
}
