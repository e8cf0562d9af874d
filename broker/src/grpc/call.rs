//! What a call brings besides its message: who calls, over which connection, how long it may take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use rq_core::hash;
use rq_core::ids::{ClientHash, ConnectionId};
use rq_core::queue::request::Name;
use rq_proto::rocketmq::Resource;
use tonic::Request;
use tonic::metadata::MetadataMap;

use crate::clients::{Calls, OpenPoll};
use crate::forwarding::headers::{ATTEMPT, FORWARDED, WAITED};
use crate::wire::Invalid;
use crate::wire::language::Language;

/// Longest client id, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 255;

const CLIENT_ID: &str = "x-mq-client-id";
const LANGUAGE: &str = "x-mq-language";
const NAMESPACE: &str = "x-mq-namespace";
const TIMEOUT: &str = "grpc-timeout";

/// A connection, as its requests carry it.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) calls: Arc<Calls>,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
}

/// One call.
pub(crate) struct Call {
    metadata: MetadataMap,
    connection: Option<Connection>,
    /// The client's connection to another gateway, which forwarded the call.
    forwarded: Option<ConnectionId>,
    client: Option<ClientHash>,
    began: Instant,
    deadline: Option<Instant>,
}

impl Call {
    /// Splits a request into its call and its message. The client counts as alive from here.
    pub(crate) fn begin<T>(request: Request<T>) -> (Self, T) {
        let began = Instant::now();
        let (metadata, extensions, message) = request.into_parts();
        let call = Self::new(metadata, extensions.get::<Connection>().cloned(), began);
        call.touch(began);
        (call, message)
    }

    /// The call of a request that is still as it came.
    pub(crate) fn of(head: &Parts) -> Self {
        let metadata = MetadataMap::from_headers(head.headers.clone());
        Self::new(metadata, head.extensions.get::<Connection>().cloned(), Instant::now())
    }

    fn new(metadata: MetadataMap, connection: Option<Connection>, began: Instant) -> Self {
        let timeout = metadata.get(TIMEOUT).and_then(|value| parse_timeout(value.as_bytes()));
        let deadline = timeout.and_then(|timeout| began.checked_add(timeout));
        let forwarded =
            metadata.get(FORWARDED).and_then(|id| id.to_str().ok()?.parse().ok()).map(ConnectionId);
        // The client's own connection is to the gateway that forwarded the call: that one vouches for it.
        let connection = connection.filter(|_| forwarded.is_none());
        let mut call = Self { metadata, connection, forwarded, client: None, began, deadline };
        call.client = call.client_id().ok().map(hash::client);
        call
    }

    /// The client begins something on this call's connection.
    pub(crate) fn touch(&self, now: Instant) {
        if let (Some(connection), Some(client)) = (&self.connection, self.client) {
            connection.calls.begin(client, now);
        }
    }

    /// The client said goodbye.
    pub(crate) fn forget(&self) {
        if let (Some(connection), Some(client)) = (&self.connection, self.client) {
            connection.calls.forget(client);
        }
    }

    /// The client sent half messages to a topic: it can be asked about them, if it has a stream here.
    pub(crate) fn sent_half(&self, topic: Name) {
        let (Some(connection), Some(client)) = (&self.connection, self.client) else { return };
        let own = topic.strip_prefix(self.namespace()).and_then(|name| name.strip_prefix('%'));
        let resource = match own {
            Some(name) if !self.namespace().is_empty() => {
                Resource { resource_namespace: self.namespace().to_owned(), name: name.to_owned() }
            }
            _ => Resource { resource_namespace: String::new(), name: topic.as_ref().to_owned() },
        };
        connection.calls.sent_half(client, topic, resource);
    }

