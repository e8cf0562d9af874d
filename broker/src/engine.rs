//! The engine: one shard with its log thread. Requests go in, answers come out when their records are committed.

mod clock;
pub mod cluster;
pub mod compare;
mod effects;
mod figures;
mod frames;
mod housekeeping;
mod inbox;
mod log_thread;
mod member;
mod queues;
pub(crate) mod read;
mod recover;
mod release;
mod start;
mod waiting;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use rq_core::ids::{Lsn, ShardId, StoreId, Ticket};
use rq_core::queue::idle::IdleGroup;
use rq_core::queue::request::{
    Ack, Answer, ChangeInvisible, ChangeInvisibleError, Check, Checked, ConsumeError, CreateGroup,
    CreateGroupError, CreateTopic, CreateTopicError, DeadLetterError, Delivery, EndTransaction,
    EndTransactionError, ForwardToDeadLetters, GroupNotFound, GroupView, Name, PurgeDeadLetters, Recall,
    RecallError, Receive, ReceiveError, ReplayDeadLetters, Request, ResetOffset, ResetOffsetError, Send,
    SendError, Sent, StaleHandle, Subscribe, TakeChecks, TopicNotFound, TopicOnUseError, TopicView, UndoPop,
    UpdateGroup,
};
use rq_core::replication::Link;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use self::cluster::{Following, News, Progress, ReplicaView};
use self::compare::Hashes;
use self::figures::Published;
pub use self::figures::{FLUSH_BUCKETS_US, Figures, ScrubFigures};
pub use self::housekeeping::IDLE_GROUPS_MAX;
use self::inbox::{Inbox, Seen, Work};
use self::member::CurrentReader;
pub use self::read::ReadMessageError;
use self::read::Suspect;
pub use self::recover::RecoverError;
use self::release::undo;
pub use self::start::{EngineOptions, StartError};
use thiserror::Error;

/// A handle on the engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    inbox: Arc<Inbox>,
    /// Bytes of requests that may wait.
    room: Arc<Semaphore>,
    room_bytes: usize,
    /// Most bytes of a send: it is one record, which must fit into a frame and a segment.
    record_bytes_max: usize,
    next_ticket: AtomicU64,
    next_link: AtomicU64,
    /// Bytes of the master's frames that may wait.
    receive_room: Arc<Semaphore>,
    reader: CurrentReader,
    /// Whoever repairs the log, if anybody does.
    suspects: OnceLock<mpsc::Sender<Suspect>>,
    published: Arc<Published>,
    identity: Identity,
    progress: watch::Receiver<Progress>,
    following: watch::Receiver<Option<Following>>,
    view: watch::Receiver<ReplicaView>,
    hashes: watch::Receiver<Hashes>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Whose log it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: String,
    /// The shard.
    pub shard: ShardId,
    /// The store: random, made when the data directory was formatted.
    pub store_id: StoreId,
}

/// Why the engine gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EngineError {
    /// Too much waits for the disk already. Nothing was done.
    #[error("the broker is overloaded: nothing was done, try again later")]
    Overloaded,
    /// The messages of one send are too many bytes for one record. Nothing was done.
    #[error(
        "the messages of one send come to {bytes} bytes, more than {limit}: send them in smaller batches"
    )]
    TooLarge {
        /// What they come to, encoded.
        bytes: usize,
        /// The limit: of a record, or of a segment where that is smaller.
        limit: usize,
    },
    /// This replica is not the master. Nothing was done.
    #[error("this replica is not the master: nothing was done, ask the master")]
    NotMaster,
    /// Fewer copies are in sync than producers are to have. Nothing was done.
    #[error(
        "fewer copies are in sync than minInSync demands: nothing was done, try again when a replica is back"
    )]
    TooFewInSync,
    /// The broker stops. Nothing was done.
    #[error("the broker is stopping: nothing was done, try again")]
    Stopping,
    /// The log failed or the mastership ended after the request was taken: what it asked for may have happened or not.
    #[error("the broker failed or lost its mastership: the request may or may not have been carried out")]
    Unknown,
}

/// How long a request waits for room before it is refused as overload.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// What a request counts for besides its messages, in bytes.
const REQUEST_BYTES: usize = 256;

impl Engine {
    /// Hands in a request and waits until its answer is committed. Dropping the future of a receive that waits, or of a
    /// gateway's wait for checks, cancels it; what was popped for it meanwhile is taken back, and checks that were taken
    /// go to another one after a while. Any other request is carried out even if its future is dropped.
    pub async fn request(&self, request: Request) -> Result<Answer, EngineError> {
        let permit = self.room(&request).await?;
        let ticket = Ticket(self.shared.next_ticket.fetch_add(1, Ordering::Relaxed));
        let group = match &request {
            Request::Receive(receive) => Some(Arc::clone(&receive.group)),
            _ => None,
        };
        let (reply, answer) = oneshot::channel();
        let waits = matches!(request, Request::Receive(_) | Request::TakeChecks(_));
        let waiting = waits.then(|| Waiting { engine: self, ticket, group: group.clone() });
        if !self.shared.inbox.push(Work::Request { ticket, request, reply, group, permit }) {
            return Err(EngineError::Stopping);
        }
        match waiting {
            None => answer.await.unwrap_or(Err(EngineError::Unknown)),
            Some(waiting) => Abandonable { answer, waiting: Some(waiting) }.await,
        }
    }

