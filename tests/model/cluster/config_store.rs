//! The config store, and the writes on their way to it.

use rq_core::config::{self, Config};
use rq_core::replication::{Answer, Guards, Input, ProposalId};

use super::{Cluster, Who};

/// A write on its way to the config store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Put {
    pub(super) writer: Who,
    pub(super) life: u8,
    pub(super) id: ProposalId,
    pub(super) config: Config,
    /// The writer was told that nobody knows.
    pub(super) answered: bool,
}

impl<G: Guards> Cluster<G> {
    pub(super) fn store(&mut self, config: Config) {
        self.older = Some(std::mem::replace(&mut self.config, config));
    }

    pub(super) fn put(&mut self, number: usize, answered: bool) {
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

    pub(super) fn answer(&mut self, number: usize, answer: Answer) {
        let put = &mut self.puts[number];
        if !std::mem::replace(&mut put.answered, true) {
            let (writer, life, id) = (put.writer, put.life, put.id);
            if self.nodes[writer].life == life {
                self.step(writer, Input::Answered(id, answer));
            }
        }
    }
}