    /// The client's id, which every call must carry.
    pub(crate) fn client_id(&self) -> Result<&str, Invalid> {
        let id = self.metadata.get(CLIENT_ID).map_or(Ok(""), |id| id.to_str());
        let id = id.map_err(|_| Invalid::ClientIdNotAscii)?;
        if id.trim().is_empty() {
            Err(Invalid::ClientIdRequired)
        } else if id.len() > CLIENT_ID_BYTES_MAX {
            Err(Invalid::ClientIdTooLong { len: id.len(), limit: CLIENT_ID_BYTES_MAX })
        } else {
            Ok(id)
        }
    }

    /// Hash of the client's id.
    pub(crate) fn client(&self) -> Result<ClientHash, Invalid> {
        match self.client {
            Some(client) => Ok(client),
            None => self.client_id().map(hash::client),
        }
    }

    pub(crate) fn language(&self) -> Language {
        Language::of(self.text(LANGUAGE))
    }

    /// The namespace, for names that carry none.
    pub(crate) fn namespace(&self) -> &str {
        self.text(NAMESPACE)
    }

    /// The number of the client's connection, here or at the gateway that forwarded the call; 0 if it has none.
    pub(crate) fn connection_id(&self) -> ConnectionId {
        let here = || self.connection.as_ref().map(|connection| connection.calls.id());
        self.forwarded.or_else(here).unwrap_or_default()
    }

    /// What a receive is named by the gateway that may repeat it.
    pub(crate) fn attempt(&self) -> Option<&str> {
        Some(self.text(ATTEMPT)).filter(|name| !name.is_empty())
    }

    /// How long the client of a receive had waited when this call began, as its gateway says.
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.text(WAITED).parse().ok().map(Duration::from_millis)
    }

    /// Whether another gateway forwarded it.
    pub(crate) const fn is_forwarded(&self) -> bool {
        self.forwarded.is_some()
    }

    pub(crate) const fn metadata(&self) -> &MetadataMap {
        &self.metadata
    }

    pub(crate) const fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    pub(crate) fn open_poll(&self) -> Option<OpenPoll> {
        Some(self.connection.as_ref()?.calls.open_poll(self.client?))
    }

    pub(crate) const fn began(&self) -> Instant {
        self.began
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// A value of the metadata; blank where there is none.
    fn text(&self, key: &'static str) -> &str {
        self.metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The timeout of gRPC over HTTP/2: up to 8 digits and a unit.
fn parse_timeout(value: &[u8]) -> Option<Duration> {
    const DIGITS_MAX: usize = 8;
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3_600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    #[test]
    fn every_unit_of_a_timeout_is_read_and_nonsense_is_none() {
        let rows: [(&[u8], Option<Duration>); 9] = [
            (b"3S", Some(Duration::from_secs(3))),
            (b"3000m", Some(Duration::from_secs(3))),
            (b"2999979u", Some(Duration::from_micros(2_999_979))),
            (b"99999999n", Some(Duration::from_nanos(99_999_999))),
            (b"1H", Some(Duration::from_hours(1))),
            (b"", None),
            (b"S", None),
            (b"123456789S", None),
            (b"-1S", None),
        ];
        for (value, expected) in rows {
            assert_eq!(parse_timeout(value), expected, "{}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn a_call_needs_a_client_id_that_is_not_blank_or_huge() {
        let call = |id: Option<&str>| {
            let mut request = Request::new(());
            if let Some(id) = id {
                request.metadata_mut().insert(CLIENT_ID, MetadataValue::try_from(id.as_bytes()).unwrap());
            }
            Call::begin(request).0.client()
        };
        assert_eq!(call(Some("host@1@0@abc")), Ok(hash::client("host@1@0@abc")));
        assert_eq!(call(None), Err(Invalid::ClientIdRequired));
        assert_eq!(call(Some("Jürgen@1")), Err(Invalid::ClientIdNotAscii));
        assert_eq!(call(Some("  ")), Err(Invalid::ClientIdRequired));
        assert!(matches!(call(Some(&"c".repeat(256))), Err(Invalid::ClientIdTooLong { .. })));
    }
}
