//! Links between the machines: what is sent keeps its order, and what is lost takes with it all that comes after.

use bytes::Bytes;
use rq_core::failover;
use rq_core::ids::{Lsn, StoreId};
use rq_core::replication::{Effect, Hello, Input, Link, Message, Phase};
use rq_log::{Snapshot, SnapshotHead};

use crate::recover::{CLUSTER, SHARD};
use crate::world::{Event, Who, World};

/// Bytes of a checkpoint that are sent at once.
const SNAPSHOT_PART: usize = 4 << 10;
/// Operations of a disk within which the machine may fail that begins a copy, and how often of a hundred it does.
const INSTALLING: u64 = 25;
const FAILS_INSTALLING: u32 = 20;

pub(crate) enum Packet {
    Hello(Hello),
    Message(Message, Bytes),
    /// A slave wants the master's newest checkpoint.
    Fetch,
    Head(SnapshotHead),
    /// A slave has all parts before this position.
    Next(u64),
    Part(Bytes),
}

pub(crate) struct Wire {
    pub(crate) slave: Who,
    pub(crate) master: Who,
    /// When the last packet each way arrives: they keep their order.
    pub(crate) arrivals: [u64; 2],
    /// A packet was lost on this way: nothing comes after it.
    pub(crate) lost: [bool; 2],
}

impl World {
    pub(crate) fn connect(&mut self, who: Who, order: u32, master: StoreId) {
        if self.machines[who].process.as_ref().is_none_or(|process| process.orders != order) {
            return;
        }
        let old: Vec<Link> =
            self.wires.iter().filter(|(_, wire)| wire.slave == who).map(|(link, _)| *link).collect();
        for link in old {
            if let Some(wire) = self.wires.remove(&link) {
                self.step(wire.master, Input::Disconnected(link));
            }
        }
        let there = self.who(master).filter(|there| self.machines[*there].process.is_some());
        let connected = there.is_none_or(|there| !self.is_cut(who, there) && !self.is_cut(there, who));
        let now = self.now;
        let Some(process) = &mut self.machines[who].process else { return };
        let life = process.life;
        let Some(there) = there.filter(|_| connected) else {
            if connected {
                process.watch.is_refused(now);
            }
            return self.after(failover::RECONNECT_MS, Event::Connect(who, life, order, master));
        };
        self.links += 1;
        let link = Link(self.links);
        self.wires.insert(link, Wire { slave: who, master: there, arrivals: [now; 2], lost: [false; 2] });
        self.step(who, Input::Connected(link));
        if let Some(process) = &self.machines[who].process {
            let hello = process.replica.hello();
            self.post(who, link, Packet::Hello(hello));
        }
    }

    fn is_cut(&self, from: Who, to: Who) -> bool {
        self.cut.contains(&(from, to))
    }

    pub(crate) fn post(&mut self, who: Who, link: Link, packet: Packet) {
        let delay = self.jitter(0, 5);
        let now = self.now;
        let Some(wire) = self.wires.get_mut(&link) else { return };
        let (to, way) = if wire.slave == who { (wire.master, 0) } else { (wire.slave, 1) };
        wire.lost[way] |= self.cut.contains(&(who, to));
        if !wire.lost[way] {
            let at = (now + delay).max(wire.arrivals[way]);
            wire.arrivals[way] = at;
            self.after(at - now, Event::Packet(link, to, packet));
        }
    }

    pub(crate) fn hang_up(&mut self, link: Link) {
        if let Some(wire) = self.wires.remove(&link) {
            self.step(wire.master, Input::Disconnected(link));
            self.step(wire.slave, Input::Disconnected(link));
        }
    }

    /// Ends the links of a machine, or all.
    pub(crate) fn hang_up_all(&mut self, of: Option<Who>) {
        let ends = |wire: &Wire| of.is_none_or(|who| who == wire.master || who == wire.slave);
        let links: Vec<Link> =
            self.wires.iter().filter(|(_, wire)| ends(wire)).map(|(link, _)| *link).collect();
        for link in links {
            self.hang_up(link);
        }
    }

    pub(crate) fn ship(&mut self, who: Who) {
        let Some(process) = &mut self.machines[who].process else { return };
        let Some(epoch) = process.replica.leading() else { return };
        let commit = process.replica.commit();
        let (wires, ships) = (&self.wires, &mut process.ships);
        ships.retain(|link, _| wires.contains_key(link));
        let links: Vec<(Link, Lsn)> = ships.iter().map(|(link, from)| (*link, *from)).collect();
        for (link, from) in links {
            let Some(process) = &mut self.machines[who].process else { return };
            match process.shipment(from) {
                Ok(None) => {}
                Ok(Some((bytes, end))) => {
                    process.ships.insert(link, end);
                    let frames = Message::Frames { epoch, from, end, commit };
                    self.post(who, link, Packet::Message(frames, bytes));
                }
                // It was dropped since the slave was welcomed, or the disk fails: the slave greets again.
                Err(_) => self.hang_up(link),
            }
        }
    }

