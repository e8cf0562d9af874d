//! What a slave knows of its master by itself, and whether it takes over for that: kept by the broker and by the
//! simulation alike.

use std::collections::BTreeMap;

use super::{Decision, MasterSeen, Observed, Observer, SlaveSeen, decide};
use crate::config::Config;
use crate::ids::StoreId;
use crate::replication::{Guards, Replica};

/// A slave's ear at its master. Times are ms on a clock that only goes forward.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MasterWatch {
    /// When it was last heard of, or when the slave began to listen.
    heard: Option<u64>,
    /// The first of the reconnects in a row that were refused, and how many there were.
    refused: Option<(u64, u32)>,
}

impl MasterWatch {
    /// The slave listens from now on, unless it does already.
    pub fn listens(&mut self, now: u64) {
        self.heard.get_or_insert(now);
    }

    /// Something came from the master.
    pub fn hears(&mut self, now: u64) {
        *self = Self { heard: Some(now), refused: None };
    }

    /// Nobody listens where the master should be.
    pub fn is_refused(&mut self, now: u64) {
        let (_, times) = self.refused.get_or_insert((now, 0));
        *times = times.saturating_add(1);
    }

    /// Since when nothing was heard; none while there is no master to listen to.
    pub fn silent_since(&self) -> Option<u64> {
        self.heard
    }

    /// Whether this slave takes its master's place, and who stays in the in-sync set then. `config` is the newest
    /// that it can get; should there be a newer one, the compare-and-set fails. A `suspect` log is not to lead.
    pub fn takes_over<G: Guards>(
        &self,
        replica: &Replica<G>,
        config: &Config,
        suspect: bool,
        now: u64,
    ) -> Option<Vec<StoreId>> {
        let store = replica.store();
        if replica.leading().is_some() || config.master == store || !config.in_sync.contains_key(&store) {
            return None;
        }
        let refused_since = self.refused.filter(|(_, times)| *times > 1).map(|(first, _)| first);
        let master = MasterSeen { dead: false, silent_since: self.heard, refused_since };
        let itself = SlaveSeen {
            session: replica.session(),
            epoch: replica.history().last_epoch(),
            durable: replica.durable(),
            master_silent_since: self.heard,
            suspect,
        };
        let slaves = BTreeMap::from([(store, itself)]);
        match decide(&Observed { observer: Observer::Slave(store), config, master, slaves }, now) {
            Decision::Promote { keep, .. } => Some(keep),
            Decision::Wait(_) | Decision::Stalled(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RECONNECT_MS, SLAVE_REFUSED_MS, SLAVE_SILENCE_MS};
    use super::*;
    use crate::config::{Change, Member, next};
    use crate::ids::{Epoch, Session};
    use crate::replication::Durable;

    const MASTER: StoreId = StoreId(1);
    const SLAVE: StoreId = StoreId(2);
    const S: Session = Session(1);

    fn slave() -> Replica {
        Replica::new(SLAVE, S, Durable::default())
    }

    fn in_sync() -> Config {
        let members = [MASTER, SLAVE].map(|store| (store, Member::default())).into();
        let alone = Config::form(MASTER, S, members, 1);
        next(&alone, &Change::Expand { by: (MASTER, Epoch(1)), add: SLAVE, session: S }).unwrap()
    }

    fn takes_over(watch: &MasterWatch, now: u64) -> bool {
        watch.takes_over(&slave(), &in_sync(), false, now).is_some()
    }

    #[test]
    fn a_slave_takes_over_after_a_long_silence() {
        let mut watch = MasterWatch::default();
        assert!(!takes_over(&watch, 99_999), "it has never listened");
        watch.listens(1_000);
        watch.listens(2_000);
        assert!(!takes_over(&watch, 1_000 + SLAVE_SILENCE_MS - 1));
        assert!(takes_over(&watch, 1_000 + SLAVE_SILENCE_MS));
        watch.hears(4_000);
        assert!(!takes_over(&watch, 1_000 + SLAVE_SILENCE_MS));
    }

    #[test]
    fn a_slave_takes_over_soon_where_nobody_listens_any_more() {
        let mut watch = MasterWatch::default();
        watch.listens(1_000);
        watch.is_refused(1_100);
        assert!(!takes_over(&watch, 1_100 + SLAVE_REFUSED_MS), "once may be chance");
        watch.is_refused(1_100 + RECONNECT_MS);
        assert!(!takes_over(&watch, 1_100 + SLAVE_REFUSED_MS - 1));
        assert!(takes_over(&watch, 1_100 + SLAVE_REFUSED_MS));
    }

    #[test]
    fn a_slave_outside_the_set_or_with_a_suspect_log_never_takes_over() {
        let mut watch = MasterWatch::default();
        watch.listens(0);
        assert_eq!(watch.takes_over(&slave(), &in_sync(), true, 99_999), None);
        let config = next(&in_sync(), &Change::Shrink { by: (MASTER, Epoch(1)), remove: SLAVE }).unwrap();
        assert_eq!(watch.takes_over(&slave(), &config, false, 99_999), None);
    }
}
