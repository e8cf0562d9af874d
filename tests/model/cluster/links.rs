//! The links between the nodes: what is under way on them, and their end.

use std::collections::VecDeque;

use rq_core::ids::Lsn;
use rq_core::replication::{Guards, Hello, Input, Link, Message};

use super::{Cluster, Who};
use crate::node::Entry;

/// A link from a slave to a master, with what is under way both ways.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Wire {
    pub(super) slave: Who,
    pub(super) up: VecDeque<Packet>,
    pub(super) down: VecDeque<Packet>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Packet {
    Hello(Hello),
    Message(Message, Vec<Entry>),
}

impl<G: Guards> Cluster<G> {
    pub(super) fn post(&mut self, who: Who, link: Link, packet: Packet) {
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

    pub(super) fn break_link(&mut self, link: Link) {
        if let Some(wire) = self.links.remove(&link) {
            self.step(Self::other(wire.slave), Input::Disconnected(link));
            self.step(wire.slave, Input::Disconnected(link));
        }
    }

    pub(super) fn break_all(&mut self) {
        let links: Vec<Link> = self.links.keys().copied().collect();
        for link in links {
            self.break_link(link);
        }
    }

    pub(super) fn deliver(&mut self, link: Link, up: bool, at: usize) {
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

    pub(super) fn ship(&mut self, link: Link) {
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
