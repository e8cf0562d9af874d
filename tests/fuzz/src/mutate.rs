//! Inputs made from others: small changes mostly, as damage and malice make them.

use rand::RngExt as _;
use rand::rngs::StdRng;

/// Bytes that parsers like to stumble over.
const BYTES: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'\'', b'\\', b'\n', b'%'];
/// Numbers likewise.
const NUMBERS: [u64; 8] =
    [0, 1, 0x7f, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, 0xffff_ffff_ffff_ffff];

/// A mutation of one of the inputs, at most `max` bytes long.
pub(crate) fn mutated(rng: &mut StdRng, corpus: &[Vec<u8>], max: usize) -> Vec<u8> {
    let mut input = pick(rng, corpus);
    for _ in 0..1 << rng.random_range(0..4) {
        change(rng, &mut input, corpus);
    }
    input.truncate(max);
    input
}

fn pick(rng: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    corpus[rng.random_range(0..corpus.len())].clone()
}

fn change(rng: &mut StdRng, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = rng.random_range(0..=input.len());
    let (from, to) = part(rng, input.len());
    match rng.random_range(0..10) {
        0 | 1 => at_one(input, at, |byte| byte ^ 1 << (at % 8)),
        2 => {
            let byte = rng.random();
            at_one(input, at, |_| byte);
        }
        3 => {
            let byte = BYTES[rng.random_range(0..BYTES.len())];
            at_one(input, at, |_| byte);
        }
        4 => input.insert(at, rng.random()),
        5 => drop(input.drain(from..to)),
        6 => {
            let copy = input[from..to].to_vec();
            input.splice(at..at, copy);
        }
        7 => {
            let number = NUMBERS[rng.random_range(0..NUMBERS.len())];
            let bytes = number.wrapping_add_signed(rng.random_range(-1..2)).to_le_bytes();
            let len = [1, 2, 4, 8][rng.random_range(0..4)];
            let end = (at + len).min(input.len());
            input.splice(at..end, bytes[..len].iter().copied());
        }
        8 => input.truncate(at),
        _ => {
            let other = pick(rng, corpus);
            let (from, to) = part(rng, other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
    }
}

fn at_one(input: &mut [u8], at: usize, change: impl FnOnce(u8) -> u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = change(*byte);
    }
}

/// A part of so many bytes, short mostly.
fn part(rng: &mut StdRng, len: usize) -> (usize, usize) {
    let from = rng.random_range(0..=len);
    let longest = if rng.random_range(0..4) == 0 { len } else { 16 };
    (from, (from + rng.random_range(0..=longest)).min(len))
}
