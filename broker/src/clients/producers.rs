//! Whom to ask how a transaction ended: the clients with an open Telemetry stream to this process, by the topics that they
//! produce to. A client says so itself in its settings, or shows it by sending half messages: some clients declare nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use rq_core::ids::ClientHash;
use rq_core::queue::request::Name;
use rq_proto::rocketmq::{Resource, TelemetryCommand};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::locked;

/// Commands that wait for a stream to take them. A client that reads no faster is not asked more.
const ORDERS_MAX: usize = 8;
/// Most topics of one producer; it is not asked about more.
const TOPICS_MAX: usize = 1_000;
/// Most clients whose sends are remembered.
const SENDERS_MAX: usize = 10_000;

/// A command for a client, on its way to its stream: taken once, unless it is withdrawn before.
#[derive(Clone, Debug)]
pub struct Order(Arc<Mutex<Option<Waiting>>>);

#[derive(Debug)]
struct Waiting {
    command: TelemetryCommand,
    /// Hears that the stream took it.
    written: oneshot::Sender<()>,
    /// Its share of what may wait for slow streams.
    _room: OwnedSemaphorePermit,
}

impl Order {
    /// An order, and who hears that a stream took it.
    pub fn new(command: TelemetryCommand, room: OwnedSemaphorePermit) -> (Self, oneshot::Receiver<()>) {
        let (written, is_written) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(Waiting { command, written, _room: room })))), is_written)
    }

    /// The command, for the stream. None: it was withdrawn.
    pub fn take(&self) -> Option<TelemetryCommand> {
        let Waiting { command, written, .. } = locked(&self.0).take()?;
        // Who asked may have given up meanwhile; the client's answer is as good.
        let _ = written.send(());
        Some(command)
    }

    /// It waited for too long: it takes no more room. Its place in the queue stays, so that a slow stream gets no others.
    pub fn withdraw(&self) {
        locked(&self.0).take();
    }
}

/// All producers with an open stream.
#[derive(Debug)]
pub struct Producers {
    known: Mutex<Known>,
    /// Counts the changes of the topics that have a producer.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    streams: HashMap<u64, Open>,
    /// What clients showed by sending; kept for a stream that breaks and comes again.
    senders: HashMap<ClientHash, BTreeMap<Name, Resource>>,
    /// The streams to ask about a topic; whoever was asked goes to the end.
    turns: BTreeMap<Name, VecDeque<u64>>,
}

#[derive(Debug)]
struct Open {
    client: ClientHash,
    /// Each as the client calls it.
    topics: BTreeMap<Name, Resource>,
    orders: mpsc::Sender<Order>,
    closed: CancellationToken,
}

/// A client's stream; open until it is dropped.
#[derive(Debug)]
pub struct Stream {
    producers: Arc<Producers>,
    number: u64,
    orders: mpsc::Receiver<Order>,
    closed: CancellationToken,
}

/// A producer to ask: its place in the queue of its stream.
#[derive(Debug)]
pub struct Asked {
    /// The topic as the producer calls it.
    pub topic: Resource,
    /// Where the command goes.
    pub order: mpsc::OwnedPermit<Order>,
    /// Cancelled when the stream is closed.
    pub closed: CancellationToken,
}

