//! From the flush to the callers: the log thread hands over the answers of a batch in one piece, for it would be held up
//! by waking each caller itself.

use std::sync::Arc;

use rq_core::ids::Lsn;
use rq_core::queue::request::{Answer, Delivery, Name, Request, UndoPop};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::compare::Marked;
use super::inbox::{Inbox, Reply, Seen, Work};
use super::log_thread::Chore;

/// What waits for the commit.
pub(super) enum Held {
    /// An answer.
    Answer(Release),
    /// What somebody saw of the shard: people are shown what is committed.
    View(Seen),
    /// The state at a mark, for the housekeeping thread to hash.
    Hash(Marked),
}

/// What waits for the commit and for the flush here.
pub(super) enum Later {
    /// The log may begin here.
    Drop(Lsn),
    /// Work for the housekeeping thread.
    Chore(Box<Chore>),
}

/// An answer and who waits for it.
pub(super) struct Release {
    pub(super) reply: Reply,
    /// The group of a receive.
    pub(super) group: Option<Name>,
    pub(super) answer: Answer,
}

/// Where the log thread leaves committed answers. Not bounded: there is one for each caller that waits, and those are.
pub(super) struct Releases(UnboundedSender<Vec<Release>>);

impl Releases {
    /// Begins to let answers out, on the runtime of the caller, until this is dropped.
    pub(super) fn start(inbox: Arc<Inbox>) -> Self {
        let (releases, committed) = mpsc::unbounded_channel();
        tokio::spawn(let_out(committed, inbox));
        Self(releases)
    }

    /// Hands over answers; all they depend on must be committed.
    pub(super) fn send(&self, releases: Vec<Release>) {
        if !releases.is_empty() {
            // Without its runtime nobody waits for an answer.
            let _ = self.0.send(releases);
        }
    }
}

async fn let_out(mut committed: UnboundedReceiver<Vec<Release>>, inbox: Arc<Inbox>) {
    while let Some(releases) = committed.recv().await {
        for Release { reply, group, answer } in releases {
            if let Err(Ok(Answer::Receive(Ok(deliveries)))) = reply.send(Ok(answer))
                && let Some(group) = group
                && !deliveries.is_empty()
            {
                inbox.push(Work::Internal(undo(group, &deliveries)));
            }
        }
    }
}

/// Takes back what was delivered to a caller who has left.
pub(super) fn undo(group: Name, deliveries: &[Delivery]) -> Request {
    let handles = deliveries.iter().map(Delivery::handle).collect();
    Request::UndoPop(UndoPop { group, handles })
}
