//! The model: two nodes, the links between them, the config store, one producer and one consumer.

use std::collections::{BTreeMap, VecDeque};

use rq_core::config::{Config, FlushMode, Member};
use rq_core::ids::{Epoch, Lsn, Session, StoreId};
use rq_core::replication::{Effect, Gate, Guards, Input, Link};

use self::config_store::Put;
use self::links::{Packet, Wire};
pub(crate) use self::steps::Step;
use crate::node::{Entry, Node, Process, Reply, What};

#[path = "cluster/config_store.rs"]
mod config_store;
#[path = "cluster/links.rs"]
mod links;
#[path = "cluster/steps.rs"]
mod steps;

pub(crate) type Who = usize;

/// How far the model goes.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each says whether something may happen, whatever else may")]
pub(crate) struct Bounds {
    pub(crate) messages: u8,
    /// Changes of the configuration.
    pub(crate) changes: u64,
    /// Reads of the config store may show the version before.
    pub(crate) stale_reads: bool,
    pub(crate) kills: u8,
    pub(crate) power_losses: u8,
    pub(crate) disk_losses: u8,
    pub(crate) log: usize,
    pub(crate) links: u64,
    /// Shipments that may be under way on a link.
    pub(crate) under_way: usize,
    /// Messages of a link may overtake each other.
    pub(crate) overtaking: bool,
    pub(crate) consuming: bool,
    /// All messages are half messages, and their transactions end either way.
    pub(crate) transactions: bool,
    /// All messages are delayed ones, whose time comes at any moment, and which are recalled.
    pub(crate) delays: bool,
    /// Not so in the broker: a master shows a delayed message when its time has come, without a record of that.
    pub(crate) by_the_clock: bool,
    /// A master that hands over may leave the set with that.
    pub(crate) leaving: bool,
    pub(crate) mode: FlushMode,
}

/// Version and links with which [`Cluster::in_sync`] begins.
const IN_SYNC: (u64, u64) = (2, 1);

/// Nothing fails and nobody sends.
const FAULTLESS: Bounds = Bounds {
    messages: 0,
    changes: 0,
    stale_reads: false,
    kills: 0,
    power_losses: 0,
    disk_losses: 0,
    log: 0,
    links: 0,
    under_way: 1,
    overtaking: false,
    consuming: false,
    transactions: false,
    delays: false,
    by_the_clock: false,
    leaving: false,
    mode: FlushMode::Sync,
};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Cluster<G: Guards> {
    pub(crate) nodes: [Node<G>; 2],
    pub(crate) config: Config,
    /// The version before.
    pub(crate) older: Option<Config>,
    pub(crate) puts: Vec<Put>,
    pub(crate) links: BTreeMap<Link, Wire>,
    pub(crate) next_link: u64,
    pub(crate) clients: Clients,
    pub(crate) kills: u8,
    pub(crate) power_losses: u8,
    pub(crate) disk_losses: u8,
    /// A replica halted.
    pub(crate) halted: bool,
}

/// What the clients know.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Clients {
    /// Messages sent, whatever became of them.
    pub(crate) sent: u8,
    /// Messages whose sends were answered OK.
    pub(crate) stored: Vec<u8>,
    /// Transactions whose end was answered OK, and which end.
    pub(crate) ended: Vec<(u8, bool)>,
    /// Delayed messages whose recalls were answered OK.
    pub(crate) recalled: Vec<u8>,
    pub(crate) delivered: Vec<u8>,
    /// Messages whose acks were answered OK.
    pub(crate) acked: Vec<u8>,
    /// A message was delivered whose ack had been answered OK.
    pub(crate) acked_came_back: bool,
}

