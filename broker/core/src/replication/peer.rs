//! What a master knows of a slave.

use super::{Link, Phase};
use crate::ids::{Lsn, Session};

/// A slave as its master knows it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Peer {
    /// Its link, while it has one.
    pub link: Option<Link>,
    /// Its session.
    pub session: Session,
    /// Everything below is written there, as it said in this epoch.
    pub received: Lsn,
    /// Everything below is flushed there, as it said in this epoch.
    pub durable: Lsn,
    /// Whether it gets frames.
    pub phase: Phase,
}
