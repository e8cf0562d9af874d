//! What the watch over a queue tells people: of failovers, whoever made them, and of copies that are missing.

use rq_core::config::Config;
use rq_operator_core::plan::Note;
use rq_operator_core::queue::status::LastFailover;

use super::super::decide::ShardRead;
use super::super::{failover, news};
use super::QueueWatch;
use crate::metrics::Phase;

impl QueueWatch {
    /// Tells what has changed since the configuration before.
    pub(super) fn tell_of_changes(&mut self, before: &ShardRead, ours: bool) {
        let Some(config) = self.shard.config().cloned() else { return };
        let in_sync = self.detector.metrics.in_sync.get_or_create_owned(&(&self.key).into());
        in_sync.set(config.in_sync.len().try_into().unwrap_or_default());
        let Some(before) = before.config() else {
            // Who had not started before there was a configuration was not lost.
            let names = config.members.values().map(|member| member.name.as_str());
            self.replicas.forget_losses(&names.collect::<Vec<_>>());
            return;
        };
        let (clock, now) = (self.detector.clock, self.detector.clock.now());
        let failover = failover::between(before, &config, &self.replicas, now, |ms| clock.time_of_day(ms));
        if let Some(failover) = failover {
            self.tell_of_a_failover(before, &config, &failover, ours);
            let names = [failover::called(before, before.master), failover.to.clone()];
            self.replicas.forget_losses(&[&names[0], &names[1]]);
            self.failover = Some(failover);
        }
        let asked = usize::try_from(self.shown.queue.spec.replicas).unwrap_or(1);
        let copies = |config: &Config| config.in_sync.len();
        if copies(&config) == 1 && copies(before) > 1 && asked > 1 {
            self.tell_as_leader(news::single_copy(&config));
        } else if copies(&config) >= asked && copies(before) < asked {
            self.tell_as_leader(news::fully_replicated(&config));
        }
    }

    pub(super) fn tell_of_a_failover(
        &self,
        before: &Config,
        config: &Config,
        failover: &LastFailover,
        ours: bool,
    ) {
        let by = if ours { "this replica of the operator" } else { "another" };
        tracing::info!(queue = %self.key, epoch = failover.epoch, to = failover.to, by, "another mastership");
        let (queue, teller) = (&self.shown.queue, &self.detector.teller);
        let lost = failover.from.as_deref().zip(failover.cause);
        if let Some(lost) = lost.and_then(|(from, cause)| news::lost(from, cause)) {
            teller.tell_once(queue, before.epoch.0.into(), lost);
        }
        teller.tell_once(queue, failover.epoch, news::promoted(failover, config));
        let decided = failover::seconds(failover.dead_at.as_ref(), failover.decided_at.as_ref());
        if let Some(seconds) = decided {
            self.detector.metrics.failover(Phase::Decide, seconds);
        }
    }

    /// The end of the master is told as soon as it is seen, also where nobody can take its place.
    pub(super) fn tell_of_a_loss(&mut self) {
        let Some(config) = self.shard.config() else { return };
        let master = failover::called(config, config.master);
        let gone = self.replicas.named(&master).is_some_and(|seen| !seen.running);
        let new = self.told_lost != Some(config.epoch);
        let Some(loss) = self.replicas.loss(&master).filter(|_| gone && new) else { return };
        if let Some(lost) = news::lost(&master, loss.cause) {
            self.detector.teller.tell_once(&self.shown.queue, config.epoch.0.into(), lost);
        }
        self.told_lost = Some(config.epoch);
    }

    pub(super) fn see_whether_it_serves(&mut self) {
        let (Some(failover), Some(config)) = (&mut self.failover, self.shard.config()) else { return };
        if failover.served_at.is_some() || !failover::serves(failover, config, &self.replicas) {
            return;
        }
        failover.served_at = Some(self.detector.clock.time_of_day(self.detector.clock.now()));
        self.detector.teller.tell_once(&self.shown.queue, failover.epoch, news::serving(failover));
        let served = failover::seconds(failover.decided_at.as_ref(), failover.served_at.as_ref());
        if let Some(seconds) = served {
            self.detector.metrics.failover(Phase::Serve, seconds);
        }
    }

    /// Tells what all replicas of the operator see alike.
    pub(super) fn tell_as_leader(&self, note: Note) {
        if *self.detector.is_leader.borrow() {
            self.detector.teller.tell(&self.shown.queue, note);
        } else {
            tracing::info!(queue = %self.key, reason = note.reason, "{}", note.note);
        }
    }
}
