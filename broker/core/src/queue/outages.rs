//! When nobody could consume because no broker served the shard. Time that is counted against a group or a message
//! must leave it out: a broker that was down for a week must not find every group inactive.

use crate::ids::LogTime;

/// A stretch of log time without a record, which the beginning of an epoch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outage {
    /// Log time of the newest record before.
    pub(crate) from: LogTime,
    /// Log time of the epoch's first record.
    pub(crate) to: LogTime,
}

/// The outages so far, oldest first. A broker that nobody used before it stopped was out since its last record: that
/// leaves out too much rather than too little.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outages(pub(crate) Vec<Outage>);

/// Most outages that are told apart.
pub(crate) const OUTAGES_MAX: usize = 64;

impl Outages {
    /// An epoch begins.
    pub(crate) fn add(&mut self, from: LogTime, to: LogTime) {
        // Before its first record a log owes nobody anything.
        if from == LogTime(0) || to <= from {
            return;
        }
        self.0.push(Outage { from, to });
        if self.0.len() > OUTAGES_MAX {
            self.merge();
        }
    }

    /// Makes one of the two with the least time of service between them, which then counts as out, too.
    fn merge(&mut self) {
        let service = |at: &usize| match self.0.get(*at..*at + 2) {
            Some([before, after]) => after.from.since(before.to),
            _ => u64::MAX,
        };
        let Some(at) = (0..self.0.len()).min_by_key(service) else { return };
        let Some(to) = self.0.get(at + 1).map(|after| after.to) else { return };
        self.0.remove(at + 1);
        if let Some(merged) = self.0.get_mut(at) {
            merged.to = to;
        }
    }

    /// For how long the shard was served from one log time to a later one, in milliseconds.
    pub(crate) fn served(&self, since: LogTime, now: LogTime) -> u64 {
        let later = self.0.iter().rev().take_while(|outage| outage.to > since);
        let out: u64 = later.map(|outage| outage.to.min(now).since(outage.from.max(since))).sum();
        now.since(since).saturating_sub(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outages(times: impl IntoIterator<Item = (u64, u64)>) -> Outages {
        let mut outages = Outages::default();
        for (from, to) in times {
            outages.add(LogTime(from), LogTime(to));
        }
        outages
    }

    #[test]
    fn the_time_served_leaves_out_every_outage_since() {
        let outages = outages([(0, 50), (100, 200), (200, 200), (300, 350)]);
        let served = |since| outages.served(LogTime(since), LogTime(400));
        assert_eq!([50, 100, 150, 200, 300, 350, 400].map(served), [200, 150, 150, 150, 50, 50, 0]);
    }

    #[test]
    fn beyond_the_bound_the_shortest_service_counts_as_out_and_nothing_else() {
        let most = OUTAGES_MAX as u64;
        // Between outages 4 and 5 the broker lived for 1 ms, between all others for 10.
        let begin = |number: u64| number * 100 - if number > 4 { 9 } else { 0 };
        let times = (1..=most + 1).map(|number| (begin(number), begin(number) + 90));
        let outages = outages(times);
        assert_eq!(outages.0.len(), OUTAGES_MAX);
        let merged = Outage { from: LogTime(400), to: LogTime(581) };
        assert_eq!(outages.0.get(3), Some(&merged));
        let served = outages.served(LogTime(begin(1)), LogTime(begin(most + 1) + 90));
        assert_eq!(served, (most - 1) * 10);
    }
}
