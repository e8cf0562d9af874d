//! What must hold in every state.

use rq_core::config::FlushMode;
use rq_core::replication::Guards;

use crate::cluster::Cluster;
use crate::node::{Entry, Node, What, has};

impl<G: Guards> Cluster<G> {
    /// The logs that the next master could have, as far as they survive whatever happens to it, and that of a master that
    /// serves in the newest epoch.
    fn promotable(&self) -> impl Iterator<Item = &[Entry]> {
        let able = |node: &&Node<G>| {
            let serving = node.process.as_ref().and_then(|process| process.replica.serving());
            self.config.may_lead(node.store, node.session) || serving == Some(self.config.epoch)
        };
        let log = |node| match self.config.flush_mode {
            FlushMode::Sync => Node::<G>::durable(node),
            // A loss of power makes it another replica, so what is written counts.
            FlushMode::Async => Node::<G>::written(node),
        };
        self.nodes.iter().filter(able).map(log)
    }

    fn everywhere(&self, what: What) -> bool {
        self.promotable().all(|log| has(log, what))
    }

    /// What a producer was told is stored, every possible master has. What waits is fired, recalled, ended or waits there
    /// still: the log says which.
    pub(crate) fn stored_is_everywhere(&self) -> bool {
        let kinds = [What::Message, What::Half, What::Delayed];
        let stored = |message: u8| kinds.iter().any(|kind| self.everywhere(kind(message)));
        self.clients.stored.iter().all(|message| stored(*message))
    }

    /// The end of a transaction that somebody was told of, every possible master has, and nobody was told of the other end.
    pub(crate) fn ended_is_everywhere(&self) -> bool {
        let ended = &self.clients.ended;
        ended.iter().all(|(message, commit)| {
            self.everywhere(What::End(*message, *commit)) && !ended.contains(&(*message, !commit))
        })
    }

    /// A delayed message whose recall somebody was told of, is recalled and not visible for every possible master, and it was
    /// never delivered, before or after.
    pub(crate) fn recalled_is_everywhere(&self) -> bool {
        let recalled =
            |log: &[Entry], message| has(log, What::Recall(message)) && !has(log, What::Fire(message));
        self.clients.recalled.iter().all(|message| {
            self.promotable().all(|log| recalled(log, *message)) && !self.clients.delivered.contains(message)
        })
    }

    /// What was delivered was committed, with the record of its delivery.
    pub(crate) fn delivered_is_everywhere(&self) -> bool {
        let stored =
            |message| self.everywhere(What::Message(message)) || self.everywhere(What::Delayed(message));
        let delivered = &self.clients.delivered;
        delivered.iter().all(|message| stored(*message) && self.everywhere(What::Pop(*message)))
    }

    /// A delayed message was not delivered before the record that its time had come was committed.
    pub(crate) fn fired_is_everywhere(&self) -> bool {
        let fired = |message| self.everywhere(What::Message(message)) || self.everywhere(What::Fire(message));
        self.clients.delivered.iter().all(|message| fired(*message))
    }

    /// What a consumer was told is acked, is acked for every possible master, and never came back.
    pub(crate) fn acked_is_everywhere(&self) -> bool {
        !self.clients.acked_came_back
            && self.clients.acked.iter().all(|message| self.everywhere(What::Ack(*message)))
    }

    /// An entry of the same epoch at the same place has the same log before it.
    pub(crate) fn logs_match(&self) -> bool {
        let [one, two] = &self.nodes;
        let (one, two) = (&one.disk.log, &two.disk.log);
        let newest = (0..one.len().min(two.len())).rev().find(|at| one[*at].epoch == two[*at].epoch);
        newest.is_none_or(|at| one[..=at] == two[..=at])
    }

    /// What two replicas know to be committed is the same as far as both go.
    pub(crate) fn commits_agree(&self) -> bool {
        let commit = |node: &Node<G>| {
            let known = node.process.as_ref().map_or(node.disk.commit, |process| process.replica.commit().0);
            (known as usize).min(node.disk.log.len())
        };
        let [one, two] = &self.nodes;
        let both = commit(one).min(commit(two));
        one.disk.log[..both] == two.disk.log[..both]
    }

    /// Nobody was asked to cut off what is committed.
    pub(crate) fn nobody_halted(&self) -> bool {
        !self.halted
    }

    /// Nobody leads in an epoch that he does not have by the config store.
    pub(crate) fn one_master_an_epoch(&self) -> bool {
        let leading = |node: &Node<G>| node.process.as_ref().and_then(|process| process.replica.leading());
        let [one, two] = &self.nodes;
        leading(one).is_none() || leading(one) != leading(two)
    }
}

impl<G: Guards> Node<G> {
    fn durable(&self) -> &[Entry] {
        self.disk.durable()
    }

    fn written(&self) -> &[Entry] {
        &self.disk.log
    }
}