    /// Looks at the shard's state from the log thread. Keep it short: it holds up everything else.
    pub async fn inspect<T: std::marker::Send + 'static>(
        &self,
        view: impl FnOnce(&rq_core::queue::Shard) -> T + std::marker::Send + 'static,
    ) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        let view = Box::new(move |shard: Option<&rq_core::queue::Shard>| -> Seen {
            let seen = shard.map(view).ok_or(EngineError::NotMaster);
            Box::new(move || drop(reply.send(seen)))
        });
        if !self.shared.inbox.push(Work::Inspect(view)) {
            return Err(EngineError::Stopping);
        }
        answer.await.unwrap_or(Err(EngineError::Stopping))
    }

    /// Has every replica hash its state as of one position in the log, and tells that position once it is committed.
    pub async fn mark(&self) -> Result<Lsn, EngineError> {
        let (reply, answer) = oneshot::channel();
        if !self.shared.inbox.push(Work::Mark(reply)) {
            return Err(EngineError::Stopping);
        }
        answer.await.unwrap_or(Err(EngineError::Unknown))
    }

    /// What the state of this replica hashed to at the newest marks.
    pub fn hashes(&self) -> watch::Receiver<Hashes> {
        self.shared.hashes.clone()
    }

    /// From now on no request waits for anything: receives that do, and later ones that would, are answered
    /// [`EngineError::Stopping`], which is to say that nothing was done. Those that have got something get it when it is
    /// committed.
    pub fn end_waits(&self) {
        // A closed inbox: the engine stops, and lets them go by itself.
        let _ = self.shared.inbox.push(Work::EndWaits);
    }

    /// Takes no more requests, works off what it has, closes the log. Answers [`EngineError::Stopping`] to
    /// receives that still wait. Returns when the data directory is free, but for reads that are under way.
    pub async fn stop(&self) {
        self.shared.inbox.close();
        let threads =
            std::mem::take(&mut *self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().try_for_each(JoinHandle::join)).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("a thread of the engine panicked");
        }
        // A reader holds the lock of the directory, and others may keep this engine for longer.
        *self.shared.reader.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The figures of the moment.
    pub fn figures(&self) -> Figures {
        self.shared.published.figures()
    }

    /// Tells what the scrub has found so far.
    pub(crate) fn tell_scrub(&self, scrub: ScrubFigures) {
        self.shared.published.scrubbed(scrub);
    }

    /// The groups that owe messages and have not consumed for long, as of the newest look at what can be dropped;
    /// whoever keeps most of the log comes first. At most [`IDLE_GROUPS_MAX`].
    pub fn idle_groups(&self) -> Arc<[Arc<IdleGroup>]> {
        self.shared.published.idle_groups()
    }

    /// Whose log it is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// Whether this broker is a member of a cluster, what it is there, and who is the master.
    pub fn view(&self) -> watch::Receiver<ReplicaView> {
        self.shared.view.clone()
    }

    /// Whom this replica is to follow.
    pub fn following(&self) -> watch::Receiver<Option<Following>> {
        self.shared.following.clone()
    }

    /// How far the log is.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.clone()
    }

    /// Says what happened in the cluster; false once the engine stops.
    pub fn tell(&self, news: News) -> bool {
        self.shared.inbox.tell(news)
    }

    /// A number for a new link.
    pub fn next_link(&self) -> Link {
        Link(self.shared.next_link.fetch_add(1, Ordering::Relaxed))
    }

    /// Bytes of the master's frames that may still wait for the disk.
    pub fn receive_room(&self) -> Arc<Semaphore> {
        Arc::clone(&self.shared.receive_room)
    }

    /// Waits for room among the requests that wait for the disk.
    async fn room(&self, request: &Request) -> Result<OwnedSemaphorePermit, EngineError> {
        let bytes = match request {
            Request::Send(send) => {
                send.messages.iter().map(|message| message.content.len() + REQUEST_BYTES).sum()
            }
            _ => REQUEST_BYTES,
        };
        if matches!(request, Request::Send(_)) && bytes > self.shared.record_bytes_max {
            return Err(EngineError::TooLarge { bytes, limit: self.shared.record_bytes_max });
        }
        let permits = u32::try_from(bytes.min(self.shared.room_bytes)).unwrap_or(u32::MAX);
        if let Ok(permit) = Arc::clone(&self.shared.room).try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        let permit = Arc::clone(&self.shared.room).acquire_many_owned(permits);
        match tokio::time::timeout(ROOM_PATIENCE, permit).await {
            Ok(permit) => permit.map_err(|_| EngineError::Stopping),
            Err(_) => Err(EngineError::Overloaded),
        }
    }
}

