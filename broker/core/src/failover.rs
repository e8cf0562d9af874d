//! Who is promoted, and when: the one decision that the operator, the supervisor of a local cluster and a slave that has
//! lost its master all take by this function. A wrong guess costs availability and no message: the config store and the
//! promises of epochs see to that.

mod watch;

use std::collections::BTreeMap;

pub use self::watch::MasterWatch;
use crate::config::Config;
use crate::ids::{Epoch, Lsn, Session, StoreId};

/// Silence after which an observer beside the brokers takes a master for dead, if the slave hears nothing either, in ms.
pub const DETECT_TIMEOUT_MS: u64 = 2_000;
/// Silence after which a slave alone takes its master for dead, in ms: later than others, who know more.
pub const SLAVE_SILENCE_MS: u64 = 3_500;
/// Since the first refused reconnect, if there were two, until a slave takes its master for dead, in ms.
pub const SLAVE_REFUSED_MS: u64 = 500;
/// Pause of a slave between two attempts to reconnect, in ms.
pub const RECONNECT_MS: u64 = 200;

/// Who looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observer {
    /// The operator, or the supervisor of a local cluster.
    Supervisor {
        /// Silence after which it takes a master for dead that the slave does not hear either, in ms; the default is
        /// [`DETECT_TIMEOUT_MS`].
        detect_timeout_ms: u64,
    },
    /// A slave of the shard: it can promote nobody but itself.
    Slave(StoreId),
}

/// What is known of the master. All times are the observer's, in ms on a clock that only goes forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MasterSeen {
    /// It is certainly dead: its process or container ended, or its pod was deleted.
    pub dead: bool,
    /// Since when it has not answered; none if the last attempt was answered.
    pub silent_since: Option<u64>,
    /// When the first of at least two reconnects in a row was refused: nobody listens there any more.
    pub refused_since: Option<u64>,
}

/// What a slave of the in-sync set reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlaveSeen {
    /// Its session.
    pub session: Session,
    /// The newest epoch in its log.
    pub epoch: Epoch,
    /// Everything below is flushed there.
    pub durable: Lsn,
    /// Since when it has heard nothing of its master.
    pub master_silent_since: Option<u64>,
    /// Its log or its disk is not to be trusted.
    pub suspect: bool,
}

/// What an observer knows.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Who looks.
    pub observer: Observer,
    /// The configuration, freshly read.
    pub config: &'a Config,
    /// The master.
    pub master: MasterSeen,
    /// The slaves that answer.
    pub slaves: BTreeMap<StoreId, SlaveSeen>,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Nothing; look again at this time at the latest if the master stays silent.
    Wait(Option<u64>),
    /// Write the promotion.
    Promote {
        /// The new master.
        to: StoreId,
        /// Its session.
        session: Session,
        /// Who stays in the in-sync set with it.
        keep: Vec<StoreId>,
    },
    /// The master is dead, and nobody can take its place.
    Stalled(Stalled),
}

/// Why nobody can be promoted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Stalled {
    /// The master was the only copy in sync.
    #[error(
        "the master held the only copy that is in sync: bring it back; if it is gone for good, see `rq promote --help`"
    )]
    OnlyCopy,
    /// Slaves are in sync, and none of them answers or can be trusted.
    #[error("no slave of the in-sync set answers: bring one of them or the master back")]
    NoSlave,
}

/// Decides at `now`.
pub fn decide(observed: &Observed<'_>, now: u64) -> Decision {
    match death(observed) {
        Death::Certain => promote(observed),
        Death::At(time) if time <= now => promote(observed),
        Death::At(time) => Decision::Wait(Some(time)),
        Death::No => Decision::Wait(None),
    }
}

enum Death {
    Certain,
    /// It is taken for dead at this time if nothing is heard until then.
    At(u64),
    No,
}

