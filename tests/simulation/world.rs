//! The world: machines with their processes, the network, the config store, the supervisor, and the order of events.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rq_core::config::{Config, Member};
use rq_core::ids::{Lsn, Session, StoreId, Ticket};
use rq_core::replication::timers::HEARTBEAT_MS;
use rq_core::replication::{Answer, Effect, Hello, Input, Link, Message, ProposalId};
use rq_log::WriteError;
use rq_log::disk::simulated::SimulatedDisk;

use crate::clients::Clients;
use crate::process::{self, Process};

pub(crate) type Who = usize;

/// How often time passes for a process and for the supervisor, in ms.
pub(crate) const TICK: u64 = 25;

pub(crate) struct Machine {
    pub(crate) store: StoreId,
    pub(crate) disk: SimulatedDisk,
    pub(crate) session: Session,
    pub(crate) lives: u32,
    pub(crate) process: Option<Process>,
    /// A stopped process (SIGSTOP) does nothing until then.
    pub(crate) paused_until: u64,
    /// Whether it can talk to the config store.
    pub(crate) reaches_store: bool,
    /// Whether it can send to the other machine.
    pub(crate) reaches_peer: bool,
}

pub(crate) enum Packet {
    Hello(Hello),
    Message(Message, Bytes),
}

pub(crate) enum Event {
    Start(Who),
    Tick(Who, u32),
    Flush(Who, u32),
    Read(Who, u32, Config),
    Put(Who, u32, ProposalId, Config),
    Answered(Who, u32, ProposalId, Answer),
    Connect(Who, u32, StoreId),
    Packet(Link, Who, Packet),
    Supervise,
    Promote(Config),
    Client(usize),
    Reply(Ticket, rq_core::queue::request::Answer, Who),
    Timeout(Ticket),
    Fault,
}

pub(crate) struct Wire {
    pub(crate) slave: Who,
    /// When the last packet each way arrives: they keep their order.
    pub(crate) arrivals: [u64; 2],
    /// A packet was lost on this way: nothing comes after it.
    pub(crate) lost: [bool; 2],
}

pub(crate) struct World {
    pub(crate) random: StdRng,
    pub(crate) now: u64,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    pub(crate) machines: Vec<Machine>,
    pub(crate) config: Config,
    pub(crate) wires: BTreeMap<Link, Wire>,
    pub(crate) links: u64,
    pub(crate) clients: Clients,
    pub(crate) faults_until: u64,
    /// Since when the supervisor gets no answer from the master.
    pub(crate) supervisor_silent_since: Option<u64>,
    /// Everything that happened, as a number: the same seed gives the same.
    pub(crate) trace: u64,
    pub(crate) promotions: u32,
}

