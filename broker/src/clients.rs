//! Who is connected: the clients of each living connection, and when each last began a call on it. The engine is
//! told every few seconds, so that it renews the leases of the living. Nothing here is needed for correctness.

mod producers;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rq_core::ids::{ClientHash, ConnectionId};
use rq_core::queue::request::{LiveClient, Name};
use rq_proto::rocketmq::Resource;

pub use self::producers::{Order, Producers, Stream};

/// A client that began no call for so long is no longer vouched for, connected or not. The slowest official
/// client sends a heartbeat every 30 s.
pub const CLIENT_IDLE_MAX: Duration = Duration::from_secs(90);
/// Most clients on one connection. The official clients use one for each; more are served but not vouched for.
pub const CLIENTS_PER_CONNECTION_MAX: usize = 1024;

/// All living connections.
#[derive(Default)]
pub struct Clients {
    connections: Mutex<HashMap<ConnectionId, Arc<Calls>>>,
    producers: Arc<Producers>,
}

/// The calls of one connection.
pub struct Calls {
    id: ConnectionId,
    clients: Mutex<HashMap<ClientHash, Seen>>,
    producers: Arc<Producers>,
}

/// What is known of a client on one connection.
struct Seen {
    began: Instant,
    polls: Arc<AtomicUsize>,
}

/// Keeps a connection registered until it is dropped.
pub struct Registration {
    clients: Arc<Clients>,
    calls: Arc<Calls>,
}

/// A long poll of a client; open until it is dropped.
pub struct OpenPoll(Option<Arc<AtomicUsize>>);

impl Clients {
    /// Registers a connection.
    pub fn connect(self: &Arc<Self>) -> Registration {
        let id = ConnectionId(rand::random());
        let calls = Calls { id, clients: Mutex::default(), producers: Arc::clone(&self.producers) };
        let calls = Arc::new(calls);
        locked(&self.connections).insert(id, Arc::clone(&calls));
        Registration { clients: Arc::clone(self), calls }
    }

    /// Whom to ask how a transaction ended.
    pub const fn producers(&self) -> &Arc<Producers> {
        &self.producers
    }

    /// How many connections live.
    pub fn connections(&self) -> usize {
        locked(&self.connections).len()
    }

    /// The living clients, once for each of their connections.
    pub fn live(&self, now: Instant) -> Vec<LiveClient> {
        let connections: Vec<_> = locked(&self.connections).values().cloned().collect();
        connections.iter().flat_map(|calls| calls.live(now)).collect()
    }
}

impl Calls {
    /// The connection.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The client begins a call.
    pub fn begin(&self, client: ClientHash, now: Instant) {
        let mut clients = locked(&self.clients);
        if let Some(seen) = clients.get_mut(&client) {
            // A long poll says again when it began.
            seen.began = seen.began.max(now);
        } else if clients.len() < CLIENTS_PER_CONNECTION_MAX {
            clients.insert(client, Seen { began: now, polls: Arc::default() });
        }
    }

    /// The client waits for messages: it lives, however long it waits.
    pub fn open_poll(&self, client: ClientHash) -> OpenPoll {
        let polls = locked(&self.clients).get(&client).map(|seen| Arc::clone(&seen.polls));
        if let Some(polls) = &polls {
            polls.fetch_add(1, Ordering::Relaxed);
        }
        OpenPoll(polls)
    }

    /// The client said goodbye.
    pub fn forget(&self, client: ClientHash) {
        locked(&self.clients).remove(&client);
        self.producers.forget(client);
    }

    /// The client sent half messages to a topic: it is a producer to ask about them.
    pub fn sent_half(&self, client: ClientHash, topic: Name, resource: Resource) {
        self.producers.sent_half(client, topic, resource);
    }

    fn live(&self, now: Instant) -> Vec<LiveClient> {
        let mut clients = locked(&self.clients);
        clients.retain(|_, seen| {
            seen.polls.load(Ordering::Relaxed) > 0
                || now.saturating_duration_since(seen.began) < CLIENT_IDLE_MAX
        });
        let live = |(client, seen): (&ClientHash, &Seen)| LiveClient {
            client: *client,
            connection: self.id,
            idle_ms: now.saturating_duration_since(seen.began).as_millis() as u64,
        };
        clients.iter().map(live).collect()
    }
}

impl Registration {
    /// The connection's calls.
    pub fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        locked(&self.clients.connections).remove(&self.calls.id);
    }
}

impl Drop for OpenPoll {
    fn drop(&mut self) {
        if let Some(polls) = &self.0 {
            polls.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A panic elsewhere leaves these maps whole: each change is one call.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientHash = ClientHash(7);

    #[test]
    fn a_client_lives_with_its_connection() {
        let clients = Arc::new(Clients::default());
        let (one, two) = (clients.connect(), clients.connect());
        let now = Instant::now();
        one.calls().begin(CLIENT, now);
        two.calls().begin(CLIENT, now);
        assert_eq!(clients.live(now).len(), 2);
        drop(one);
        let left = clients.live(now + Duration::from_secs(1));
        assert_eq!(left, [LiveClient { client: CLIENT, connection: two.calls().id(), idle_ms: 1_000 }]);
    }

    #[test]
    fn a_silent_client_is_no_longer_vouched_for_unless_it_waits_for_messages() {
        let clients = Arc::new(Clients::default());
        let connection = clients.connect();
        let began = Instant::now();
        connection.calls().begin(CLIENT, began);
        let poll = connection.calls().open_poll(CLIENT);
        let later = began + CLIENT_IDLE_MAX;
        let idle: Vec<_> = clients.live(later).iter().map(|live| live.idle_ms).collect();
        assert_eq!(idle, [CLIENT_IDLE_MAX.as_millis() as u64], "counted from the beginning of the call");
        drop(poll);
        assert_eq!(clients.live(later), []);
    }

    #[test]
    fn a_client_that_said_goodbye_is_forgotten() {
        let clients = Arc::new(Clients::default());
        let connection = clients.connect();
        connection.calls().begin(CLIENT, Instant::now());
        connection.calls().forget(CLIENT);
        assert_eq!(clients.live(Instant::now()), []);
        drop(connection.calls().open_poll(CLIENT));
    }
}
