//! What a replica wants done.

use super::{Link, Message, ProposalId};
use crate::config::{Config, FlushPolicy};
use crate::ids::{Epoch, Lsn, StoreId};

/// What is to be done, in this order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    /// Read the newest configuration; give it as [`Input::Config`].
    ReadConfig,
    /// Store the configuration if the present version is `config.version - 1`.
    Propose(ProposalId, Config),
    /// Make durable that no older epoch is acted in; then [`Input::Promised`].
    Promise(Epoch),
    /// This replica is master: append the first record of the epoch, then [`Input::Appended`].
    Begin(Epoch),
    /// Append the record that says so; then [`Input::Appended`] and [`Input::FlushMode`].
    SetFlushPolicy(FlushPolicy),
    /// Connect to the master and say [`Replica::hello`]; drop the link there was.
    Follow(StoreId),
    /// Append the frames that came with the message; then [`Input::Appended`] and, flushed, [`Input::Flushed`].
    Store,
    /// Cut off everything from here on, durably; then [`Input::Truncated`].
    Truncate(Lsn),
    /// Fetch the master's checkpoint and replace the log by an empty one that starts where the master's does; then
    /// [`Input::Installed`]. The frames come as they always do.
    Install,
    /// Send a message.
    Send(Link, Message),
    /// Send frames from here up to the end of the log, and go on with what is appended.
    Ship(Link, Lsn),
    /// Everything below is committed: answers that wait for it leave.
    Committed(Lsn),
    /// Close the link.
    Hangup(Link),
    /// This replica is master no more: answer what waits with "unknown", forget the state, recover from the log, and go
    /// on with a new [`Replica`].
    StepDown,
    /// This replica is master no more, and all that its log holds is committed: answer what waits with "unknown", close
    /// the links to slaves, and go on with the state as it is.
    HandedOver,
    /// This replica must not go on: see the reason.
    Halt(Halt),
}

/// Why a replica stops for good.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Halt {
    /// The master asks to cut off what was committed. Somebody accepted data loss, or this is a fault of ours.
    #[error(
        "the master of epoch {epoch} has a log that lacks what is committed here: {to} lies below {commit}; \
         if data loss was accepted, empty this data directory so that the replica copies the master"
    )]
    CommittedLost {
        /// The epoch of that master.
        epoch: Epoch,
        /// Where the logs part.
        to: Lsn,
        /// What is committed here.
        commit: Lsn,
    },
    /// Its state is not what the master's was at the same place of the log: a fault of ours, or of this machine's memory.
    #[error(
        "the state of this replica is not the master's at {at} of the log, though the log is the same: it takes no part \
         any more; once it is out of the in-sync set it copies the master anew"
    )]
    StateDiffers {
        /// The mark at which they were compared.
        at: Lsn,
    },
    /// It was to be master with the beginning of a copy: its state stands for more than its log has.
    #[error(
        "this replica was to be master while it was being copied: its log ends at {end} and is whole from {commit} on; \
         let another one be master, or empty this data directory"
    )]
    Incomplete {
        /// Where its log ends.
        end: Lsn,
        /// Where its checkpoint stands.
        commit: Lsn,
    },
    /// The master's log says what this release does not understand: it is neither skipped nor guessed at.
    #[error(
        "a record of the master at {at} cannot be applied: update this broker to the master's release; what it has \
         stored so far is kept"
    )]
    Unreadable {
        /// The frame that the record lies in.
        at: Lsn,
    },
}