fn death(observed: &Observed<'_>) -> Death {
    let MasterSeen { dead, silent_since, refused_since } = observed.master;
    if dead {
        return Death::Certain;
    }
    let after = |since: Option<u64>, millis| since.map(|since| since + millis);
    let time = match observed.observer {
        Observer::Slave(_) => {
            let refused = after(refused_since, SLAVE_REFUSED_MS);
            [refused, after(silent_since, SLAVE_SILENCE_MS)].into_iter().flatten().min()
        }
        Observer::Supervisor { detect_timeout_ms } => {
            // Its own view is not enough: perhaps only its way to the master is cut. A slave that nobody can promote
            // confirms it where no other one could, so that people are told.
            let (config, in_sync) = (observed.config, |store| is_slave_in_sync(observed.config, store));
            let alone = !config.in_sync.keys().any(in_sync);
            let asked = observed.slaves.iter().filter(|(store, _)| alone || in_sync(store));
            let slave = asked.filter_map(|(_, slave)| slave.master_silent_since).min();
            let (own, slave) = (after(silent_since, detect_timeout_ms), after(slave, detect_timeout_ms));
            own.zip(slave).map(|(own, slave)| own.max(slave))
        }
    };
    time.map_or(Death::No, Death::At)
}

fn is_slave_in_sync(config: &Config, store: &StoreId) -> bool {
    *store != config.master && config.in_sync.contains_key(store)
}

