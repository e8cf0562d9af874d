//! The messages that wait, and what became of others, as bytes.

use super::check;
use crate::codec::{Malformed, Reader, Write};
use crate::ids::{HeldId, Lane, LogTime, Lsn, QueueId, TagHash, TopicId};
use crate::queue::held::{Ending, Half, Held, HeldMessage};
use crate::queue::state::State;

pub(super) fn put(out: &mut dyn Write, held: &Held) {
    out.put_varint(held.delayed.len() as u64);
    for ((time, id), message) in held.delayed.iter() {
        out.put_u64(time.0);
        out.put_u64(id.0);
        put_message(out, &message);
    }
    out.put_varint(held.halves.len() as u64);
    for (id, half) in held.halves.iter() {
        out.put_u64(id.0);
        put_message(out, &half.message);
        out.put_u64(half.next_check.0);
        out.put_u32(half.checks);
    }
    out.put_varint(held.ended.by_id.len() as u64);
    for (id, (at, ending)) in held.ended.by_id.iter() {
        out.put_u64(id.0);
        out.put_u64(at.0);
        out.put_u8(ending as u8);
    }
    out.put_varint(held.given_up);
}

/// Reads what [`put`] wrote of a state whose topics are these.
pub(super) fn held(r: &mut Reader<'_>, state: &State) -> Result<Held, Malformed> {
    let mut held = Held::default();
    let mut last = None;
    for _ in 0..r.count("delayed messages")? {
        let key = (LogTime(r.u64("delivery time")?), HeldId(r.u64("delayed message")?));
        let message = message(r, state)?;
        check(r, last < Some(key), "delayed message")?;
        held.insert_delayed(key.0, key.1, message);
        last = Some(key);
    }
    let mut last = None;
    for _ in 0..r.count("half messages")? {
        let id = HeldId(r.u64("half message")?);
        let message = message(r, state)?;
        let (next_check, checks) = (LogTime(r.u64("next check")?), r.u32("checks")?);
        check(r, last < Some(id), "half message")?;
        held.insert_half(id, Half { message, next_check, checks });
        last = Some(id);
    }
    let mut last = None;
    for _ in 0..r.count("ended messages")? {
        let (id, at) = (HeldId(r.u64("ended message")?), LogTime(r.u64("end")?));
        let ending = match r.u8("ending")? {
            1 => Ending::Committed,
            2 => Ending::RolledBack,
            3 => Ending::GivenUp,
            4 => Ending::Recalled,
            _ => return Err(r.malformed("ending")),
        };
        check(r, last < Some(id), "ended message")?;
        held.ended.restore(id, at, ending);
        last = Some(id);
    }
    held.given_up = r.varint("transactions given up")?;
    Ok(held)
}

fn put_message(out: &mut dyn Write, message: &HeldMessage) {
    out.put_u64(message.lsn.0);
    out.put_u64(message.tag.0);
    out.put_u64(message.lane.0);
    out.put_u32(message.topic.0);
    out.put_u16(message.queue.0);
}

fn message(r: &mut Reader<'_>, state: &State) -> Result<HeldMessage, Malformed> {
    let message = HeldMessage {
        lsn: Lsn(r.u64("held message")?),
        tag: TagHash(r.u64("tag")?),
        lane: Lane(r.u64("lane")?),
        topic: TopicId(r.u32("topic")?),
        queue: QueueId(r.u16("queue")?),
    };
    check(r, state.message_queue(message.topic, message.queue).is_some(), "held message")?;
    Ok(message)
}
