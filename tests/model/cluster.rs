//! The model: two nodes, the links between them, the config store, one producer and one consumer.

use std::collections::{BTreeMap, VecDeque};

use rq_core::config::{self, Change, Config, FlushMode, Member};
use rq_core::ids::{Epoch, Lsn, Session, StoreId};
use rq_core::replication::{Answer, Effect, Gate, Guards, Hello, Input, Link, Message, ProposalId};

use crate::node::{Entry, Node, Process, Reply, What};

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

/// A write on its way to the config store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Put {
    writer: Who,
    life: u8,
    id: ProposalId,
    config: Config,
    /// The writer was told that nobody knows.
    answered: bool,
}

/// A link from a slave to a master, with what is under way both ways.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Wire {
    slave: Who,
    up: VecDeque<Packet>,
    down: VecDeque<Packet>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Packet {
    Hello(Hello),
    Message(Message, Vec<Entry>),
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
    pub(crate) delivered: Vec<u8>,
    /// Messages whose acks were answered OK.
    pub(crate) acked: Vec<u8>,
    /// A message was delivered whose ack had been answered OK.
    pub(crate) acked_came_back: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Step {
    Start(Who),
    Kill(Who),
    LosePower(Who, usize),
    LoseDisk(Who),
    Flush(Who),
    SavePromise(Who),
    ReadConfig(Who),
    ReadOlder(Who),
    Retry(Who),
    Silent(Who),
    TakeOver(Who),
    HandOver(Who, bool),
    Promote(Who),
    /// A write reaches the config store, and the answer its writer.
    Put(usize),
    /// It reaches the store, the answer is lost.
    PutUnanswered(usize),
    /// Its writer waits no longer; it may still arrive.
    PutUnknown(usize),
    /// It is lost.
    PutLost(usize),
    Deliver(Link, bool, usize),
    Ship(Link),
    Break(Link),
    Send(Who),
    SendHalf(Who),
    End(Who, u8, bool),
    Pop(Who, u8),
    Ack(Who, u8),
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
        while let Some(step) = cluster.quiet_step() {
            cluster.take(step);
        }
        assert_eq!(cluster.config.in_sync.len(), 2, "the second node did not come into the set");
        assert_eq!((cluster.config.version, cluster.next_link), IN_SYNC);
        cluster
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

    fn post(&mut self, who: Who, link: Link, packet: Packet) {
        if let Some(wire) = self.links.get_mut(&link) {
            let queue = if wire.slave == who { &mut wire.up } else { &mut wire.down };
            // An ack says all that the one before it said.
            if let (Some(Packet::Message(Message::Ack { .. }, _)), Packet::Message(Message::Ack { .. }, _)) =
                (queue.back(), &packet)
            {
                queue.pop_back();
            }
            queue.push_back(packet);
        }
    }

    fn break_link(&mut self, link: Link) {
        if let Some(wire) = self.links.remove(&link) {
            self.step(Self::other(wire.slave), Input::Disconnected(link));
            self.step(wire.slave, Input::Disconnected(link));
        }
    }

    fn break_all(&mut self) {
        let links: Vec<Link> = self.links.keys().copied().collect();
        for link in links {
            self.break_link(link);
        }
    }

    /// All that may happen next.
    pub(crate) fn possible(&self, bounds: &Bounds, steps: &mut Vec<Step>) {
        for who in 0..2 {
            match self.process(who) {
                None => steps.push(Step::Start(who)),
                Some(process) => self.possible_of(who, process, bounds, steps),
            }
        }
        for number in 0..self.puts.len() {
            steps.push(Step::Put(number));
            steps.push(Step::PutLost(number));
            if !self.puts[number].answered {
                steps.push(Step::PutUnanswered(number));
                steps.push(Step::PutUnknown(number));
            }
        }
        for (link, wire) in &self.links {
            for (up, queue) in [(true, &wire.up), (false, &wire.down)] {
                let first = if bounds.overtaking { queue.len() } else { queue.len().min(1) };
                steps.extend((0..first).map(|at| Step::Deliver(*link, up, at)));
            }
            if self.new_links() < bounds.links {
                steps.push(Step::Break(*link));
            }
            let master = self.process(Self::other(wire.slave));
            let log = &self.nodes[Self::other(wire.slave)].disk.log;
            let behind =
                master.and_then(|master| master.ships.get(link)).is_some_and(|at| *at < log.len() as u64);
            if behind && wire.down.len() < bounds.under_way {
                steps.push(Step::Ship(*link));
            }
        }
    }

    fn possible_of(&self, who: Who, process: &Process<G>, bounds: &Bounds, steps: &mut Vec<Step>) {
        let node = &self.nodes[who];
        let replica = &process.replica;
        if self.kills < bounds.kills {
            steps.push(Step::Kill(who));
        }
        if self.power_losses < bounds.power_losses {
            steps.extend((node.disk.flushed..=node.disk.log.len()).map(|kept| Step::LosePower(who, kept)));
        }
        if self.disk_losses < bounds.disk_losses {
            steps.push(Step::LoseDisk(who));
        }
        if node.disk.flushed < node.disk.log.len() || replica.durable() < replica.end() {
            steps.push(Step::Flush(who));
        }
        if process.promising.is_some() {
            steps.push(Step::SavePromise(who));
        }
        let seen = replica.config().map_or(0, |config| config.version);
        if process.reads_config || seen < self.config.version {
            steps.push(Step::ReadConfig(who));
            if bounds.stale_reads && self.older.is_some() {
                steps.push(Step::ReadOlder(who));
            }
        }
        let waits = self.puts.iter().any(|put| put.writer == who && put.life == node.life && !put.answered);
        let more = self.changes() < bounds.changes && self.puts.len() < 2;
        if more && !waits {
            steps.push(Step::Retry(who));
            if replica.leading().is_some() {
                steps.push(Step::Silent(who));
                steps.push(Step::HandOver(who, false));
                if bounds.leaving {
                    steps.push(Step::HandOver(who, true));
                }
            } else if replica.config().is_some() {
                steps.push(Step::TakeOver(who));
            }
        }
        if self.changes() < bounds.changes && self.config.master != node.store {
            steps.push(Step::Promote(who));
        }
        if replica.serving().is_some() && bounds.transactions {
            for message in 0..self.clients.sent {
                steps.extend([true, false].map(|commit| Step::End(who, message, commit)));
            }
        }
        if replica.serving().is_some() && node.disk.log.len() < bounds.log {
            if self.clients.sent < bounds.messages {
                steps.push(if bounds.transactions { Step::SendHalf(who) } else { Step::Send(who) });
            }
            for message in (0..self.clients.sent).filter(|_| bounds.consuming) {
                let has = |what| node.disk.log.iter().any(|entry| entry.what == what);
                if has(What::Message(message)) && !has(What::Ack(message)) {
                    steps.push(Step::Pop(who, message));
                    if self.clients.delivered.contains(&message) && has(What::Pop(message)) {
                        steps.push(Step::Ack(who, message));
                    }
                }
            }
        }
    }

    /// Does one thing; false if nothing came of it.
    pub(crate) fn take(&mut self, step: Step) {
        match step {
            Step::Start(who) => self.nodes[who].start(self.config.flush_mode),
            Step::Kill(who) => {
                self.kills += 1;
                self.nodes[who].kill();
                self.break_all();
            }
            Step::LosePower(who, kept) => {
                self.power_losses += 1;
                self.nodes[who].lose_power(kept);
                self.break_all();
            }
            Step::LoseDisk(who) => {
                self.disk_losses += 1;
                self.nodes[who].lose_disk(StoreId(3));
                self.break_all();
            }
            Step::Flush(who) => {
                let node = &mut self.nodes[who];
                let commit = node.process.as_ref().map_or(Lsn(0), |process| process.replica.commit());
                node.disk.flush(commit);
                let end = Lsn(node.disk.log.len() as u64);
                self.step(who, Input::Flushed(end));
            }
            Step::SavePromise(who) => {
                let node = &mut self.nodes[who];
                if let Some(epoch) = node.process.as_mut().and_then(|process| process.promising.take()) {
                    node.disk.promised = epoch;
                    self.step(who, Input::Promised(epoch));
                }
            }
            Step::ReadConfig(who) => {
                if let Some(process) = &mut self.nodes[who].process {
                    process.reads_config = false;
                }
                self.step(who, Input::Config(self.config.clone()));
            }
            Step::ReadOlder(who) => {
                if let Some(older) = self.older.clone() {
                    self.step(who, Input::Config(older));
                }
            }
            Step::Retry(who) => self.step(who, Input::Retry),
            Step::Silent(who) => self.step(who, Input::Silent(self.nodes[Self::other(who)].store)),
            Step::TakeOver(who) => self.step(who, Input::TakeOver { keep: Vec::new() }),
            Step::HandOver(who, leaves) => {
                let to = self.nodes[Self::other(who)].store;
                self.step(who, Input::HandOver { to, leaves });
            }
            Step::Promote(who) => {
                // By somebody who has not heard from it: it may be in another session meanwhile.
                let to = self.nodes[who].store;
                let session = self.config.in_sync.get(&to).copied().unwrap_or_default();
                let promote = Change::Promote { to, session, keep: Vec::new() };
                if let Ok(config) = config::next(&self.config, &promote) {
                    self.store(config);
                }
            }
            Step::Put(number) => self.put(number, true),
            Step::PutUnanswered(number) => self.put(number, false),
            Step::PutUnknown(number) => self.answer(number, Answer::Unknown),
            Step::PutLost(number) => {
                self.answer(number, Answer::Unknown);
                self.puts.remove(number);
            }
            Step::Deliver(link, up, at) => self.deliver(link, up, at),
            Step::Ship(link) => self.ship(link),
            Step::Break(link) => self.break_link(link),
            Step::Send(who) => self.send(who, What::Message),
            Step::SendHalf(who) => self.send(who, What::Half),
            Step::End(who, message, commit) => self.end(who, message, commit),
            Step::Pop(who, message) => self.decide(who, What::Pop(message), Reply::Delivered(message)),
            Step::Ack(who, message) => self.decide(who, What::Ack(message), Reply::Acked(message)),
        }
    }

    /// The master appends a record, and its answer waits for it.
    fn decide(&mut self, who: Who, what: What, reply: Reply) {
        let Some(process) = &mut self.nodes[who].process else { return };
        let Some(epoch) = process.replica.serving() else { return };
        let end = process.replica.end().plus(1);
        process.gate.wait(end, matches!(reply, Reply::Delivered(_)), reply);
        self.append(who, epoch, what);
    }

    fn send(&mut self, who: Who, what: impl FnOnce(u8) -> What) {
        let message = self.clients.sent;
        self.clients.sent += 1;
        self.decide(who, what(message), Reply::Stored(message));
    }

    /// A transaction ends once. The same end again is answered alike, by what the log says already, the opposite is refused.
    fn end(&mut self, who: Who, message: u8, commit: bool) {
        let log = &self.nodes[who].disk.log;
        let has = |what| log.iter().any(|entry| entry.what == what);
        let (half, same, opposite) =
            (has(What::Half(message)), has(What::End(message, commit)), has(What::End(message, !commit)));
        let reply = Reply::Ended(message, commit);
        if same {
            let Some(process) = &mut self.nodes[who].process else { return };
            // One that waits and one that repeats it are as good as many.
            if process.gate.len() < 2 {
                process.gate.wait(process.replica.end(), false, reply);
                self.let_out(who);
            }
        } else if half && !opposite {
            self.decide(who, What::End(message, commit), reply);
        }
    }

    fn store(&mut self, config: Config) {
        self.older = Some(std::mem::replace(&mut self.config, config));
    }

    fn put(&mut self, number: usize, answered: bool) {
        let put = self.puts[number].config.clone();
        let done = put.version == self.config.version + 1 && config::check(&self.config, &put).is_ok();
        if done {
            self.store(put);
        }
        let answer = match (answered, done) {
            (false, _) => Answer::Unknown,
            (true, true) => Answer::Done,
            (true, false) => Answer::Conflict(self.config.clone()),
        };
        self.answer(number, answer);
        self.puts.remove(number);
    }

    fn answer(&mut self, number: usize, answer: Answer) {
        let put = &mut self.puts[number];
        if !std::mem::replace(&mut put.answered, true) {
            let (writer, life, id) = (put.writer, put.life, put.id);
            if self.nodes[writer].life == life {
                self.step(writer, Input::Answered(id, answer));
            }
        }
    }

    fn deliver(&mut self, link: Link, up: bool, at: usize) {
        let Some(wire) = self.links.get_mut(&link) else { return };
        let queue = if up { &mut wire.up } else { &mut wire.down };
        let to = if up { Self::other(wire.slave) } else { wire.slave };
        match queue.remove(at) {
            Some(Packet::Hello(hello)) => self.step(to, Input::Greeted(link, hello)),
            Some(Packet::Message(message, entries)) => {
                let mut effects = Vec::new();
                let Some(process) = &mut self.nodes[to].process else { return };
                process.replica.step(Input::Message(link, message), &mut effects);
                for effect in effects {
                    self.carry_out(to, effect, entries.clone());
                }
                self.let_out(to);
            }
            None => {}
        }
    }

    fn ship(&mut self, link: Link) {
        let Some(wire) = self.links.get(&link) else { return };
        let who = Self::other(wire.slave);
        let node = &mut self.nodes[who];
        let Some(process) = &mut node.process else { return };
        let Some(epoch) = process.replica.leading() else { return };
        let Some(at) = process.ships.get_mut(&link) else { return };
        let entries = node.disk.log.get(*at as usize..).unwrap_or_default().to_vec();
        let end = Lsn(node.disk.log.len() as u64);
        let (from, commit) = (Lsn(*at), process.replica.commit());
        *at = end.0;
        self.post(who, link, Packet::Message(Message::Frames { epoch, from, end, commit }, entries));
    }
}