impl Default for Producers {
    fn default() -> Self {
        Self { known: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Producers {
    /// A client opened its stream.
    pub fn open(self: &Arc<Self>, client: ClientHash) -> Stream {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        let closed = CancellationToken::new();
        let mut known = locked(&self.known);
        let number = known.next;
        known.next += 1;
        let open = Open { client, topics: BTreeMap::new(), orders: sender, closed: closed.clone() };
        known.streams.insert(number, open);
        let changed = known.set_topics(number, BTreeMap::new());
        drop(known);
        self.tell(changed);
        Stream { producers: Arc::clone(self), number, orders, closed }
    }

    /// A client sent half messages to a topic.
    pub fn sent_half(&self, client: ClientHash, topic: Name, resource: Resource) {
        let mut known = locked(&self.known);
        if known.senders.get(&client).is_some_and(|sent| sent.contains_key(&topic)) {
            return;
        }
        if known.senders.len() >= SENDERS_MAX && !known.senders.contains_key(&client) {
            known.forget_those_gone();
        }
        let sent = known.senders.entry(client).or_default();
        if sent.len() < TOPICS_MAX {
            sent.insert(topic, resource);
        }
        let of_client = known.streams.iter().filter(|(_, open)| open.client == client);
        let streams: Vec<(u64, BTreeMap<Name, Resource>)> =
            of_client.map(|(number, open)| (*number, open.topics.clone())).collect();
        let mut changed = false;
        for (number, topics) in streams {
            changed |= known.set_topics(number, topics);
        }
        drop(known);
        self.tell(changed);
    }

    /// A client said goodbye: it is asked no more.
    pub fn forget(&self, client: ClientHash) {
        let mut known = locked(&self.known);
        known.senders.remove(&client);
        let of_client = known.streams.iter().filter(|(_, open)| open.client == client);
        let streams: Vec<u64> = of_client.map(|(number, _)| *number).collect();
        let mut changed = false;
        for number in streams {
            changed |= known.set_topics(number, BTreeMap::new());
        }
        drop(known);
        self.tell(changed);
    }

    /// The topics that have a producer here.
    pub fn topics(&self) -> Vec<Name> {
        locked(&self.known).turns.keys().cloned().collect()
    }

    /// Changes whenever those topics do.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The next producer of a topic whose stream has room. None: all are slow, or gone.
    pub fn next(&self, topic: &str) -> Option<Asked> {
        let mut known = locked(&self.known);
        let Known { streams, turns, .. } = &mut *known;
        let turns = turns.get_mut(topic)?;
        for _ in 0..turns.len() {
            let number = turns.pop_front()?;
            turns.push_back(number);
            let Some(open) = streams.get(&number) else { continue };
            let Some(resource) = open.topics.get(topic) else { continue };
            if let Ok(order) = open.orders.clone().try_reserve_owned() {
                return Some(Asked { topic: resource.clone(), order, closed: open.closed.clone() });
            }
        }
        None
    }

    fn tell(&self, changed: bool) {
        if changed {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }
}

impl Known {
    /// A stream is of a producer of these topics, and of those that its client sent half messages to. Tells whether another
    /// set of topics has a producer now.
    fn set_topics(&mut self, number: u64, mut topics: BTreeMap<Name, Resource>) -> bool {
        let Some(open) = self.streams.get_mut(&number) else { return false };
        for (topic, resource) in self.senders.get(&open.client).into_iter().flatten() {
            topics.entry(Arc::clone(topic)).or_insert_with(|| resource.clone());
        }
        let before = std::mem::replace(&mut open.topics, topics);
        let mut changed = false;
        for topic in open.topics.keys().filter(|topic| !before.contains_key(*topic)) {
            let turns = self.turns.entry(Arc::clone(topic)).or_default();
            changed |= turns.is_empty();
            turns.push_back(number);
        }
        for topic in before.keys().filter(|topic| !open.topics.contains_key(*topic)) {
            changed |= leave(&mut self.turns, topic, number);
        }
        changed
    }

    fn close(&mut self, number: u64) -> bool {
        let Some(open) = self.streams.remove(&number) else { return false };
        let mut changed = false;
        for topic in open.topics.keys() {
            changed |= leave(&mut self.turns, topic, number);
        }
        changed
    }

    /// Forgets what clients sent that have no stream; if all have one, what all sent: they show it again.
    fn forget_those_gone(&mut self) {
        let streams = &self.streams;
        self.senders.retain(|client, _| streams.values().any(|open| open.client == *client));
        if self.senders.len() >= SENDERS_MAX {
            self.senders.clear();
        }
    }
}

/// Tells whether the topic has no producer any more.
fn leave(turns: &mut BTreeMap<Name, VecDeque<u64>>, topic: &Name, number: u64) -> bool {
    let Some(streams) = turns.get_mut(topic) else { return false };
    streams.retain(|stream| *stream != number);
    let none = streams.is_empty();
    if none {
        turns.remove(topic);
    }
    none
}

impl Stream {
    /// The client declared the topics that it produces to, instead of those before.
    pub fn declare(&self, topics: impl IntoIterator<Item = (Name, Resource)>) {
        let topics = topics.into_iter().take(TOPICS_MAX).collect();
        let changed = locked(&self.producers.known).set_topics(self.number, topics);
        self.producers.tell(changed);
    }

    /// Waits for the next command.
    pub async fn order(&mut self) -> Order {
        match self.orders.recv().await {
            Some(order) => order,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.closed.cancel();
        let changed = locked(&self.producers.known).close(self.number);
        self.producers.tell(changed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    const CLIENT: ClientHash = ClientHash(7);

    fn topics(names: &[&str]) -> Vec<(Name, Resource)> {
        let resource = |name: &str| Resource { resource_namespace: "ns".to_owned(), name: name.to_owned() };
        names.iter().map(|name| (Name::from(*name), resource(name))).collect()
    }

    fn known(producers: &Producers) -> Vec<String> {
        producers.topics().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_producer_is_asked_about_the_topics_that_it_declared_last_and_those_that_it_sent_to() {
        let producers = Arc::new(Producers::default());
        let stream = producers.open(CLIENT);
        assert_eq!(known(&producers), [""; 0]);
        stream.declare(topics(&["a", "b"]));
        producers.sent_half(CLIENT, Name::from("c"), Resource::default());
        assert_eq!(known(&producers), ["a", "b", "c"]);
        stream.declare(topics(&["b"]));
        assert_eq!(known(&producers), ["b", "c"]);
        assert_eq!(producers.next("b").unwrap().topic.resource_namespace, "ns");
        assert!(producers.next("a").is_none());
        drop(stream);
        assert_eq!(known(&producers), [""; 0]);
    }

    #[test]
    fn what_a_client_sent_is_remembered_for_its_next_stream_until_it_says_goodbye() {
        let producers = Arc::new(Producers::default());
        producers.sent_half(CLIENT, Name::from("a"), Resource::default());
        assert_eq!(known(&producers), [""; 0], "there is nobody to ask");
        drop(producers.open(CLIENT));
        let again = producers.open(CLIENT);
        assert_eq!(known(&producers), ["a"]);
        producers.forget(CLIENT);
        assert_eq!(known(&producers), [""; 0]);
        drop(again);
        drop(producers.open(CLIENT));
        assert_eq!(known(&producers), [""; 0]);
    }

    #[tokio::test]
    async fn producers_of_a_topic_take_turns_and_a_slow_one_is_passed_over() {
        let producers = Arc::new(Producers::default());
        let room = Arc::new(Semaphore::new(1_000));
        let (mut slow, mut other) = (producers.open(CLIENT), producers.open(ClientHash(8)));
        slow.declare(topics(&["t"]));
        other.declare(topics(&["t"]));
        let ask = || {
            let asked = producers.next("t")?;
            let room = Arc::clone(&room).try_acquire_owned().unwrap();
            let (order, is_written) = Order::new(TelemetryCommand::default(), room);
            asked.order.send(order.clone());
            Some((order, is_written))
        };
        for _ in 0..4 {
            ask().unwrap();
        }
        assert_eq!((slow.orders.len(), other.orders.len()), (2, 2));
        while slow.orders.len() < ORDERS_MAX {
            ask().unwrap();
        }
        for _ in 0..3 {
            while !other.orders.is_empty() {
                other.order().await;
            }
            ask().unwrap();
        }
        while ask().is_some() {}
        assert_eq!((slow.orders.len(), other.orders.len()), (ORDERS_MAX, ORDERS_MAX));
        slow.order().await;
        let (order, mut is_written) = ask().unwrap();
        assert_eq!(order.take(), Some(TelemetryCommand::default()));
        assert_eq!(is_written.try_recv(), Ok(()));
        assert!(ask().is_none());
        slow.order().await;
        let (withdrawn, _) = ask().unwrap();
        withdrawn.withdraw();
        assert_eq!(withdrawn.take(), None);
        assert!(ask().is_none(), "its place in the queue stays");
    }

    #[test]
    fn a_change_is_told_only_where_a_topic_got_its_first_producer_or_lost_its_last() {
        let producers = Arc::new(Producers::default());
        let changes = || *producers.changes().borrow();
        let (one, two) = (producers.open(CLIENT), producers.open(ClientHash(8)));
        one.declare(topics(&["t"]));
        assert_eq!(changes(), 1);
        two.declare(topics(&["t"]));
        one.declare(topics(&["t"]));
        drop(one);
        assert_eq!(changes(), 1);
        drop(two);
        assert_eq!(changes(), 2);
    }
}