fn promote(observed: &Observed<'_>) -> Decision {
    let config = observed.config;
    let is_slave = |store: &StoreId| is_slave_in_sync(config, store);
    if !config.in_sync.keys().any(is_slave) {
        return Decision::Stalled(Stalled::OnlyCopy);
    }
    let able = |(store, slave): &(&StoreId, &SlaveSeen)| {
        let itself = match observed.observer {
            Observer::Supervisor { .. } => true,
            Observer::Slave(itself) => itself == **store,
        };
        itself && is_slave(store) && !slave.suspect && config.may_lead(**store, slave.session)
    };
    // Each of them has all that was acknowledged; the longest log spares most of what was not.
    let longest =
        |(store, slave): &(&StoreId, &SlaveSeen)| (slave.epoch, slave.durable, std::cmp::Reverse(**store));
    let Some((to, slave)) = observed.slaves.iter().filter(able).max_by_key(longest) else {
        return Decision::Stalled(Stalled::NoSlave);
    };
    // Who does not answer would hold up every commit. A slave does not know who else is there: it finds
    // out as master.
    let stays = |store: &&StoreId| match observed.observer {
        Observer::Supervisor { .. } => observed.slaves.contains_key(store),
        Observer::Slave(_) => true,
    };
    let keep = config.in_sync.keys().filter(|store| is_slave(store)).filter(stays).copied().collect();
    Decision::Promote { to: *to, session: slave.session, keep }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Change, FlushMode, Member};

    const A: StoreId = StoreId(1);
    const B: StoreId = StoreId(2);
    const C: StoreId = StoreId(3);
    const S: Session = Session(1);
    const SUPERVISOR: Observer = Observer::Supervisor { detect_timeout_ms: DETECT_TIMEOUT_MS };

    fn config(slaves: &[StoreId]) -> Config {
        let members = [A, B, C].map(|store| (store, Member::default())).into();
        let expand = |config: Config, store: &StoreId| {
            config::next(&config, &Change::Expand { by: (A, Epoch(1)), add: *store, session: S }).unwrap()
        };
        slaves.iter().fold(Config::form(A, S, members, 1), expand)
    }

    fn slave(durable: u64) -> SlaveSeen {
        SlaveSeen {
            session: S,
            epoch: Epoch(1),
            durable: Lsn(durable),
            master_silent_since: None,
            suspect: false,
        }
    }

    fn observed<'a>(config: &'a Config, observer: Observer, slaves: &[(StoreId, SlaveSeen)]) -> Observed<'a> {
        Observed { observer, config, master: MasterSeen::default(), slaves: slaves.iter().copied().collect() }
    }

    fn promoted(decision: &Decision) -> Option<StoreId> {
        match decision {
            Decision::Promote { to, .. } => Some(*to),
            _ => None,
        }
    }

    #[test]
    fn a_master_that_answers_is_left_alone() {
        let config = config(&[B]);
        let mut seen = observed(&config, SUPERVISOR, &[(B, slave(5))]);
        assert_eq!(decide(&seen, 99_999), Decision::Wait(None));
        seen.slaves.get_mut(&B).unwrap().master_silent_since = Some(0);
        assert_eq!(decide(&seen, 99_999), Decision::Wait(None), "only the link between the two is cut");
    }

    #[test]
    fn a_dead_master_is_replaced_at_once_by_the_longest_log() {
        let config = config(&[B, C]);
        let mut seen = observed(&config, SUPERVISOR, &[(B, slave(5)), (C, slave(7))]);
        seen.master.dead = true;
        assert_eq!(decide(&seen, 0), Decision::Promote { to: C, session: S, keep: vec![B, C] });
        seen.slaves.remove(&C);
        assert_eq!(decide(&seen, 0), Decision::Promote { to: B, session: S, keep: vec![B] });
    }

    #[test]
    fn a_silent_master_is_replaced_when_the_slave_hears_nothing_either() {
        let config = config(&[B]);
        let mut seen = observed(&config, SUPERVISOR, &[(B, slave(5))]);
        seen.master.silent_since = Some(1_000);
        assert_eq!(decide(&seen, 99_999), Decision::Wait(None), "only the supervisor's way to it is cut");
        seen.slaves.get_mut(&B).unwrap().master_silent_since = Some(1_400);
        assert_eq!(decide(&seen, 3_399), Decision::Wait(Some(3_400)));
        assert_eq!(promoted(&decide(&seen, 3_400)), Some(B));
    }

    #[test]
    fn of_a_silent_master_with_the_only_copy_in_sync_people_are_told() {
        let config = config(&[]);
        let mut seen = observed(&config, SUPERVISOR, &[(B, slave(5))]);
        seen.master.silent_since = Some(1_000);
        assert_eq!(decide(&seen, 99_999), Decision::Wait(None), "the slave hears it");
        seen.slaves.get_mut(&B).unwrap().master_silent_since = Some(1_000);
        assert_eq!(decide(&seen, 2_999), Decision::Wait(Some(3_000)));
        assert_eq!(decide(&seen, 3_000), Decision::Stalled(Stalled::OnlyCopy));
    }

    #[test]
    fn a_slave_waits_longer_than_others_unless_nobody_listens_there() {
        let config = config(&[B, C]);
        let mut seen = observed(&config, Observer::Slave(B), &[(B, slave(5)), (C, slave(9))]);
        seen.master.silent_since = Some(1_000);
        assert_eq!(decide(&seen, 4_499), Decision::Wait(Some(4_500)));
        assert_eq!(
            decide(&seen, 4_500),
            Decision::Promote { to: B, session: S, keep: vec![B, C] },
            "itself only"
        );
        seen.master.refused_since = Some(1_200);
        assert_eq!(decide(&seen, 1_699), Decision::Wait(Some(1_700)));
        assert_eq!(promoted(&decide(&seen, 1_700)), Some(B));
    }

    #[test]
    fn nobody_outside_the_set_is_promoted_nor_a_copy_that_is_suspect_or_in_another_session() {
        let alone = config(&[]);
        let mut seen = observed(&alone, SUPERVISOR, &[(B, slave(5))]);
        seen.master.dead = true;
        assert_eq!(decide(&seen, 0), Decision::Stalled(Stalled::OnlyCopy));

        let mut both = config(&[B]);
        let suspect = SlaveSeen { suspect: true, ..slave(5) };
        let mut seen = observed(&both, SUPERVISOR, &[(B, suspect), (C, slave(9))]);
        seen.master.dead = true;
        assert_eq!(decide(&seen, 0), Decision::Stalled(Stalled::NoSlave));

        both.flush_mode = FlushMode::Async;
        let rebooted = SlaveSeen { session: Session(2), ..slave(5) };
        let mut seen = observed(&both, SUPERVISOR, &[(B, rebooted)]);
        seen.master.dead = true;
        assert_eq!(decide(&seen, 0), Decision::Stalled(Stalled::NoSlave));
    }
}
