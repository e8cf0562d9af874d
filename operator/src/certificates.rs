//! The certificates with which brokers and operator know each other: one authority a queue, whose key no pod ever has, and
//! one certificate that all of the queue's brokers share.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource as _, ResourceExt as _};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rq_operator_core::children::{
    MANAGED_BY_LABEL, MANAGER, authority_secret, certificate_secret, is_ours, peer_name, selector,
};
use rq_operator_core::observed::CertificateSeen;
use rq_operator_core::queue::ReliableQueue;
use thiserror::Error;
use x509_parser::pem::parse_x509_pem;

use crate::key::QueueKey;

/// Files of both Secrets, as pods mount them.
pub(crate) const AUTHORITY_FILE: &str = "ca.crt";
/// The certificate itself.
pub(crate) const CERTIFICATE_FILE: &str = "tls.crt";
/// Its key.
pub(crate) const KEY_FILE: &str = "tls.key";
/// When the certificate begins and ends to hold: beside it, so that nobody has to take it apart.
const NOT_BEFORE: &str = "reliablequeue.dev/not-before";
const NOT_AFTER: &str = "reliablequeue.dev/not-after";
const DAY: Duration = Duration::from_hours(24);
const AUTHORITY_DAYS: u32 = 3_650;
const CERTIFICATE_DAYS: u32 = 90;
/// Clocks of nodes differ: a certificate holds from so long ago.
const SKEW: Duration = Duration::from_hours(1);

/// A certificate could not be made.
#[derive(Debug, Error)]
pub(crate) enum CertificateError {
    /// Not even a new one.
    #[error("a certificate could not be made: {0}")]
    Made(#[from] rcgen::Error),
    /// A Secret of somebody else has the name.
    #[error("the Secret {0} is not of this queue: rename or delete it, or make the queue by another name")]
    NameTaken(String),
    /// It could not be read or written.
    #[error("the certificates of the queue: {0}")]
    Api(#[from] kube::Error),
}

/// A certificate with its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    certificate: String,
    key: String,
}

/// What is known of the certificate in this Secret; none if it is not one of ours.
pub(crate) fn seen(queue: &ReliableQueue, secret: &Secret) -> Option<CertificateSeen> {
    let secret = Some(secret).filter(|secret| is_ours(queue, *secret))?;
    secret.data.as_ref()?.get(CERTIFICATE_FILE)?;
    let time = |name: &str| secret.annotations().get(name)?.parse::<Timestamp>().ok().map(Time);
    let authority = std::str::from_utf8(&secret.data.as_ref()?.get(AUTHORITY_FILE)?.0).ok()?;
    Some(CertificateSeen {
        not_before: time(NOT_BEFORE)?,
        not_after: time(NOT_AFTER)?,
        authority_ends: Time(end_of(authority)?),
    })
}

/// Makes a new certificate for the brokers of a queue, by its authority, which is made too if there is none that can be used.
/// Nothing is written where a Secret of somebody else has one of the names.
pub(crate) async fn issue(client: Client, queue: &ReliableQueue) -> Result<(), CertificateError> {
    let secrets = Api::<Secret>::namespaced(client, &queue.namespace().unwrap_or_default());
    let now = Timestamp::now();
    let kept = ours(&secrets, queue, &authority_secret(queue)).await?;
    ours(&secrets, queue, &certificate_secret(queue)).await?;
    let holds = |pair: &Pair| issuer(pair).is_ok() && end_of(&pair.certificate).is_some_and(|end| end > now);
    let usable = kept.as_ref().and_then(pair).filter(holds);
    let authority = if let Some(authority) = usable {
        authority
    } else {
        let made = authority(queue, now)?;
        // Written before anything is signed by it: a certificate of an authority that was lost would be worth nothing.
        apply(&secrets, &secret(queue, authority_secret(queue), &made, None, None)).await?;
        made
    };
    let (leaf, until) = leaf(queue, &authority, now)?;
    let holds = Some((now, until));
    apply(&secrets, &secret(queue, certificate_secret(queue), &leaf, Some(&authority), holds)).await
}

/// The Secret of this name, if there is one.
async fn ours(
    secrets: &Api<Secret>,
    queue: &ReliableQueue,
    name: &str,
) -> Result<Option<Secret>, CertificateError> {
    match secrets.get_opt(name).await? {
        Some(secret) if !is_ours(queue, &secret) => Err(CertificateError::NameTaken(name.to_owned())),
        there => Ok(there),
    }
}

async fn apply(secrets: &Api<Secret>, secret: &Secret) -> Result<(), CertificateError> {
    let force = PatchParams::apply(MANAGER).force();
    secrets.patch(&secret.name_any(), &force, &Patch::Apply(secret)).await?;
    Ok(())
}

fn secret(
    queue: &ReliableQueue,
    name: String,
    pair: &Pair,
    authority: Option<&Pair>,
    holds: Option<(Timestamp, Timestamp)>,
) -> Secret {
    let file = |name: &str, text: &String| (name.to_owned(), ByteString(text.clone().into_bytes()));
    let mut data = BTreeMap::from([file(CERTIFICATE_FILE, &pair.certificate), file(KEY_FILE, &pair.key)]);
    data.extend(authority.map(|authority| file(AUTHORITY_FILE, &authority.certificate)));
    let mut labels = selector(queue);
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
    let times = |(from, until): (Timestamp, Timestamp)| {
        BTreeMap::from([(NOT_BEFORE.to_owned(), from.to_string()), (NOT_AFTER.to_owned(), until.to_string())])
    };
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: queue.namespace(),
            labels: Some(labels),
            annotations: holds.map(times),
            owner_references: queue.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

fn pair(secret: &Secret) -> Option<Pair> {
    let file = |name: &str| String::from_utf8(secret.data.as_ref()?.get(name)?.0.clone()).ok();
    Some(Pair { certificate: file(CERTIFICATE_FILE)?, key: file(KEY_FILE)? })
}

fn issuer(authority: &Pair) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
    Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)
}

