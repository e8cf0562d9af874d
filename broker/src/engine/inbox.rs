//! Where requests wait for the log thread: many writers, one reader that takes all at once. What came while the
//! disk was flushing is the next batch.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rq_core::ids::{Lsn, Ticket};
use rq_core::queue::Shard;
use rq_core::queue::request::{Answer, Name, Request};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::EngineError;
use super::cluster::News;

/// The caller's end of a request.
pub(super) type Reply = oneshot::Sender<Result<Answer, EngineError>>;

/// A look at the shard, from the log thread; none if this replica is not the master.
pub(super) type View = Box<dyn FnOnce(Option<&Shard>) -> Seen + Send>;

/// What was seen, on its way to who looked.
pub(super) type Seen = Box<dyn FnOnce() + Send>;

/// Something for the log thread to do.
pub(super) enum Work {
    /// A request of a caller.
    Request {
        ticket: Ticket,
        request: Request,
        reply: Reply,
        /// The group of a receive: what was popped for a caller who left is taken back.
        group: Option<Name>,
        /// Its share of the bytes that may wait, given back once it was worked off.
        permit: OwnedSemaphorePermit,
    },
    /// A request of the engine itself; nobody waits for an answer.
    Internal(Request),
    /// The caller of a waiting receive left.
    Cancel(Ticket),
    /// From now on no request waits: who would is told that nothing was done.
    EndWaits,
    /// A look at the state.
    Inspect(View),
    /// Have all replicas hash their state; answered with the position that stands for it.
    Mark(oneshot::Sender<Result<Lsn, EngineError>>),
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<Work>,
    news: VecDeque<News>,
    closed: bool,
    /// The log thread sleeps and wants to be woken.
    idle: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.work.is_empty() && self.news.is_empty()
    }
}

/// The inbox.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

/// What the log thread takes at a time.
#[derive(Default)]
pub(super) struct Batch {
    /// In the order of their coming.
    pub(super) work: Vec<Work>,
    /// Likewise; they come first, for a commit among them lets answers out.
    pub(super) news: VecDeque<News>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.work.is_empty() && self.news.is_empty()
    }
}

/// Most requests of one batch: bounds the time until its first answer.
const BATCH_MAX: usize = 8192;
/// A batch ends with the request that reaches this many bytes: bounds what the log must have room for.
pub(super) const BATCH_BYTES: usize = 4 << 20;

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Self::Request { permit, .. } => permit.num_permits(),
            Self::Internal(_) | Self::Cancel(_) | Self::EndWaits | Self::Inspect(_) | Self::Mark(_) => 0,
        }
    }
}

impl Inbox {
    /// Hands in work; false once the inbox is closed.
    pub(super) fn push(&self, work: Work) -> bool {
        self.add(|waiting| waiting.work.push_back(work))
    }

    /// Hands in news; false once the inbox is closed.
    pub(super) fn tell(&self, news: News) -> bool {
        self.add(|waiting| waiting.news.push_back(news))
    }

    fn add(&self, add: impl FnOnce(&mut Waiting)) -> bool {
        let mut waiting = self.lock();
        if waiting.closed {
            return false;
        }
        add(&mut waiting);
        let idle = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if idle {
            self.arrived.notify_one();
        }
        true
    }

    /// Takes what is there into `batch`, waiting for some at most `timeout`. False: closed, and nothing is left.
    pub(super) fn take(&self, batch: &mut Batch, timeout: Option<Duration>) -> bool {
        let mut waiting = self.lock();
        if waiting.is_empty() && !waiting.closed && timeout != Some(Duration::ZERO) {
            waiting.idle = true;
            let idle = |waiting: &mut Waiting| waiting.is_empty() && !waiting.closed;
            waiting = match timeout {
                None => self.arrived.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner),
                Some(timeout) => {
                    let woken = self.arrived.wait_timeout_while(waiting, timeout, idle);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            waiting.idle = false;
        }
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && batch.work.len() < BATCH_MAX
            && let Some(work) = waiting.work.pop_front()
        {
            bytes += work.bytes();
            batch.work.push(work);
        }
        batch.news.append(&mut waiting.news);
        !(waiting.closed && batch.is_empty())
    }

    /// Takes nothing new from now on; what is in it is still worked off.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Whether the engine stops: what is proposed from now on is taken no more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds the lock can panic half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
