//! What is left of a configuration whose store lost it, or went back to an older version.

use rq_core::config::Config;

use crate::{Seen, Told};

/// The newest configuration that any replica has kept, if every member of it answers: nobody can then have acted on a newer
/// one, so that it may be written again as it is. None as long as a member is away, who may know better. (A replica that
/// registered itself may be no member of it yet, and registers again.)
pub fn kept(seen: &[Seen]) -> Option<&Config> {
    let answers = || seen.iter().filter_map(Seen::answer);
    let newest = answers().filter_map(|told| told.config.as_ref()).max_by_key(|config| config.version)?;
    let is_newest = |told: &Told| told.promised <= newest.epoch && told.config_version <= newest.version;
    let all = newest.members.keys().all(|store| answers().any(|told| told.store == *store));
    (all && answers().all(is_newest)).then_some(newest)
}