fn authority(queue: &ReliableQueue, now: Timestamp) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    named(&mut params, &format!("{} authority", QueueKey::from(queue)));
    holding(&mut params, now, after(now, AUTHORITY_DAYS));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// The certificate, and until when it holds: no longer than its authority.
fn leaf(queue: &ReliableQueue, authority: &Pair, now: Timestamp) -> Result<(Pair, Timestamp), rcgen::Error> {
    let mut params = CertificateParams::new(vec![peer_name(queue)])?;
    named(&mut params, &QueueKey::from(queue).to_string());
    let until = after(now, CERTIFICATE_DAYS);
    let until = end_of(&authority.certificate).map_or(until, |end| end.min(until));
    holding(&mut params, now, until);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer(authority)?)?.pem();
    Ok((Pair { certificate, key: key.serialize_pem() }, until))
}

fn named(params: &mut CertificateParams, name: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "ReliableQueue");
    // A common name has 64 characters at most.
    params.distinguished_name.push(DnType::CommonName, name.chars().take(64).collect::<String>());
}

fn after(now: Timestamp, days: u32) -> Timestamp {
    now.checked_add(DAY * days).unwrap_or(Timestamp::MAX)
}

fn holding(params: &mut CertificateParams, now: Timestamp, until: Timestamp) {
    let at = |time: Timestamp| {
        date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(time.as_second()).unwrap_or_default())
    };
    params.not_before = at(now) - SKEW;
    params.not_after = at(until);
}