impl World {
    pub(crate) fn new(seed: u64, faults_until: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let machine = |random: &mut StdRng| {
            let disk = SimulatedDisk::new(random.random());
            let store = process::store_of(&disk);
            Machine {
                store,
                disk,
                session: Session(0),
                lives: 0,
                process: None,
                paused_until: 0,
                reaches_store: true,
                reaches_peer: true,
            }
        };
        let machines = vec![machine(&mut random), machine(&mut random)];
        let members = machines.iter().map(|machine| (machine.store, Member::default())).collect();
        let config = Config::form(machines[0].store, Session(0), members, 1);
        let mut world = Self {
            random,
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            machines,
            config,
            wires: BTreeMap::new(),
            links: 0,
            clients: Clients::new(),
            faults_until,
            supervisor_silent_since: None,
            trace: 0,
            promotions: 0,
        };
        for who in 0..2 {
            world.after(0, Event::Start(who));
        }
        world.after(0, Event::Supervise);
        for client in 0..world.clients.count() {
            world.after(100, Event::Client(client));
        }
        world.after(500, Event::Fault);
        world
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now + delay, self.scheduled), event);
    }

    pub(crate) fn jitter(&mut self, from: u64, to: u64) -> u64 {
        self.random.random_range(from..=to)
    }

    /// Lets things happen until `until`.
    pub(crate) fn run(&mut self, until: u64) {
        while let Some(((time, number), event)) = self.events.pop_first() {
            if time > until {
                self.events.insert((time, number), event);
                break;
            }
            self.now = time;
            self.trace = self.trace.wrapping_mul(0x100_0000_01b3) ^ time ^ (event.kind() << 32);
            self.happen(event);
        }
        self.now = until;
    }

    pub(crate) fn happen(&mut self, event: Event) {
        // A stopped process gets everything later.
        if let Some(who) = event.process()
            && self.machines[who].paused_until > self.now
        {
            let delay = self.machines[who].paused_until - self.now;
            return self.after(delay, event);
        }
        match event {
            Event::Start(who) => self.start(who),
            Event::Tick(who, life) if self.is(who, life) => self.tick(who),
            Event::Flush(who, life) if self.is(who, life) => self.flush(who),
            Event::Read(who, life, config) if self.is(who, life) => self.reads(who, config),
            Event::Put(who, life, id, config) => self.put(who, life, id, config),
            Event::Answered(who, life, id, answer) if self.is(who, life) => {
                self.step(who, Input::Answered(id, answer));
            }
            Event::Connect(who, life, master) if self.is(who, life) => self.connect(who, master),
            Event::Packet(link, to, packet) => self.deliver(link, to, packet),
            Event::Supervise => self.supervise(),
            Event::Promote(config) => self.promote(config),
            Event::Client(client) => self.client_acts(client),
            Event::Reply(ticket, answer, who) => self.client_hears(ticket, &answer, who),
            Event::Timeout(ticket) => {
                if let Some((client, pause)) = self.clients.gives_up(ticket, self.now) {
                    self.after(pause, Event::Client(client));
                }
            }
            Event::Fault => {
                if self.now < self.faults_until {
                    self.something_fails();
                    let pause = self.jitter(200, 2_500);
                    self.after(pause, Event::Fault);
                }
            }
            Event::Tick(..)
            | Event::Flush(..)
            | Event::Read(..)
            | Event::Answered(..)
            | Event::Connect(..) => {}
        }
    }

    pub(crate) fn is(&self, who: Who, life: u32) -> bool {
        self.machines[who].process.as_ref().is_some_and(|process| process.life == life)
    }

    pub(crate) fn other(who: Who) -> Who {
        1 - who
    }

    pub(crate) fn who(&self, store: StoreId) -> Option<Who> {
        self.machines.iter().position(|machine| machine.store == store)
    }

    pub(crate) fn start(&mut self, who: Who) {
        let now = self.now;
        let machine = &mut self.machines[who];
        if machine.process.is_some() {
            return;
        }
        machine.lives += 1;
        machine.process = Process::start(&machine.disk, machine.session, machine.lives, now);
        let life = machine.lives;
        if machine.process.is_none() {
            machine.disk.kill();
            return self.after(1_000, Event::Start(who));
        }
        self.read_config(who);
        self.after(TICK, Event::Tick(who, life));
    }

    /// The process is gone; what it sent is under way, what it was to be sent is lost.
    pub(crate) fn end(&mut self, who: Who) {
        drop(self.machines[who].process.take());
        self.machines[who].paused_until = 0;
        self.hang_up_all();
        self.after(1_000, Event::Start(who));
    }

    pub(crate) fn kill(&mut self, who: Who) {
        self.machines[who].disk.kill();
        self.end(who);
    }

    pub(crate) fn cut_power(&mut self, who: Who) {
        self.machines[who].disk.cut_power();
        self.machines[who].session.0 += 1;
        self.end(who);
    }

    /// Gives the replica an input and does what it says.
    pub(crate) fn step(&mut self, who: Who, input: Input) {
        self.step_with(who, input, &Bytes::new());
    }

    pub(crate) fn step_with(&mut self, who: Who, input: Input, frames: &Bytes) {
        let Some(process) = &mut self.machines[who].process else { return };
        let life = process.life;
        let mut effects = Vec::new();
        process.replica.step(input, &mut effects);
        for effect in effects {
            if self.is(who, life) {
                self.carry_out(who, effect, frames);
            }
        }
    }

    pub(crate) fn carry_out(&mut self, who: Who, effect: Effect, frames: &Bytes) {
        let now = self.now;
        let Some(process) = &mut self.machines[who].process else { return };
        let life = process.life;
        match effect {
            Effect::ReadConfig => self.read_config(who),
            Effect::Propose(id, config) => {
                let delay = self.jitter(1, 40);
                self.after(delay, Event::Put(who, life, id, config));
            }
            Effect::Promise(epoch) => match process.log.promise(epoch) {
                Ok(()) => self.step(who, Input::Promised(epoch)),
                Err(error) => self.log_failed(who, &error),
            },
            Effect::Begin(epoch) => match process.begin(epoch, now) {
                Ok(begin) => self.appended(who, vec![begin]),
                Err(error) => self.log_failed(who, &error),
            },
            Effect::Follow(master) => {
                process.master_silent_since.get_or_insert(now);
                let delay = self.jitter(1, 10);
                self.after(delay, Event::Connect(who, life, master));
            }
            Effect::Store => match process.store(frames) {
                Ok(begins) => self.appended(who, begins),
                Err(error) => self.log_failed(who, &error),
            },
            Effect::Truncate(to) => {
                let Some(process) = self.machines[who].process.take() else { return };
                self.machines[who].process = process.truncate(&self.machines[who].disk, to);
                if self.machines[who].process.is_some() {
                    self.step(who, Input::Truncated(to));
                } else {
                    self.kill(who);
                }
            }
            Effect::Install => unreachable!("nothing is dropped from the log here"),
            Effect::Send(link, message) => self.post(who, link, Packet::Message(message, Bytes::new())),
            Effect::Ship(link, from) => {
                process.ships.insert(link, from);
                self.ship(who);
            }
            Effect::Committed(lsn) => self.let_out(who, lsn),
            Effect::Hangup(link) => self.hang_up(link),
            Effect::StepDown => self.restart(who),
            Effect::HandedOver => {
                process.hand_over();
                self.hang_up_all();
            }
            Effect::Halt(halt) => panic!("machine {who} halted: {halt}"),
        }
    }

    /// The same process begins anew from its log, as a deposed master does.
    pub(crate) fn restart(&mut self, who: Who) {
        drop(self.machines[who].process.take());
        self.hang_up_all();
        self.start(who);
    }

    pub(crate) fn log_failed(&mut self, who: Who, error: &WriteError) {
        assert!(error.is_fatal(), "{error}");
        // The first failure ends the process.
        self.kill(who);
    }

    pub(crate) fn appended(&mut self, who: Who, begins: Vec<rq_core::replication::EpochStart>) {
        let delay = self.jitter(0, 4);
        let Some(process) = &mut self.machines[who].process else { return };
        let (end, life) = (process.log.end(), process.life);
        if !std::mem::replace(&mut process.flush_due, true) {
            self.after(delay, Event::Flush(who, life));
        }
        self.step(who, Input::Appended { end, begins });
        self.ship(who);
    }

    pub(crate) fn flush(&mut self, who: Who) {
        let Some(process) = &mut self.machines[who].process else { return };
        process.flush_due = false;
        match process.log.sync() {
            Ok(durable) => self.step(who, Input::Flushed(durable)),
            Err(error) => self.log_failed(who, &error),
        }
    }

    pub(crate) fn tick(&mut self, who: Who) {
        let now = self.now;
        let Some(process) = &mut self.machines[who].process else { return };
        let life = process.life;
        self.after(TICK, Event::Tick(who, life));
        let Some(process) = &mut self.machines[who].process else { return };
        process.ticks += 1;
        let beat = process.ticks.is_multiple_of(HEARTBEAT_MS / TICK);
        for input in process.timers.tick(now, &process.replica) {
            self.step(who, input);
        }
        if beat {
            self.heartbeat(who);
            self.read_config(who);
        }
        if let Some(process) = &mut self.machines[who].process {
            let before = process.log.end();
            match process.request(now, None) {
                Ok(_) if process.log.end() > before => self.appended(who, Vec::new()),
                Ok(_) => {}
                Err(error) => return self.log_failed(who, &error),
            }
        }
        self.consider_taking_over(who);
    }

    /// Whether the cluster is whole: both in sync, same log, same state.
    pub(crate) fn whole(&self) -> Result<(), String> {
        if self.config.in_sync.len() != 2 {
            let replicas: Vec<_> =
                self.machines.iter().filter_map(|it| it.process.as_ref()).map(|it| &it.replica).collect();
            return Err(format!("{:?} of {:#?}", self.config, replicas));
        }
        let processes: Vec<_> = self.machines.iter().filter_map(|machine| machine.process.as_ref()).collect();
        let [one, two] = processes[..] else { return Err("a process is not running".to_owned()) };
        let all = |process: &Process| process.log.reader().frames(Lsn(0), usize::MAX).expect("readable");
        let all = |process: &Process| all(process).into_iter().map(|frame| frame.bytes).collect::<Vec<_>>();
        if all(one) != all(two) {
            return Err(format!("the logs differ, {} and {} bytes", one.log.end(), two.log.end()));
        }
        if one.state().hash() != two.state().hash() {
            return Err("the states differ over the same log".to_owned());
        }
        let stores: BTreeSet<_> = processes.iter().filter_map(|process| process.replica.serving()).collect();
        if stores.len() == 1 { Ok(()) } else { Err("nobody serves".to_owned()) }
    }
}

