//! How a failover went: told of every change of the epoch, whoever made it. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use rq_core::config::Config;
use rq_core::ids::StoreId;
use rq_operator_core::queue::status::{FailoverCause, LastFailover};

use super::replicas::{Loss, Replicas};

/// What people call a store.
pub(super) fn called(config: &Config, store: StoreId) -> String {
    config.members.get(&store).map_or_else(|| store.to_string(), |member| member.name.clone())
}

/// Why the master of `before` is not that of its epoch any more.
pub(super) fn cause(before: &Config, after: &Config, loss: Option<Loss>) -> FailoverCause {
    if after.unclean == Some(after.epoch) {
        FailoverCause::DataLossAccepted
    } else if before.master != after.master && after.in_sync.contains_key(&before.master) {
        // Whoever takes over from a dead master puts it out of the set.
        FailoverCause::HandedOver
    } else {
        loss.map_or(FailoverCause::Silent, |loss| loss.cause)
    }
}

/// The failover between two versions of the configuration; none if the epoch is the same. `time` tells the time of day.
pub(super) fn between(
    before: &Config,
    after: &Config,
    replicas: &Replicas,
    now: u64,
    time: impl Fn(u64) -> MicroTime,
) -> Option<LastFailover> {
    if before.epoch == after.epoch {
        return None;
    }
    let from = called(before, before.master);
    let loss = replicas.loss(&from);
    let cause = cause(before, after, loss);
    let silent = replicas.named(&from).and_then(|seen| seen.silent_since);
    let dead_at = match cause {
        FailoverCause::HandedOver => None,
        FailoverCause::Silent => silent,
        _ => loss.map(|loss| loss.at).or(silent),
    };
    Some(LastFailover {
        epoch: after.epoch.0.into(),
        from: Some(from),
        to: called(after, after.master),
        cause: Some(cause),
        dead_at: dead_at.map(&time),
        decided_at: Some(time(now)),
        served_at: None,
    })
}

/// Whether the new master of a failover takes messages.
pub(super) fn serves(failover: &LastFailover, config: &Config, replicas: &Replicas) -> bool {
    let told = replicas.named(&failover.to).and_then(|seen| seen.answer());
    told.is_some_and(|told| {
        told.serves && told.store == config.master && i64::from(told.epoch.0) >= failover.epoch
    })
}

/// Seconds from one time to another; none if one of them is unknown.
pub(super) fn seconds(from: Option<&MicroTime>, to: Option<&MicroTime>) -> Option<f64> {
    let (from, to) = (from?, to?);
    Some(to.0.duration_since(from.0).as_secs_f64().max(0.0))
}

#[cfg(test)]
mod tests {
    use rq_core::config::{self, Change, Member};
    use rq_core::ids::{Epoch, Session};

    use super::*;

    const A: StoreId = StoreId(0xA);
    const B: StoreId = StoreId(0xB);
    const S: Session = Session(1);

    /// q-0 is master, q-1 in sync.
    fn pair() -> Config {
        let member = |name: &str| Member { name: name.to_owned(), address: String::new() };
        let config = Config::form(A, S, [(A, member("q-0")), (B, member("q-1"))].into(), 1);
        config::next(&config, &Change::Expand { by: (A, Epoch(1)), add: B, session: S }).unwrap()
    }

    fn promoted(keep: &[StoreId]) -> Config {
        config::next(&pair(), &Change::Promote { to: B, session: S, keep: keep.to_vec() }).unwrap()
    }

    fn time(ms: u64) -> MicroTime {
        MicroTime(jiff::Timestamp::from_millisecond(ms.cast_signed()).unwrap())
    }

    #[test]
    fn a_master_that_stays_in_the_set_has_handed_over() {
        let loss = Some(Loss { cause: FailoverCause::PodDeleted, at: 1 });
        assert_eq!(cause(&pair(), &promoted(&[A, B]), loss), FailoverCause::HandedOver);
        assert_eq!(cause(&pair(), &promoted(&[B]), loss), FailoverCause::PodDeleted);
        assert_eq!(cause(&pair(), &promoted(&[B]), None), FailoverCause::Silent);
        let unclean = Config { unclean: Some(Epoch(2)), ..promoted(&[B]) };
        assert_eq!(cause(&pair(), &unclean, loss), FailoverCause::DataLossAccepted);
    }

    #[test]
    fn a_failover_is_told_with_its_times_as_far_as_they_are_known() {
        let replicas = Replicas::default();
        assert_eq!(between(&pair(), &pair(), &replicas, 5, time), None);
        let failover = between(&pair(), &promoted(&[B]), &replicas, 5, time).unwrap();
        assert_eq!((failover.from.as_deref(), failover.to.as_str(), failover.epoch), (Some("q-0"), "q-1", 2));
        assert_eq!((failover.dead_at, failover.decided_at.clone()), (None, Some(time(5))));
        assert_eq!(seconds(failover.decided_at.as_ref(), Some(&time(1_505))), Some(1.5));
        assert!(seconds(None, Some(&time(1))).is_none());
    }
}