/// Until when a certificate in PEM holds; none if it cannot be read.
fn end_of(certificate: &str) -> Option<Timestamp> {
    let (_, pem) = parse_x509_pem(certificate.as_bytes()).ok()?;
    Timestamp::from_second(pem.parse_x509().ok()?.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The queue shop/orders.
    pub(crate) fn queue() -> ReliableQueue {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "reliablequeue.dev/v1alpha1", "kind": "ReliableQueue",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "queue-uid"},
            "spec": {"storage": {"size": "1Gi"}},
        }))
        .unwrap()
    }

    /// The Secret with a certificate of that queue.
    pub(crate) fn certificate() -> Secret {
        let now = Timestamp::now();
        let authority = authority(&queue(), now).unwrap();
        let (leaf, until) = leaf(&queue(), &authority, now).unwrap();
        secret(&queue(), certificate_secret(&queue()), &leaf, Some(&authority), Some((now, until)))
    }

    #[test]
    fn an_authority_that_was_read_back_signs_again() {
        let now = Timestamp::now();
        let made = authority(&queue(), now).unwrap();
        let read = pair(&secret(&queue(), authority_secret(&queue()), &made, None, None)).unwrap();
        let (first, until) = leaf(&queue(), &made, now).unwrap();
        let (second, _) = leaf(&queue(), &read, now).unwrap();
        assert_ne!(first.certificate, second.certificate);
        assert_eq!(until.as_second() - now.as_second(), 90 * 24 * 3_600);
        let broken = Pair { key: "none".to_owned(), ..made };
        assert!(issuer(&broken).is_err());
    }

    #[test]
    fn a_certificate_is_seen_with_its_times_or_not_at_all() {
        let of_first = seen(&queue(), &certificate()).unwrap();
        assert_eq!(of_first.not_after.0.as_second() - of_first.not_before.0.as_second(), 90 * 24 * 3_600);
        let mut without_times = certificate();
        without_times.metadata.annotations = None;
        assert_eq!(seen(&queue(), &without_times), None, "none of ours");
        let empty = Secret { data: None, ..certificate() };
        assert_eq!(seen(&queue(), &empty), None);
        assert_eq!(certificate().metadata.owner_references.map(|owners| owners.len()), Some(1));
    }

    #[test]
    fn a_certificate_ends_with_its_authority_at_the_latest() {
        let now = Timestamp::now();
        let authority = authority(&queue(), now).unwrap();
        let end = end_of(&authority.certificate).unwrap();
        assert_eq!(end.as_second() - now.as_second(), 3_650 * 24 * 3_600);
        let (late, until) = leaf(&queue(), &authority, after(now, 3_600)).unwrap();
        assert_eq!((until, end_of(&late.certificate)), (end, Some(end)));
        let holds = Some((now, until));
        let secret = secret(&queue(), certificate_secret(&queue()), &late, Some(&authority), holds);
        assert_eq!(seen(&queue(), &secret).unwrap().authority_ends, Time(end));
    }

    #[tokio::test]
    async fn an_authority_signs_until_it_ends_and_then_another_one() {
        for (days, written) in [(3_649, 1), (3_651, 2)] {
            let made = Timestamp::now().checked_sub(DAY * days).unwrap();
            let server = crate::api_server::ApiServer::default();
            let old = authority(&queue(), made).unwrap();
            server.put(&secret(&queue(), authority_secret(&queue()), &old, None, None));
            issue(server.client(), &queue()).await.unwrap();
            assert_eq!(server.writes().len(), written, "after {days} days");
        }
    }

    #[tokio::test]
    async fn a_secret_of_somebody_else_is_neither_believed_nor_written_over() {
        for name in [authority_secret(&queue()), certificate_secret(&queue())] {
            let server = crate::api_server::ApiServer::default();
            let mut foreign = certificate();
            foreign.metadata.name = Some(name.clone());
            foreign.metadata.labels = None;
            foreign.metadata.owner_references = None;
            assert_eq!(seen(&queue(), &foreign), None);
            server.put(&foreign);
            let issued = issue(server.client(), &queue()).await;
            assert!(
                matches!(&issued, Err(CertificateError::NameTaken(taken)) if *taken == name),
                "{issued:?}"
            );
            assert_eq!(server.writes(), Vec::<String>::new());
        }
    }
}