impl Event {
    /// Whose process it happens in.
    pub(crate) fn process(&self) -> Option<Who> {
        match self {
            Self::Tick(who, _)
            | Self::Flush(who, _)
            | Self::Read(who, ..)
            | Self::Answered(who, ..)
            | Self::Connect(who, ..)
            | Self::Packet(_, who, _) => Some(*who),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> u64 {
        match self {
            Self::Start(who) => *who as u64,
            Self::Tick(who, life) => 4 + *who as u64 + u64::from(*life << 8),
            Self::Flush(who, life) => 6 + *who as u64 + u64::from(*life << 8),
            Self::Read(who, _, config) => 8 + *who as u64 + (config.version << 8),
            Self::Put(who, _, _, config) => 10 + *who as u64 + (config.version << 8),
            Self::Answered(who, _, id, _) => 12 + *who as u64 + (id.0 << 8),
            Self::Connect(who, ..) => 14 + *who as u64,
            Self::Packet(link, who, _) => 16 + *who as u64 + (link.0 << 8),
            Self::Supervise => 18,
            Self::Promote(config) => 19 + (config.version << 8),
            Self::Client(client) => 20 + *client as u64,
            Self::Reply(ticket, ..) => 40 + (ticket.0 << 8),
            Self::Timeout(ticket) => 41 + (ticket.0 << 8),
            Self::Fault => 42,
        }
    }
}
