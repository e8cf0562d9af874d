//! Which dead letters are meant, fetched page by page.

use clap::Args;
use rq_proto::reliablequeue as pb;

use crate::admin::{Admin, call};
use crate::args::{by_key, filled, property};
use crate::failure::Failure;
use crate::moment::bound;

/// Most dead letters of one page, as the broker allows.
const PAGE: u32 = 1000;

/// The options that say which.
#[derive(Args)]
pub(super) struct Which {
    /// Name of the consumer group, or `TRANS_CHECK_MAX_TIME_TOPIC`
    pub(super) group: String,
    /// Only those that were sent to this topic
    #[arg(long, value_parser = filled, value_name = "NAME")]
    topic: Option<String>,
    /// Only those with this tag
    #[arg(long, value_parser = filled, value_name = "TAG")]
    tag: Option<String>,
    /// Only those with this key
    #[arg(long, value_parser = filled, value_name = "KEY")]
    key: Option<String>,
    /// Only those with this user property; may be given for several properties
    #[arg(long = "property", value_parser = property, value_name = "KEY=VALUE")]
    properties: Vec<(String, String)>,
    /// Only those sent at or after this time: RFC 3339, or `1h ago`
    #[arg(long, value_parser = bound, value_name = "TIME")]
    since: Option<i64>,
    /// Only those sent before this time: RFC 3339, or `1h ago`
    #[arg(long, value_parser = bound, value_name = "TIME")]
    before: Option<i64>,
    /// First offset meant
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..), value_name = "OFFSET")]
    from: i64,
    /// Last offset meant
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..i64::MAX), value_name = "OFFSET")]
    to: Option<i64>,
}

/// What there is of it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) letters: Vec<pb::DeadLetter>,
    /// Among them, and could not be read.
    pub(super) damaged: Vec<pb::DamagedDeadLetter>,
    /// Where to look for more; 0 where all was looked at.
    next_offset: i64,
}

/// What there is behind what was fetched.
pub(super) enum Rest {
    None,
    Some,
    /// Nobody looked so far.
    Unknown,
}

impl Found {
    /// Looks for one more, with a single request: with a filter the whole rest would have to be read to be sure.
    pub(super) async fn rest(&self, admin: &Admin, which: &Which) -> Result<Rest, Failure> {
        if self.next_offset == 0 {
            return Ok(Rest::None);
        }
        let page = call!(admin.list_dead_letters(which.page(self.next_offset, 1, false)?))?;
        Ok(if !page.dead_letters.is_empty() || !page.damaged.is_empty() {
            Rest::Some
        } else if page.next_offset == 0 {
            Rest::None
        } else {
            Rest::Unknown
        })
    }
}

impl Which {
    /// The one at an offset.
    pub(super) fn one(group: &str, offset: i64) -> Self {
        Self {
            group: group.to_owned(),
            topic: None,
            tag: None,
            key: None,
            properties: Vec::new(),
            since: None,
            before: None,
            from: offset,
            to: Some(offset),
        }
    }

    /// Asks for a page of them.
    fn page(
        &self,
        from_offset: i64,
        limit: u32,
        bodies: bool,
    ) -> Result<pb::ListDeadLettersRequest, Failure> {
        let (group, filter) = (self.group.clone(), self.filter()?);
        Ok(pb::ListDeadLettersRequest { group, from_offset, limit, without_body: !bodies, filter })
    }

    /// None where nothing narrows it down, so that the broker need not look further than it lists.
    fn filter(&self) -> Result<Option<pb::DeadLetterFilter>, Failure> {
        let filter = pb::DeadLetterFilter {
            topic: self.topic.clone().unwrap_or_default(),
            tag: self.tag.clone().unwrap_or_default(),
            key: self.key.clone().unwrap_or_default(),
            properties: by_key(&self.properties)?,
            stored_from_ms: self.since.unwrap_or(0),
            stored_before_ms: self.before.unwrap_or(0),
            before_offset: self.to.map_or(0, |to| to + 1),
        };
        Ok((filter != pb::DeadLetterFilter::default()).then_some(filter))
    }
}

/// Fetches page by page, at most `limit`, and tells how many came.
pub(super) async fn fetch(
    admin: &Admin,
    which: &Which,
    limit: u64,
    bodies: bool,
    came: impl Fn(u64),
) -> Result<Found, Failure> {
    let mut found = Found { next_offset: which.from, ..Found::default() };
    loop {
        // Whoever wants none hears still whether there is such a group.
        let missing = (limit - found.letters.len() as u64).max(1);
        let most = u32::try_from(missing).map_or(PAGE, |missing| missing.min(PAGE));
        let page = call!(admin.list_dead_letters(which.page(found.next_offset, most, bodies)?))?;
        came(page.dead_letters.len() as u64);
        found.letters.extend(page.dead_letters);
        found.damaged.extend(page.damaged);
        found.next_offset = page.next_offset;
        if page.next_offset == 0 || found.letters.len() as u64 >= limit {
            found.letters.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            return Ok(found);
        }
    }
}

/// Names those that could not be read, as a failure.
pub(super) fn warn(damaged: &[pb::DamagedDeadLetter]) -> Result<(), Failure> {
    for letter in damaged {
        eprintln!("rq: the dead letter at offset {} was left out: {}", letter.offset, letter.reason);
    }
    if damaged.is_empty() { Ok(()) } else { Err(Failure::DamagedLetters { damaged: damaged.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_narrowed_down_is_no_filter_and_the_last_offset_is_meant_too() {
        let mut which = Which::one("g", 17);
        assert_eq!(which.filter().unwrap().unwrap().before_offset, 18);
        which.to = None;
        assert_eq!(which.filter().unwrap(), None);
    }
}
