//! What the detector does about a shard. Pure: [`rq_overseer`] with the rules of the queue's spec.

use rq_core::config::{self, Change, Config, Illegal};
use rq_core::failover::{DETECT_TIMEOUT_MS, Decision};
use rq_operator_core::queue::ReliableQueue;
use rq_operator_core::queue::spec::FailoverMode;
use rq_overseer::{self as overseer, First, Trouble};

use super::newest::Newest;
use super::replicas::Replicas;

/// The configuration, as far as it is known.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum ShardRead {
    /// It has not been read yet.
    Unread,
    /// There is none.
    Missing,
    /// It was never formed.
    Unformed,
    /// This one.
    Formed(Config),
}

/// What the user wants of the detector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rules {
    /// With fewer copies in sync, producers are refused.
    min_in_sync: u8,
    /// Only humans promote.
    manual: bool,
    detect_timeout_ms: u64,
}

/// What to do.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Verdict {
    /// Nothing; look again then at the latest, in ms.
    Rest(Option<u64>),
    /// Write the first configuration.
    Form(Config),
    /// Write a change of it.
    Change(Change),
    /// Something is wrong that only others can mend.
    Trouble(Trouble),
}

impl ShardRead {
    /// It, if it is known and formed.
    pub(super) const fn config(&self) -> Option<&Config> {
        match self {
            Self::Formed(config) => Some(config),
            Self::Unread | Self::Missing | Self::Unformed => None,
        }
    }
}

impl Verdict {
    /// The configuration to be written over this one; none if nothing is to be.
    pub(super) fn config(&self, shard: &ShardRead) -> Result<Option<Config>, Illegal> {
        match (self, shard.config()) {
            (Self::Form(config), _) => Ok(Some(config.clone())),
            (Self::Change(change), Some(config)) => config::next(config, change).map(Some),
            (Self::Change(_) | Self::Rest(_) | Self::Trouble(_), _) => Ok(None),
        }
    }
}

impl Rules {
    /// Of the spec. What its schema has let through can be read.
    pub(super) fn of(queue: &ReliableQueue) -> Self {
        let spec = &queue.spec;
        let timeout = spec.failover.detect_timeout.duration();
        Self {
            min_in_sync: u8::try_from(spec.min_in_sync()).unwrap_or(1),
            manual: spec.failover.mode == FailoverMode::Manual,
            detect_timeout_ms: timeout.map_or(DETECT_TIMEOUT_MS, |timeout| timeout.as_millis() as u64),
        }
    }
}

/// Decides at `now`. A configuration that is older than the `newest` that was ever known is not acted on.
pub(super) fn decide(
    shard: &ShardRead,
    replicas: &Replicas,
    newest: &Newest,
    rules: Rules,
    now: u64,
) -> Verdict {
    match shard {
        ShardRead::Unread => Verdict::Rest(None),
        // Not found is not empty: the reconciler makes the object, or puts it back as the brokers have kept it.
        ShardRead::Missing => match overseer::first(replicas.seen(), rules.min_in_sync) {
            Ok(_) => Verdict::Rest(None),
            Err(trouble) => Verdict::Trouble(trouble),
        },
        ShardRead::Unformed => match overseer::first(replicas.expected(), rules.min_in_sync) {
            Ok(First::Wait) => Verdict::Rest(None),
            Ok(First::Form(config)) => Verdict::Form(config),
            Err(trouble) => Verdict::Trouble(trouble),
        },
        ShardRead::Formed(config) => {
            let known = overseer::is_newest(config, replicas.seen()).and_then(|()| newest.allows(config));
            known.map_or_else(Verdict::Trouble, |()| of_formed(config, replicas, rules, now))
        }
    }
}

