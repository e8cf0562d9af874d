//! The world: machines with their processes, the network, the config store, the supervisor, and the order of events.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rq_core::config::{Config, Member};
use rq_core::ids::{Session, StoreId, Ticket};
use rq_core::queue::request::Retain;
use rq_core::replication::{Answer, Input, Link, ProposalId};
use rq_log::disk::simulated::SimulatedDisk;

use crate::clients::Clients;
use crate::housekeeping::Chore;
use crate::network::{Packet, Wire};
use crate::process::Process;
use crate::recover::store_of;

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
    /// Its disk was lost, and the new one is not in sync yet.
    pub(crate) lost_disk: bool,
}

pub(crate) enum Event {
    Start(Who),
    Tick(Who, u32),
    Flush(Who, u32),
    Chore(Who, u32, u32, Box<Chore>),
    Retain(Who, u32, u32, Box<Retain>),
    Read(Who, u32, Config),
    Put(Who, u32, ProposalId, Config),
    Answered(Who, u32, ProposalId, Answer),
    Connect(Who, u32, u32, StoreId),
    Packet(Link, Who, Packet),
    Supervise,
    /// The supervisor writes.
    Write(Config),
    Client(usize),
    Reply(Ticket, rq_core::queue::request::Answer, Who),
    Timeout(Ticket),
    Fault,
}

pub(crate) struct World {
    pub(crate) random: StdRng,
    pub(crate) now: u64,
    pub(crate) events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    pub(crate) machines: Vec<Machine>,
    pub(crate) config: Config,
    pub(crate) wires: BTreeMap<Link, Wire>,
    pub(crate) links: u64,
    /// From whom to whom nothing comes through.
    pub(crate) cut: BTreeSet<(Who, Who)>,
    pub(crate) clients: Clients,
    pub(crate) faults_until: u64,
    /// The flush mode goes from Sync to Async and back; then no copy may lose its power while another one lacks something.
    pub(crate) changes_flush_mode: bool,
    pub(crate) asked_for_mode: u64,
    /// Since when the supervisor gets no answer from the master.
    pub(crate) supervisor_silent_since: Option<u64>,
    /// Everything that happened, as a number: the same seed gives the same.
    pub(crate) trace: u64,
    pub(crate) promotions: u32,
    /// How often segments were dropped, a copy was begun, and a disk was lost.
    pub(crate) dropped: u64,
    pub(crate) installed: u32,
    pub(crate) disks_lost: u32,
    /// How often a master began to hand over, and the log another flush mode.
    pub(crate) switches: u32,
    pub(crate) modes: u32,
}

fn machine(random: &mut StdRng) -> Machine {
    let disk = SimulatedDisk::new(random.random());
    Machine {
        store: store_of(&disk),
        disk,
        session: Session(0),
        lives: 0,
        process: None,
        paused_until: 0,
        reaches_store: true,
        lost_disk: false,
    }
}

/// What people call a machine: its new disk has another store under the same name.
pub(crate) fn member(who: Who) -> Member {
    Member { name: format!("machine-{who}"), address: String::new() }
}

impl World {
    /// With two replicas or three, as the seed is even or odd, of which two must be in sync for producers if there are
    /// three. With two seeds of eight the flush mode changes.
    pub(crate) fn new(seed: u64, faults_until: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (replicas, min_in_sync) = if seed.is_multiple_of(2) { (2, 1) } else { (3, 2) };
        let machines: Vec<_> = (0..replicas).map(|_| machine(&mut random)).collect();
        let members =
            machines.iter().enumerate().map(|(who, machine)| (machine.store, member(who))).collect();
        let config = Config::form(machines[0].store, Session(0), members, min_in_sync);
        let mut world = Self {
            random,
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            machines,
            config,
            wires: BTreeMap::new(),
            links: 0,
            cut: BTreeSet::new(),
            clients: Clients::new(replicas),
            faults_until,
            changes_flush_mode: seed % 8 >= 6,
            asked_for_mode: 0,
            supervisor_silent_since: None,
            trace: 0,
            promotions: 0,
            dropped: 0,
            installed: 0,
            disks_lost: 0,
            switches: 0,
            modes: 0,
        };
        for who in 0..replicas {
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
            Event::Chore(who, life, opened, chore) if self.is(who, life) => {
                self.keep_house(who, opened, &chore);
            }
            Event::Retain(who, life, opened, retain) if self.is(who, life) => {
                self.decide_on_retention(who, opened, *retain);
            }
            Event::Read(who, life, config) if self.is(who, life) => self.reads(who, config),
            Event::Put(who, life, id, config) => self.put(who, life, id, config),
            Event::Answered(who, life, id, answer) if self.is(who, life) => {
                self.step(who, Input::Answered(id, answer));
            }
            Event::Connect(who, life, order, master) if self.is(who, life) => {
                self.connect(who, order, master);
            }
            Event::Packet(link, to, packet) => self.deliver(link, to, packet),
            Event::Supervise => self.supervise(),
            Event::Write(config) => self.write(config),
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
            | Event::Chore(..)
            | Event::Retain(..)
            | Event::Read(..)
            | Event::Answered(..)
            | Event::Connect(..) => {}
        }
    }

    pub(crate) fn is(&self, who: Who, life: u32) -> bool {
        self.machines[who].process.as_ref().is_some_and(|process| process.life == life)
    }

    pub(crate) fn who(&self, store: StoreId) -> Option<Who> {
        self.machines.iter().position(|machine| machine.store == store)
    }
}

impl Event {
    /// Whose process it happens in.
    pub(crate) fn process(&self) -> Option<Who> {
        match self {
            Self::Tick(who, _)
            | Self::Flush(who, _)
            | Self::Chore(who, ..)
            | Self::Retain(who, ..)
            | Self::Read(who, ..)
            | Self::Answered(who, ..)
            | Self::Connect(who, ..)
            | Self::Packet(_, who, _) => Some(*who),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> u64 {
        let of = |kind: u64, who: Who, which: u64| kind | (who as u64) << 5 | which << 8;
        match self {
            Self::Start(who) => of(1, *who, 0),
            Self::Tick(who, life) => of(2, *who, u64::from(*life)),
            Self::Flush(who, life) => of(3, *who, u64::from(*life)),
            Self::Chore(who, life, ..) => of(4, *who, u64::from(*life)),
            Self::Retain(who, _, _, retain) => of(5, *who, retain.below.0),
            Self::Read(who, _, config) => of(6, *who, config.version),
            Self::Put(who, _, _, config) => of(7, *who, config.version),
            Self::Answered(who, _, id, _) => of(8, *who, id.0),
            Self::Connect(who, ..) => of(9, *who, 0),
            Self::Packet(link, who, _) => of(10, *who, link.0),
            Self::Supervise => of(11, 0, 0),
            Self::Write(config) => of(12, 0, config.version),
            Self::Client(client) => of(13, *client, 0),
            Self::Reply(ticket, ..) => of(14, 0, ticket.0),
            Self::Timeout(ticket) => of(15, 0, ticket.0),
            Self::Fault => of(16, 0, 0),
        }
    }
}