/// A request that may wait long for its answer.
struct Waiting<'a> {
    engine: &'a Engine,
    ticket: Ticket,
    /// Of a receive.
    group: Option<Name>,
}

/// The answer to such a request, which its caller may stop waiting for.
struct Abandonable<'a> {
    answer: oneshot::Receiver<Result<Answer, EngineError>>,
    /// Taken when the answer has arrived.
    waiting: Option<Waiting<'a>>,
}

impl Future for Abandonable<'_> {
    type Output = Result<Answer, EngineError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.answer).poll(context));
        self.waiting = None;
        Poll::Ready(answer.unwrap_or(Err(EngineError::Unknown)))
    }
}

impl Drop for Abandonable<'_> {
    /// Cancels the request. Closing first decides the race with the log thread: either the answer is here and is
    /// taken back here, or the log thread finds the caller gone and takes it back there.
    fn drop(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        self.answer.close();
        let inbox = &waiting.engine.shared.inbox;
        match self.answer.try_recv() {
            Ok(Ok(Answer::Receive(Ok(deliveries)))) if !deliveries.is_empty() => {
                if let Some(group) = waiting.group {
                    inbox.push(Work::Internal(undo(group, &deliveries)));
                }
            }
            Ok(_) => {}
            Err(_) => {
                inbox.push(Work::Cancel(waiting.ticket));
            }
        }
    }
}

macro_rules! typed {
    ($($(#[$doc:meta])* $name:ident($request:ident: $in:ty) -> $out:ty;)*) => {
        impl Engine {
            $($(#[$doc])*
            pub async fn $name(&self, request: $in) -> Result<$out, EngineError> {
                match self.request(Request::$request(request)).await? {
                    Answer::$request(answer) => Ok(answer),
                    _ => Err(EngineError::Unknown),
                }
            })*
        }
    };
}

typed! {
    /// Stores messages, all or none.
    send(Send: Send) -> Result<Vec<Sent>, SendError>;
    /// Takes messages; waits for some if asked to.
    receive(Receive: Receive) -> Result<Vec<Delivery>, ReceiveError>;
    /// Ends deliveries.
    ack(Ack: Ack) -> Result<Vec<Result<(), StaleHandle>>, ConsumeError>;
    /// Changes when a message comes back.
    change_invisible(ChangeInvisible: ChangeInvisible) -> Result<(), ChangeInvisibleError>;
    /// Moves a message to the dead letters.
    forward_to_dead_letters(ForwardToDeadLetters: ForwardToDeadLetters) -> Result<(), ConsumeError>;
    /// Makes a topic.
    create_topic(CreateTopic: CreateTopic) -> Result<TopicView, CreateTopicError>;
    /// Removes a topic.
    delete_topic(DeleteTopic: Name) -> Result<(), TopicNotFound>;
    /// Makes a consumer group.
    create_group(CreateGroup: CreateGroup) -> Result<GroupView, CreateGroupError>;
    /// Changes how often and when a consumer group gets what failed.
    update_group(UpdateGroup: UpdateGroup) -> Result<GroupView, GroupNotFound>;
    /// Removes a consumer group.
    delete_group(DeleteGroup: Name) -> Result<(), GroupNotFound>;
    /// Makes sure of a group and its positions.
    subscribe(Subscribe: Subscribe) -> Result<GroupView, ConsumeError>;
    /// Tells what a topic is.
    resolve_topic(ResolveTopic: Name) -> Result<TopicView, TopicOnUseError>;
    /// Ends the transaction of a half message.
    end_transaction(EndTransaction: EndTransaction) -> Result<(), EndTransactionError>;
    /// Takes a delayed message back.
    recall(Recall: Recall) -> Result<(), RecallError>;
    /// Takes half messages whose producers are to be asked; waits for some if asked to.
    take_checks(TakeChecks: TakeChecks) -> Vec<Check>;
    /// Gives dead letters back, and says how many.
    replay_dead_letters(ReplayDeadLetters: ReplayDeadLetters) -> Result<u64, DeadLetterError>;
    /// Takes dead letters away, and says how many.
    purge_dead_letters(PurgeDeadLetters: PurgeDeadLetters) -> Result<u64, DeadLetterError>;
    /// Has a group go on elsewhere.
    reset_offset(ResetOffset: ResetOffset) -> Result<(), ResetOffsetError>;
}

impl Engine {
    /// Takes back deliveries that were not written to their client.
    pub async fn undo_pop(&self, undo: UndoPop) -> Result<(), EngineError> {
        self.request(Request::UndoPop(undo)).await.map(drop)
    }

    /// Tells what came of asking the producers of half messages.
    pub async fn checked(&self, checked: Checked) -> Result<(), EngineError> {
        self.request(Request::Checked(checked)).await.map(drop)
    }
}
