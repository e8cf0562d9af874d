//! Messages read from the log for people, in their order, many at once where they come from the disk.

use std::collections::VecDeque;

use rq_core::ids::Offset;
use rq_core::queue::view::MessagePlace;
use rq_core::record::StoredMessage;
use tonic::Status;

use crate::engine::{Engine, ReadMessageError};

/// Reads messages one after the other.
pub(super) struct Reading<'a> {
    broker: &'a Engine,
    left: &'a [MessagePlace],
    read: VecDeque<Result<StoredMessage, ReadMessageError>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(broker: &'a Engine, places: &'a [MessagePlace]) -> Self {
        Self { broker, left: places, read: VecDeque::new() }
    }

    /// The next message, or the reason why its bytes are damaged; None at the end. What retention let go of since it was looked
    /// for is left out.
    pub(super) async fn next(&mut self) -> Result<Option<(Offset, Result<StoredMessage, String>)>, Status> {
        while let Some((place, rest)) = self.left.split_first() {
            if self.read.is_empty() {
                let lsns = self.left.iter().map(|place| place.lsn);
                self.read = self.broker.read_ahead(lsns).await;
            }
            self.left = rest;
            let read = self.read.pop_front().unwrap_or(Err(ReadMessageError::Dropped(place.lsn)));
            return Ok(Some((
                place.offset,
                match read {
                    Ok(stored) => Ok(stored),
                    Err(ReadMessageError::Dropped(_)) => continue,
                    Err(error @ ReadMessageError::Damaged { .. }) => Err(error.to_string()),
                    Err(error @ ReadMessageError::Reopening) => {
                        return Err(Status::unavailable(error.to_string()));
                    }
                },
            )));
        }
        Ok(None)
    }
}
