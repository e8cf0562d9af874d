//! Whether brokers and operator will go on to know each other.

use crate::children::{authority_secret, certificate_secret};
use crate::conditions::ConditionType::CertificateHealthy;
use crate::conditions::{Finding, Reason};
use crate::plan::certificate::ending_authority;

use super::shown::Shown;
use super::{fails, holds, unknown};

pub(super) fn healthy(shown: &Shown<'_>) -> Finding {
    let queue = &shown.observed.queue;
    let Some(certificate) = &shown.observed.certificate else {
        return unknown(CertificateHealthy, Reason::Forming, "no certificate has been made yet".to_owned());
    };
    let Some(end) = ending_authority(certificate, &shown.observed.now) else {
        return holds(CertificateHealthy, "the certificate is renewed by itself".to_owned());
    };
    let message = format!(
        "the authority of the queue's certificates ends on {}, and with it every link between its brokers: before that, when nothing else is under way, delete the Secrets {} and {}, and the operator makes new ones",
        end.strftime("%Y-%m-%d"),
        authority_secret(queue),
        certificate_secret(queue),
    );
    fails(CertificateHealthy, Reason::AuthorityEnds, message)
}
