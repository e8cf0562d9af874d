//! The rules that keep messages, each as a constant that only the model checker switches off: it must then find the
//! history in which a message is lost.

use std::fmt::Debug;
use std::hash::Hash;

/// Which rules hold. What ships is [`Guarded`], which takes no room and has all of them.
pub trait Guards: Clone + Debug + Eq + Hash + 'static {
    /// While the fate of a change of the in-sync set is unknown, both sets count.
    const UNION: bool = true;
    /// An epoch is promised durably before anything is done in it.
    const PROMISE_FIRST: bool = true;
    /// Recovered bytes count once they were written and flushed anew.
    const RECOVERY_FLUSHES: bool = true;
    /// Only a newer version settles a proposal of unknown fate; seeing the old one does not.
    const NEWER_WRITE_SETTLES: bool = true;
    /// A restarted master takes a new epoch.
    const NEW_EPOCH: bool = true;
    /// In Async mode a replica in a new session is a new replica.
    const SESSIONS: bool = true;
    /// Answers wait until what they depend on is committed.
    const ANSWERS_WAIT: bool = true;
    /// Deliveries wait until their Pop is committed.
    const POPS_WAIT: bool = true;
}

/// All rules hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Guarded;

impl Guards for Guarded {}