    pub(crate) fn deliver(&mut self, link: Link, to: Who, packet: Packet) {
        let now = self.now;
        let Some(wire) = self.wires.get(&link) else { return };
        let from = self.machines[if wire.slave == to { wire.master } else { wire.slave }].store;
        let Some(process) = &mut self.machines[to].process else { return };
        process.timers.heard(from, now);
        if process.replica.following() == Some(from) {
            process.watch.hears(now);
        }
        match packet {
            Packet::Hello(hello) => self.step(to, Input::Greeted(link, hello)),
            Packet::Message(message, frames) => self.step_with(to, Input::Message(link, message), &frames),
            Packet::Fetch => self.serve_snapshot(to, link),
            Packet::Next(at) => self.serve_part(to, link, at),
            Packet::Head(head) => {
                process.fetched = Some((link, head, Vec::new()));
                self.post(to, link, Packet::Next(0));
            }
            Packet::Part(bytes) => self.take_part(to, link, &bytes),
        }
    }

    pub(crate) fn heartbeat(&mut self, who: Who) {
        let Some(process) = &self.machines[who].process else { return };
        let Some(epoch) = process.replica.leading() else { return };
        let commit = process.replica.commit();
        let links: Vec<Link> = process.replica.peers().filter_map(|(_, peer)| peer.link).collect();
        for link in links {
            self.post(who, link, Packet::Message(Message::Heartbeat { epoch, commit }, Bytes::new()));
        }
    }
}

impl World {
    /// A slave is to begin a copy: it fetches a checkpoint over its link.
    pub(crate) fn fetch_snapshot(&mut self, who: Who) {
        let link = self.wires.iter().find(|(_, wire)| wire.slave == who).map(|(link, _)| *link);
        if let Some(link) = link {
            self.post(who, link, Packet::Fetch);
        }
    }

    fn serve_snapshot(&mut self, who: Who, link: Link) {
        let Some(process) = &mut self.machines[who].process else { return };
        match process.log.reader().snapshot() {
            Ok(Some(file)) => {
                let head = file.head();
                process.snapshots.insert(link, file);
                self.post(who, link, Packet::Head(head));
            }
            // It asks again.
            Ok(None) | Err(_) => self.hang_up(link),
        }
    }

    fn serve_part(&mut self, who: Who, link: Link, at: u64) {
        let Some(process) = &self.machines[who].process else { return };
        let part = process.snapshots.get(&link).and_then(|file| file.read(at, SNAPSHOT_PART).ok());
        match part {
            Some(part) => self.post(who, link, Packet::Part(part)),
            None => self.hang_up(link),
        }
    }

    fn take_part(&mut self, who: Who, link: Link, bytes: &Bytes) {
        let Some(process) = &mut self.machines[who].process else { return };
        let Some((of, head, file)) = &mut process.fetched else { return };
        if *of != link {
            return;
        }
        file.extend_from_slice(bytes);
        if (file.len() as u64) < head.bytes {
            let at = file.len() as u64;
            return self.post(who, link, Packet::Next(at));
        }
        let snapshot =
            Snapshot::new(CLUSTER, SHARD, *head, std::mem::take(file)).expect("what was sent came whole");
        process.fetched = None;
        if process.replica.phase() == Some(Phase::Installing) {
            self.begin_copy(who, &snapshot);
        }
    }

    /// Replaces the log by the beginning of a copy. The machine may fail at any operation of that.
    fn begin_copy(&mut self, who: Who, snapshot: &Snapshot) {
        let (now, faulty) = (self.now, self.now < self.faults_until);
        if faulty && self.jitter(1, 100) <= u64::from(FAILS_INSTALLING) {
            let operations = self.jitter(0, INSTALLING);
            self.machines[who].disk.stop_after(operations);
        }
        let Some(process) = self.machines[who].process.take() else { return };
        match process.install(&self.machines[who].disk, snapshot, now) {
            Some((process, found)) => {
                self.installed += 1;
                self.machines[who].process = Some(process);
                self.step(who, Input::Installed(found));
            }
            None => self.log_failed(who),
        }
    }

    /// What the effects of a replica ask of the network.
    pub(crate) fn carry_over_network(&mut self, who: Who, effect: Effect) {
        match effect {
            Effect::Install => self.fetch_snapshot(who),
            Effect::Send(link, message) => self.post(who, link, Packet::Message(message, Bytes::new())),
            Effect::Ship(link, from) => {
                if let Some(process) = &mut self.machines[who].process {
                    process.ships.insert(link, from);
                    self.ship(who);
                }
            }
            Effect::Hangup(link) => self.hang_up(link),
            other => unreachable!("{other:?} is not for the network"),
        }
    }
}
