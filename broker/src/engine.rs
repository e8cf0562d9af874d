//! The engine: one shard with its log thread. Requests go in, answers come out when their records are committed.

use rq_core::ids::Lsn;
use rq_core::queue::request::{
    Ack, Answer, ChangeInvisible, ChangeInvisibleError, ConsumeError, CreateGroup, CreateGroupError, CreateTopic,
    CreateTopicError, Delivery, ForwardToDeadLetters, GroupNotFound, GroupView, Name, Receive, ReceiveError, Request,
    Send, SendError, Sent, StaleHandle, Subscribe, TopicNotFound, TopicView, UndoPop,
};
use rq_core::record::StoredMessage;
use thiserror::Error;

/// A handle on the engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {}

/// Why the engine gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EngineError {
    /// Too much waits for the disk already. Nothing was done.
    #[error("the broker is overloaded: nothing was done, try again later")]
    Overloaded,
    /// The broker stops. Nothing was done.
    #[error("the broker is stopping: nothing was done, try again")]
    Stopping,
    /// The log failed after the request was taken: what it asked for may have happened or not.
    #[error("the broker failed while writing its log: the request may or may not have been carried out")]
    Unknown,
}

/// Why a message could not be read from the log.
#[derive(Debug, Error)]
pub enum ReadMessageError {
    /// Its segment was dropped by retention meanwhile.
    #[error("the message at {0} was dropped by retention")]
    Dropped(Lsn),
    /// Its bytes are damaged: they are not delivered.
    #[error("the message at {lsn} is damaged: {reason}")]
    Damaged {
        /// Where it lies.
        lsn: Lsn,
        /// What is wrong with it.
        reason: String,
    },
}

impl Engine {
    /// Hands in a request and waits until its answer is committed. Dropping the future of a waiting receive
    /// cancels it; what was popped for it meanwhile is taken back.
    pub async fn request(&self, _request: Request) -> Result<Answer, EngineError> {
        todo!()
    }
    /// Reads a message delivered at `lsn`.
    pub async fn read(&self, _lsn: Lsn) -> Result<StoredMessage, ReadMessageError> {
        todo!()
    }
    /// Looks at the shard's state from the log thread. Keep it short: it holds up everything else.
    pub async fn inspect<T: std::marker::Send + 'static>(
        &self,
        _view: impl FnOnce(&rq_core::queue::Shard) -> T + std::marker::Send + 'static,
    ) -> Result<T, EngineError> {
        todo!()
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
    /// Removes a consumer group.
    delete_group(DeleteGroup: Name) -> Result<(), GroupNotFound>;
    /// Makes sure of a group and its positions.
    subscribe(Subscribe: Subscribe) -> Result<GroupView, ConsumeError>;
    /// Tells what a topic is.
    resolve_topic(ResolveTopic: Name) -> Result<TopicView, TopicNotFound>;
}

impl Engine {
    /// Takes back deliveries that were not written to their client.
    pub async fn undo_pop(&self, undo: UndoPop) -> Result<(), EngineError> {
        self.request(Request::UndoPop(undo)).await.map(drop)
    }
}