impl<G: Guards> Cluster<G> {
    /// A formed shard: the first node is master, the second follows.
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let nodes = [Node::new(StoreId(1)), Node::new(StoreId(2))];
        // The third store is the second node's after it lost its disk.
        let members = (1..=4).map(|store| (StoreId(store), Member::default())).collect();
        let mut config = Config::form(StoreId(1), Session(0), members, 1);
        config.flush_mode = bounds.mode;
        let mut cluster = Self {
            nodes,
            config,
            older: None,
            puts: Vec::new(),
            links: BTreeMap::new(),
            next_link: 0,
            clients: Clients::default(),
            kills: 0,
            power_losses: 0,
            disk_losses: 0,
            halted: false,
        };
        for who in 0..2 {
            cluster.nodes[who].start(bounds.mode);
        }
        cluster
    }

    /// The same with the second node in the in-sync set and nothing under way.
    pub(crate) fn in_sync(bounds: &Bounds) -> Self {
        let mut cluster = Self::new(bounds);
        // The rules that may be broken are not broken on the way here: nothing is lost or late.
        cluster.settle();
        assert_eq!(cluster.config.in_sync.len(), 2, "the second node did not come into the set");
        assert_eq!((cluster.config.version, cluster.next_link), IN_SYNC);
        cluster
    }

    /// The same with a delayed message that both have, and that waits: from here a failover is less far.
    pub(crate) fn with_delayed(bounds: &Bounds) -> Self {
        let mut cluster = Self::in_sync(bounds);
        cluster.take(Step::SendDelayed(0));
        cluster.settle();
        assert_eq!(cluster.clients.stored, [0]);
        cluster
    }

    fn settle(&mut self) {
        while let Some(step) = self.quiet_step() {
            self.take(step);
        }
    }

    /// A step of a cluster in which nothing fails and nobody sends.
    fn quiet_step(&self) -> Option<Step> {
        let mut steps = Vec::new();
        self.possible(&FAULTLESS, &mut steps);
        steps.into_iter().find(|step| {
            matches!(
                step,
                Step::ReadConfig(_)
                    | Step::SavePromise(_)
                    | Step::Flush(_)
                    | Step::Put(_)
                    | Step::Deliver(..)
                    | Step::Ship(_)
            )
        })
    }

    /// Changes of the configuration since the second node came into the set.
    pub(crate) fn changes(&self) -> u64 {
        self.config.version.saturating_sub(IN_SYNC.0)
    }

    /// Links made since then.
    pub(crate) fn new_links(&self) -> u64 {
        self.next_link.saturating_sub(IN_SYNC.1)
    }

    fn other(who: Who) -> Who {
        1 - who
    }

    fn process(&self, who: Who) -> Option<&Process<G>> {
        self.nodes[who].process.as_ref()
    }

    /// Gives a replica an input and carries out what it says.
    fn step(&mut self, who: Who, input: Input) {
        let mut effects = Vec::new();
        let Some(process) = &mut self.nodes[who].process else { return };
        process.replica.step(input, &mut effects);
        for effect in effects {
            self.carry_out(who, effect, Vec::new());
        }
        self.let_out(who);
    }

    fn carry_out(&mut self, who: Who, effect: Effect, entries: Vec<Entry>) {
        let node = &mut self.nodes[who];
        let Some(process) = &mut node.process else { return };
        match effect {
            Effect::ReadConfig => process.reads_config = true,
            Effect::Propose(id, config) => {
                self.puts.push(Put { writer: who, life: node.life, id, config, answered: false });
            }
            Effect::Promise(epoch) => process.promising = Some(epoch),
            Effect::Begin(epoch) => self.append(who, epoch, What::Begin),
            Effect::Follow(master) => self.follow(who, master),
            Effect::Store => {
                let start = node.disk.log.len();
                node.disk.log.extend(entries);
                let begins = node.disk.begins(start);
                let end = Lsn(node.disk.log.len() as u64);
                self.step(who, Input::Appended { end, begins });
            }
            Effect::Truncate(to) => {
                node.disk.log.truncate(to.0 as usize);
                node.disk.flushed = node.disk.flushed.min(to.0 as usize);
                self.step(who, Input::Truncated(to));
            }
            Effect::SetFlushPolicy(_) => unreachable!("nobody wishes for another flush mode here"),
            Effect::Install => unreachable!("the model keeps the whole log"),
            Effect::Send(link, message) => self.post(who, link, Packet::Message(message, Vec::new())),
            Effect::Ship(link, from) => drop(process.ships.insert(link, from.0)),
            Effect::Committed(_) => {}
            Effect::Hangup(link) => self.break_link(link),
            Effect::StepDown => {
                let mode = self.config.flush_mode;
                // The same process recovers from its log; nothing was lost by a crash.
                node.start(mode);
            }
            Effect::HandedOver => {
                process.gate = Gate::default();
                process.ships.clear();
            }
            Effect::Halt(_) => self.halted = true,
        }
    }

    fn append(&mut self, who: Who, epoch: Epoch, what: What) {
        let node = &mut self.nodes[who];
        let start = node.disk.log.len();
        node.disk.log.push(Entry { epoch, life: node.life, what });
        let begins = node.disk.begins(start);
        self.step(who, Input::Appended { end: Lsn(start as u64 + 1), begins });
    }

    /// Answers leave that may.
    fn let_out(&mut self, who: Who) {
        let Some(process) = &mut self.nodes[who].process else { return };
        let clients = &mut self.clients;
        while let Some(reply) = process.gate.pass(process.replica.commit()) {
            let (known, message) = match reply {
                Reply::Ended(message, commit) => {
                    if !clients.ended.contains(&(message, commit)) {
                        clients.ended.push((message, commit));
                        clients.ended.sort_unstable();
                    }
                    continue;
                }
                Reply::Stored(message) => (&mut clients.stored, message),
                Reply::Recalled(message) => (&mut clients.recalled, message),
                Reply::Delivered(message) => {
                    clients.acked_came_back |= clients.acked.contains(&message);
                    (&mut clients.delivered, message)
                }
                Reply::Acked(message) => (&mut clients.acked, message),
            };
            if !known.contains(&message) {
                known.push(message);
                known.sort_unstable();
            }
        }
    }

    fn follow(&mut self, who: Who, master: StoreId) {
        let old: Vec<Link> =
            self.links.iter().filter(|(_, wire)| wire.slave == who).map(|(link, _)| *link).collect();
        for link in old {
            self.links.remove(&link);
            self.step(Self::other(who), Input::Disconnected(link));
        }
        if self.nodes[Self::other(who)].store != master {
            return;
        }
        self.next_link += 1;
        let link = Link(self.next_link);
        self.links.insert(link, Wire { slave: who, up: VecDeque::new(), down: VecDeque::new() });
        self.step(who, Input::Connected(link));
        if let Some(process) = self.process(who) {
            let hello = process.replica.hello();
            self.post(who, link, Packet::Hello(hello));
        }
    }
}
