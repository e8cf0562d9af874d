//! Which requests for half messages are under way.

use std::collections::VecDeque;

use rq_proto::reliablequeue as pb;
use tokio::task::{AbortHandle, JoinSet};

/// Requests for half messages that may be under way: of the topics that have a producer now, and of those that had one before.
const TAKES_MAX: usize = 8;

/// What one request brings.
pub(super) type Taken = Result<Vec<pb::TransactionCheck>, tonic::Status>;

/// Requests for half messages. When other topics have producers the next one begins at once; the one before goes on to its end,
/// for the master may have given it half messages already, which nobody else would get for a while.
#[derive(Default)]
pub(super) struct Takes {
    under_way: JoinSet<(u64, Taken)>,
    /// The oldest first.
    handles: VecDeque<AbortHandle>,
    /// The one for the topics that have producers now.
    newest: Option<u64>,
    begun: u64,
}

impl Takes {
    /// Begins one for the topics that have producers now, unless that is under way or there are none.
    pub(super) fn keep_one<F>(&mut self, wanted: impl FnOnce() -> Option<F>)
    where
        F: Future<Output = Taken> + Send + 'static,
    {
        if self.newest.is_none()
            && let Some(take) = wanted()
        {
            self.begin(take);
        }
    }

    fn begin(&mut self, take: impl Future<Output = Taken> + Send + 'static) {
        self.begun += 1;
        let number = self.begun;
        self.newest = Some(number);
        self.handles.retain(|handle| !handle.is_finished());
        if self.handles.len() >= TAKES_MAX
            && let Some(oldest) = self.handles.pop_front()
        {
            oldest.abort();
        }
        self.handles.push_back(self.under_way.spawn(async move { (number, take.await) }));
    }

    /// Other topics have producers now.
    pub(super) fn renew(&mut self) {
        self.newest = None;
    }

    /// What the next one brings that ends; None where none is under way.
    pub(super) async fn next(&mut self) -> Option<Taken> {
        loop {
            if let Ok((number, taken)) = self.under_way.join_next().await? {
                self.newest = self.newest.filter(|newest| *newest != number);
                return Some(taken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Begins one that brings a half message when it is told of which topic.
    fn begin(takes: &mut Takes) -> oneshot::Sender<&'static str> {
        let (tell, told) = oneshot::channel();
        takes.keep_one(|| {
            Some(async move {
                let topic = told.await.unwrap_or("none").to_owned();
                Ok(vec![pb::TransactionCheck { topic, ..pb::TransactionCheck::default() }])
            })
        });
        tell
    }

    async fn next(takes: &mut Takes) -> String {
        takes.next().await.unwrap().unwrap().remove(0).topic
    }

    #[tokio::test]
    async fn what_was_taken_for_the_topics_of_before_is_not_lost() {
        let mut takes = Takes::default();
        let before = begin(&mut takes);
        assert!(begin(&mut takes).is_closed(), "one is enough while the topics are the same");
        takes.renew();
        let now = begin(&mut takes);
        before.send("before").unwrap();
        assert_eq!(next(&mut takes).await, "before");
        assert!(begin(&mut takes).is_closed(), "the newest is under way still");
        now.send("now").unwrap();
        assert_eq!(next(&mut takes).await, "now");
        assert!(takes.next().await.is_none());
        assert!(!begin(&mut takes).is_closed(), "it has ended: the next one begins");
    }

    #[tokio::test]
    async fn producers_that_come_and_go_for_ever_leave_no_more_than_so_many_under_way() {
        let mut takes = Takes::default();
        let tells: Vec<_> = (0..3 * TAKES_MAX)
            .map(|_| {
                takes.renew();
                begin(&mut takes)
            })
            .collect();
        for tell in tells {
            // Nobody hears it where the oldest were given up.
            let _ = tell.send("t");
        }
        let mut got = 0;
        while takes.next().await.is_some() {
            got += 1;
        }
        assert_eq!(got, TAKES_MAX);
    }
}
