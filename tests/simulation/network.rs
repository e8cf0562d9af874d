//! Links between the machines: what is sent keeps its order, and what is lost takes with it all that comes after.

use bytes::Bytes;
use rq_core::failover;
use rq_core::ids::{Lsn, StoreId};
use rq_core::replication::{Input, Link, Message};

use crate::process::Queues;
use crate::world::{Event, Packet, Who, Wire, World};

impl World {
    pub(crate) fn connect(&mut self, who: Who, master: StoreId) {
        let old: Vec<Link> =
            self.wires.iter().filter(|(_, wire)| wire.slave == who).map(|(link, _)| *link).collect();
        for link in old {
            self.wires.remove(&link);
            self.step(Self::other(who), Input::Disconnected(link));
        }
        let (now, other) = (self.now, Self::other(who));
        let there = self.machines[other].store == master && self.machines[other].process.is_some();
        let connected = self.machines.iter().all(|machine| machine.reaches_peer);
        let Some(process) = &mut self.machines[who].process else { return };
        let life = process.life;
        if !connected || !there {
            if connected {
                process.master_refused.push(now);
            }
            return self.after(failover::RECONNECT_MS, Event::Connect(who, life, master));
        }
        self.links += 1;
        let link = Link(self.links);
        self.wires.insert(link, Wire { slave: who, arrivals: [now; 2], lost: [false; 2] });
        self.step(who, Input::Connected(link));
        if let Some(process) = &self.machines[who].process {
            let hello = process.replica.hello();
            self.post(who, link, Packet::Hello(hello));
        }
    }

    pub(crate) fn post(&mut self, who: Who, link: Link, packet: Packet) {
        let delay = self.jitter(0, 5);
        let (now, reaches) = (self.now, self.machines[who].reaches_peer);
        let Some(wire) = self.wires.get_mut(&link) else { return };
        let (to, way) = if wire.slave == who { (Self::other(who), 0) } else { (wire.slave, 1) };
        wire.lost[way] |= !reaches;
        if !wire.lost[way] {
            let at = (now + delay).max(wire.arrivals[way]);
            wire.arrivals[way] = at;
            self.after(at - now, Event::Packet(link, to, packet));
        }
    }

    pub(crate) fn hang_up(&mut self, link: Link) {
        if let Some(wire) = self.wires.remove(&link) {
            self.step(Self::other(wire.slave), Input::Disconnected(link));
            self.step(wire.slave, Input::Disconnected(link));
        }
    }

    pub(crate) fn hang_up_all(&mut self) {
        let links: Vec<Link> = self.wires.keys().copied().collect();
        for link in links {
            self.hang_up(link);
        }
    }

    pub(crate) fn ship(&mut self, who: Who) {
        let Some(process) = &mut self.machines[who].process else { return };
        let Some(epoch) = process.replica.leading() else { return };
        let commit = process.replica.commit();
        let links: Vec<(Link, Lsn)> = process.ships.iter().map(|(link, from)| (*link, *from)).collect();
        for (link, from) in links {
            if !self.wires.contains_key(&link) {
                self.machines[who].process.as_mut().map(|process| process.ships.remove(&link));
                continue;
            }
            let Some(process) = &mut self.machines[who].process else { return };
            if let Some(bytes) = process.shipment(from) {
                let end = process.frames_end(from, &bytes);
                process.ships.insert(link, end);
                self.post(who, link, Packet::Message(Message::Frames { epoch, from, end, commit }, bytes));
            }
        }
    }

    pub(crate) fn deliver(&mut self, link: Link, to: Who, packet: Packet) {
        let now = self.now;
        if !self.wires.contains_key(&link) {
            return;
        }
        let from = self.machines[Self::other(to)].store;
        let Some(process) = &mut self.machines[to].process else { return };
        process.timers.heard(from, now);
        if matches!(&process.queues, Queues::Slave(_)) {
            process.master_silent_since = Some(now);
            process.master_refused.clear();
        }
        match packet {
            Packet::Hello(hello) => self.step(to, Input::Greeted(link, hello)),
            Packet::Message(message, frames) => self.step_with(to, Input::Message(link, message), &frames),
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