/// A new master before all else.
fn of_formed(config: &Config, replicas: &Replicas, rules: Rules, now: u64) -> Verdict {
    let promotion = overseer::promotion(config, replicas.seen(), rules.detect_timeout_ms, now);
    if let Decision::Promote { to, session, keep } = &promotion
        && !rules.manual
    {
        return Verdict::Change(Change::Promote { to: *to, session: *session, keep: keep.clone() });
    }
    // Who is not asked for is being taken away.
    if let Some(change) = overseer::membership(config, replicas.expected()) {
        return Verdict::Change(change);
    }
    match promotion {
        Decision::Stalled(stalled) => Verdict::Trouble(Trouble::Stalled(stalled)),
        Decision::Wait(until) => Verdict::Rest(until),
        Decision::Promote { .. } => Verdict::Rest(None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use rq_core::failover::Stalled;
    use rq_core::ids::{Epoch, Session, StoreId};
    use rq_proto::reliablequeue as pb;

    use super::super::pods::PodSeen;
    use super::super::prober::{Answer, Answered};
    use super::*;
    use crate::key::QueueKey;

    const A: StoreId = StoreId(0xA);
    const B: StoreId = StoreId(0xB);
    const RULES: Rules = Rules { min_in_sync: 1, manual: false, detect_timeout_ms: 2_000 };

    fn pods(names: &[&str]) -> BTreeMap<String, PodSeen> {
        let pod = |name: &&str| {
            let seen = PodSeen {
                uid: format!("uid of {name}"),
                container: Some("c".to_owned()),
                address: Some(format!("{name}:8083")),
                ..PodSeen::default()
            };
            ((*name).to_owned(), seen)
        };
        names.iter().map(pod).collect()
    }

    fn take(replicas: &mut Replicas, count: i32, names: &[&str]) {
        let key = QueueKey { namespace: "shop".to_owned(), name: "q".to_owned() };
        replicas.take(&key, count, &BTreeSet::new(), &pods(names), 0);
    }

    fn answer(replicas: &mut Replicas, name: &str, status: pb::ReplicaStatus) {
        let (name, process) = (name.to_owned(), replicas.processes()[name].clone());
        let answer = Answer::Said(Box::new(status));
        replicas.answered(&Answered { name, process, asked: 0, answer }, 0);
    }

    fn status(store: StoreId) -> pb::ReplicaStatus {
        pb::ReplicaStatus { store_id: store.to_string(), session: 7, ..pb::ReplicaStatus::default() }
    }

    fn used(store: StoreId, epoch: u32) -> pb::ReplicaStatus {
        pb::ReplicaStatus {
            promised: epoch,
            epoch,
            config_version: 1,
            end_lsn: 10,
            durable_lsn: 10,
            ..status(store)
        }
    }

    fn decide(shard: &ShardRead, replicas: &Replicas, rules: Rules, now: u64) -> Verdict {
        super::decide(shard, replicas, &Newest::default(), rules, now)
    }

    fn new_pair() -> Replicas {
        let mut replicas = Replicas::default();
        take(&mut replicas, 2, &["q-0", "q-1"]);
        answer(&mut replicas, "q-0", status(A));
        answer(&mut replicas, "q-1", status(B));
        replicas
    }

    /// Both in sync, q-0 is master.
    fn pair() -> (Config, Replicas) {
        let mut replicas = new_pair();
        let Verdict::Form(formed) = decide(&ShardRead::Unformed, &replicas, RULES, 0) else {
            panic!("not formed")
        };
        let by = (A, Epoch(1));
        let config = config::next(&formed, &Change::Expand { by, add: B, session: Session(7) }).unwrap();
        answer(&mut replicas, "q-0", used(A, 1));
        answer(&mut replicas, "q-1", used(B, 1));
        (config, replicas)
    }

    #[test]
    fn a_shard_is_formed_by_the_replicas_that_are_asked_for_and_only_where_its_object_is() {
        let mut replicas = new_pair();
        assert!(
            matches!(decide(&ShardRead::Unformed, &replicas, RULES, 0), Verdict::Form(config) if config.master == A)
        );
        for shard in [ShardRead::Unread, ShardRead::Missing] {
            assert_eq!(decide(&shard, &replicas, RULES, 0), Verdict::Rest(None), "{shard:?}");
        }
        take(&mut replicas, 3, &["q-0", "q-1", "q-2"]);
        assert_eq!(
            decide(&ShardRead::Unformed, &replicas, RULES, 0),
            Verdict::Rest(None),
            "q-2 has not answered"
        );
    }

    #[test]
    fn a_configuration_that_is_gone_is_never_made_afresh() {
        let (config, replicas) = pair();
        for shard in [ShardRead::Unformed, ShardRead::Missing] {
            let verdict = decide(&shard, &replicas, RULES, 0);
            assert!(matches!(verdict, Verdict::Trouble(Trouble::ConfigLost(_))), "{verdict:?}");
        }
        let mut newer = replicas;
        answer(&mut newer, "q-1", used(B, 5));
        let verdict = decide(&ShardRead::Formed(config), &newer, RULES, 0);
        assert!(matches!(verdict, Verdict::Trouble(Trouble::ConfigOld { .. })), "{verdict:?}");
    }

    #[test]
    fn a_master_whose_pod_is_gone_is_replaced_unless_only_humans_promote() {
        let (config, mut replicas) = pair();
        let shard = ShardRead::Formed(config);
        assert_eq!(decide(&shard, &replicas, RULES, 9), Verdict::Rest(None));
        take(&mut replicas, 2, &["q-1"]);
        let verdict = decide(&shard, &replicas, RULES, 9);
        assert!(matches!(verdict, Verdict::Change(Change::Promote { to: B, .. })), "{verdict:?}");
        let manual = Rules { manual: true, ..RULES };
        assert_eq!(decide(&shard, &replicas, manual, 9), Verdict::Rest(None));
        take(&mut replicas, 2, &[]);
        let stalled = Verdict::Trouble(Trouble::Stalled(Stalled::NoSlave));
        assert_eq!(decide(&shard, &replicas, RULES, 9), stalled);
    }

    #[test]
    fn nobody_is_promoted_by_a_configuration_that_went_back() {
        let (config, mut replicas) = pair();
        take(&mut replicas, 2, &["q-1"]);
        let mut newest = Newest::default();
        let by = (A, Epoch(1));
        newest.learn(&config::next(&config, &Change::Shrink { by, remove: B }).unwrap());
        let verdict = super::decide(&ShardRead::Formed(config), &replicas, &newest, RULES, 9);
        assert!(matches!(verdict, Verdict::Trouble(Trouble::ConfigBehind { .. })), "{verdict:?}");
    }

    #[test]
    fn a_replica_that_is_taken_away_is_not_registered_again() {
        let (config, mut replicas) = pair();
        let without = config::next(&config, &Change::Remove { store: B }).unwrap();
        let verdict = decide(&ShardRead::Formed(without.clone()), &replicas, RULES, 9);
        assert!(matches!(verdict, Verdict::Change(Change::Register { store: B, .. })), "{verdict:?}");
        take(&mut replicas, 1, &["q-0", "q-1"]);
        assert_eq!(decide(&ShardRead::Formed(without), &replicas, RULES, 9), Verdict::Rest(None));
    }
}
