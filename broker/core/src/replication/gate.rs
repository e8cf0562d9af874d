//! Answers on their way out: each leaves when everything below the position it depends on is committed.

use std::collections::VecDeque;
use std::marker::PhantomData;

use super::{Guarded, Guards};
use crate::ids::Lsn;

/// Answers that wait for the commit, in the order of the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gate<T, G: Guards = Guarded> {
    waiting: VecDeque<(Lsn, T)>,
    guards: PhantomData<G>,
}

impl<T, G: Guards> Default for Gate<T, G> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), guards: PhantomData }
    }
}

impl<T, G: Guards> Gate<T, G> {
    /// Lets an answer wait for everything below `end`: where the log ended when it was given. `delivery` tells a
    /// delivery from the rest, for the model alone.
    pub fn wait(&mut self, end: Lsn, delivery: bool, answer: T) {
        let waits = if delivery { G::POPS_WAIT } else { G::ANSWERS_WAIT };
        if waits {
            self.waiting.push_back((end, answer));
        } else {
            self.waiting.push_front((Lsn(0), answer));
        }
    }

    /// Takes out one answer that may leave.
    pub fn pass(&mut self, commit: Lsn) -> Option<T> {
        let (_, answer) = self.waiting.pop_front_if(|(end, _)| *end <= commit)?;
        Some(answer)
    }

    /// Takes out all: their fate is unknown to a master that was deposed.
    pub fn clear(&mut self) -> impl Iterator<Item = T> {
        self.waiting.drain(..).map(|(_, answer)| answer)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
