//! Which dead letters are meant, fetched page by page.

use clap::Args;
use rq_proto::reliablequeue as pb;

use crate::admin::{Admin, call};
use crate::args::property;
use crate::failure::Failure;
use crate::moment::moment;

/// Most dead letters of one page, as the broker allows.
const PAGE: u32 = 1000;

/// The options that say which.
#[derive(Args)]
pub(super) struct Which {
    /// Name of the consumer group, or `TRANS_CHECK_MAX_TIME_TOPIC`
    pub(super) group: String,
    /// Only those that were sent to this topic
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    topic: String,
    /// Only those with this tag
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TAG")]
    tag: String,
    /// Only those with this key
    #[arg(long, default_value = "", hide_default_value = true, value_name = "KEY")]
    key: String,
    /// Only those with this user property; may be given several times
    #[arg(long = "property", value_parser = property, value_name = "KEY=VALUE")]
    properties: Vec<(String, String)>,
    /// Only those sent at or after this time: RFC 3339, or `1h ago`
    #[arg(long, value_parser = moment, value_name = "TIME")]
    since: Option<i64>,
    /// Only those sent before this time: RFC 3339, or `1h ago`
    #[arg(long, value_parser = moment, value_name = "TIME")]
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
}

impl Which {
    /// The one at an offset.
    pub(super) fn one(group: &str, offset: i64) -> Self {
        Self {
            group: group.to_owned(),
            topic: String::new(),
            tag: String::new(),
            key: String::new(),
            properties: Vec::new(),
            since: None,
            before: None,
            from: offset,
            to: Some(offset),
        }
    }

    /// None where nothing narrows it down, so that the broker need not look further than it lists.
    fn filter(&self) -> Option<pb::DeadLetterFilter> {
        let filter = pb::DeadLetterFilter {
            topic: self.topic.clone(),
            tag: self.tag.clone(),
            key: self.key.clone(),
            properties: self.properties.iter().cloned().collect(),
            stored_from_ms: self.since.unwrap_or(0),
            stored_before_ms: self.before.unwrap_or(0),
            before_offset: self.to.map_or(0, |to| to + 1),
        };
        (filter != pb::DeadLetterFilter::default()).then_some(filter)
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
    let mut found = Found::default();
    let mut from_offset = which.from;
    while (found.letters.len() as u64) < limit {
        let missing = limit - found.letters.len() as u64;
        let request = pb::ListDeadLettersRequest {
            group: which.group.clone(),
            from_offset,
            limit: u32::try_from(missing).map_or(PAGE, |missing| missing.min(PAGE)),
            without_body: !bodies,
            filter: which.filter(),
        };
        let page = call!(admin.list_dead_letters(request))?;
        came(page.dead_letters.len() as u64);
        found.letters.extend(page.dead_letters);
        found.damaged.extend(page.damaged);
        from_offset = page.next_offset;
        if from_offset == 0 {
            break;
        }
    }
    Ok(found)
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
        assert_eq!(which.filter().unwrap().before_offset, 18);
        which.to = None;
        assert_eq!(which.filter(), None);
    }
}
