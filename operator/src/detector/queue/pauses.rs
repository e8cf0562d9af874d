//! Pauses after calls to the API server that did not do what they were to do.

use rq_core::config::Change;

use super::super::decide::Verdict;

/// The first one, in ms.
const AGAIN_MS: u64 = 200;
/// It doubles so often at most.
const DOUBLED_MAX: u32 = 4;

/// When to call again. A promotion waits only where a promotion failed, and never long: what else is refused, again and
/// again, must not hold it up.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Calls that failed in a row.
    failed: u32,
    /// Not before this, in ms.
    until: u64,
    /// The same for promotions.
    promotion_until: u64,
}

impl Pauses {
    /// Until when this waits, in ms.
    pub(super) const fn until(&self, verdict: &Verdict) -> u64 {
        if promotes(verdict) { self.promotion_until } else { self.until }
    }

    /// A call for this failed at `now`; until when its next one waits, in ms.
    pub(super) fn failed(&mut self, verdict: &Verdict, now: u64) -> u64 {
        if promotes(verdict) {
            self.promotion_until = now + AGAIN_MS;
        } else {
            self.until = now + (AGAIN_MS << self.failed.min(DOUBLED_MAX));
            self.failed = self.failed.saturating_add(1);
        }
        self.until(verdict)
    }

    /// All went well.
    pub(super) fn done(&mut self) {
        self.failed = 0;
    }
}

const fn promotes(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Change(Change::Promote { .. }))
}

#[cfg(test)]
mod tests {
    use rq_core::ids::{Session, StoreId};

    use super::*;

    fn promotion() -> Verdict {
        let to = StoreId(0xB);
        Verdict::Change(Change::Promote { to, session: Session(1), keep: vec![to] })
    }

    #[test]
    fn a_promotion_does_not_wait_for_a_change_that_is_refused_again_and_again() {
        let (mut pauses, other) = (Pauses::default(), Verdict::Change(Change::SetMinInSync(1)));
        let waits: Vec<u64> = (0..6).map(|_| pauses.failed(&other, 1_000) - 1_000).collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 3_200]);
        assert_eq!(pauses.until(&promotion()), 0);
        pauses.done();
        assert_eq!(pauses.failed(&other, 9_000), 9_200);
    }

    #[test]
    fn a_promotion_that_fails_is_tried_again_soon() {
        let mut pauses = Pauses::default();
        for now in [1_000, 2_000, 3_000, 4_000] {
            assert_eq!(pauses.failed(&promotion(), now), now + 200);
        }
        assert_eq!(pauses.until(&Verdict::Rest(None)), 0);
    }
}
