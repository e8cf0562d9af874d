//! The messages that wait, and what became of others, as bytes.

use super::check;
use crate::codec::{Malformed, Reader, Write};
use crate::ids::{HeldId, Lane, LogTime, Lsn, QueueId, TagHash, TopicId};
use crate::queue::held::{Ending, Half, Held, HeldMessage};
use crate::queue::state::State;

pub(super) fn put(out: &mut dyn Write, held: &Held) {
    out.put_varint(held.delayed.len() as u64);
    // There may be ten million: each says how long after the one before it is due.
    let mut before = LogTime(0);
    for ((time, id), message) in held.delayed.iter() {
        out.put_varint(time.since(before));
        put_message(out, id, &message);
        before = time;
    }
    out.put_varint(held.halves.len() as u64);
    for (id, half) in held.halves.iter() {
        put_message(out, id, &half.message);
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
    let mut last = (LogTime(0), None);
    for _ in 0..r.count("delayed messages")? {
        let after = r.varint("delivery time")?;
        let time = last.0.plus(after);
        let (id, message) = message(r, state)?;
        check(r, time.since(last.0) == after && last < (time, Some(id)), "delayed message")?;
        held.insert_delayed(time, id, message);
        last = (time, Some(id));
    }
    let mut last = None;
    for _ in 0..r.count("half messages")? {
        let (id, message) = message(r, state)?;
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

/// A message with what names it. Where its record lies is said only if it was copied there.
fn put_message(out: &mut dyn Write, id: HeldId, message: &HeldMessage) {
    out.put_varint(id.0);
    out.put_varint(message.moved_to(id).0);
    out.put_varint(message.tag.0);
    out.put_varint(message.lane.0);
    out.put_varint(u64::from(message.topic.0));
    out.put_varint(u64::from(message.queue.0));
}

fn message(r: &mut Reader<'_>, state: &State) -> Result<(HeldId, HeldMessage), Malformed> {
    let (id, moved_to) = (HeldId(r.varint("held message")?), Lsn(r.varint("held message")?));
    check(r, id.0 != moved_to.0, "held message")?;
    let (tag, lane) = (TagHash(r.varint("tag")?), Lane(r.varint("lane")?));
    let topic = u32::try_from(r.varint("topic")?).map_err(|_| r.malformed("topic"))?;
    let queue = u16::try_from(r.varint("queue")?).map_err(|_| r.malformed("queue"))?;
    let lsn = HeldMessage::lsn(id, moved_to);
    let message = HeldMessage { lsn, tag, lane, topic: TopicId(topic), queue: QueueId(queue) };
    check(r, state.message_queue(message.topic, message.queue).is_some(), "held message")?;
    Ok((id, message))
}
