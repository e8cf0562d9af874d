//! When a queue needs a certificate: when it has none, and when two thirds of its time are over, so that a third is left in
//! which the operator may be away. Its authority is replaced by itself only when it has ended, which people are told before.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::Action;
use super::view::View;
use crate::observed::CertificateSeen;

/// An authority that ends within so long is told of: people choose the time at which the next one takes its place.
const AUTHORITY_NOTICE: Duration = Duration::from_hours(180 * 24);

/// Makes the first one, or the next.
pub(super) fn issue(view: &View<'_>) -> Option<Action> {
    until_renewal(view).is_none_or(|left| left.is_zero()).then_some(Action::IssueCertificate)
}

/// How long the certificate there is will do; none where there is none.
pub(super) fn until_renewal(view: &View<'_>) -> Option<Duration> {
    let certificate = view.observed.certificate.as_ref()?;
    let from = certificate.not_before.0.as_second();
    let to = certificate.not_after.0.as_second();
    // Before its authority ends, a certificate that ends with it could only be followed by one that does so too.
    let renewal = if certificate.not_after.0 < certificate.authority_ends.0 {
        from + to.saturating_sub(from).max(0) / 3 * 2
    } else {
        to
    };
    let left = renewal.saturating_sub(view.observed.now.0.as_second());
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}

/// When the authority ends, if that is soon.
pub(super) fn ending_authority(certificate: &CertificateSeen, now: &Time) -> Option<Timestamp> {
    let left = certificate.authority_ends.0.as_second().saturating_sub(now.0.as_second());
    (left < AUTHORITY_NOTICE.as_secs().cast_signed()).then_some(certificate.authority_ends.0)
}
