//! When a queue needs a certificate: when it has none, and when two thirds of its time are over, so that a third is left in
//! which the operator may be away.

use std::time::Duration;

use super::Action;
use super::view::View;

/// Makes the first one, or the next.
pub(super) fn issue(view: &View<'_>) -> Option<Action> {
    until_renewal(view).is_none_or(|left| left.is_zero()).then_some(Action::IssueCertificate)
}

/// How long the certificate there is will do; none where there is none.
pub(super) fn until_renewal(view: &View<'_>) -> Option<Duration> {
    let certificate = view.observed.certificate.as_ref()?;
    let from = certificate.not_before.0.as_second();
    let to = certificate.not_after.0.as_second();
    let renewal = from + to.saturating_sub(from).max(0) / 3 * 2;
    let left = renewal.saturating_sub(view.observed.now.0.as_second());
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}
