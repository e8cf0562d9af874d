//! One call that is held: tried here or at the master, again if need be, until shortly before its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Request, Response, Version, header, request};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::answer::{given_up, nothing_found};
use super::headers::{ATTEMPT, FORWARDED, Fate, HALF_SENT, WAITED};
use super::master::{Master, Target};
use super::poll::{self, Said};
use super::whole;
use crate::clients::OpenPoll;
use crate::connecting::nobody_listens;
use crate::grpc::call::Call;

/// An answer leaves so long before the deadline: it must still arrive.
const MARGIN: Duration = Duration::from_millis(300);
/// How long a call without a deadline waits for a master: what most official clients give theirs.
const USUAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause before a call is tried again where nothing has changed meanwhile.
const AGAIN_AFTER: Duration = Duration::from_millis(25);

const RECEIVE: &str = "/ReceiveMessage";

/// A call with all its bytes.
pub(super) struct HeldCall {
    head: request::Parts,
    body: Bytes,
    call: Call,
    give_up: Instant,
    /// Its share of what may be held.
    _room: OwnedSemaphorePermit,
}

/// What came of one try.
enum Tried<E> {
    Answered(Response<Body>),
    /// A long poll found nothing so far, and its time is not over.
    AskAgain,
    Failed(Fate),
    /// The service here failed; it never does.
    Broken(E),
}

impl HeldCall {
    /// Reads all of a call.
    pub(super) async fn read(request: Request<Body>, master: &Master) -> Result<Self, Response<Body>> {
        let limit = master.request_bytes();
        let (mut head, body) = request.into_parts();
        let call = Call::of(&head);
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            let status = if error.is::<LengthLimitError>() {
                Status::out_of_range(format!("the request is larger than {limit} bytes: send less at once"))
            } else {
                Status::cancelled("the request broke off")
            };
            status.into_http()
        });
        let body = body?.to_bytes();
        let polls = head.uri.path().ends_with(RECEIVE);
        if polls {
            head.headers.insert(ATTEMPT, HeaderValue::from(rand::random::<u64>()));
        }
        let room =
            master.room_for(body.len(), polls).ok_or_else(|| given_up(head.uri.path(), Fate::Nothing))?;
        let deadline = call.deadline().unwrap_or_else(|| call.began() + USUAL_TIMEOUT);
        let give_up = deadline.checked_sub(MARGIN).unwrap_or(deadline);
        Ok(Self { head, body, call, give_up, _room: room })
    }

    /// Tries until it is answered or given up.
    pub(super) async fn run<S>(mut self, master: &Master, mut inner: S) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let mut fate = Fate::Nothing;
        let mut view = master.view();
        loop {
            let target = Target::of(&view.borrow_and_update());
            if let Some(target) = target {
                let began = Instant::now();
                let tried = self.attempt_in_time(&target, master, &mut inner).await;
                self.count_as_worked_on(began);
                match tried {
                    Tried::Answered(response) => return Ok(response),
                    Tried::AskAgain => {
                        // What an earlier try may have taken would have come, too.
                        fate = Fate::Nothing;
                        if !master.stopping().is_cancelled() {
                            continue;
                        }
                    }
                    Tried::Failed(failed) => fate = fate.max(failed),
                    Tried::Broken(error) => return Err(error),
                }
            }
            let stops = self.is(RECEIVE) && master.stopping().is_cancelled();
            if stops && fate == Fate::Nothing {
                return Ok(nothing_found());
            }
            if stops || Instant::now() + AGAIN_AFTER >= self.give_up {
                return Ok(given_up(self.head.uri.path(), fate));
            }
            // A new view says whom to ask next; without one the same may answer by now.
            let _ = tokio::time::timeout(AGAIN_AFTER, view.changed()).await;
        }
    }

    /// The caller of a call without a deadline waits as long as somebody works on it: what counts is the time without anybody.
    fn count_as_worked_on(&mut self, since: Instant) {
        if self.call.deadline().is_none() {
            self.give_up += since.elapsed();
        }
    }

    /// One try, broken off when its answer would come too late.
    async fn attempt_in_time<S>(&self, target: &Target, master: &Master, inner: &mut S) -> Tried<S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let attempt = self.attempt(target, master, inner);
        if self.call.deadline().is_none() {
            return attempt.await;
        }
        // A long poll is answered in time by whoever has it.
        let margin = if self.is(RECEIVE) { MARGIN } else { Duration::ZERO };
        let last_moment = (self.give_up + margin).into();
        tokio::time::timeout_at(last_moment, attempt).await.unwrap_or(Tried::Failed(Fate::Unknown))
    }

    async fn attempt<S>(&self, target: &Target, master: &Master, inner: &mut S) -> Tried<S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let tried = match target {
            Target::Here => match inner.call(self.request()).await {
                Ok(response) => Tried::Answered(response),
                Err(error) => Tried::Broken(error),
            },
            Target::There(address) => {
                let _open = self.open_poll();
                tokio::select! {
                    tried = self.there(address, master) => tried,
                    () = master.is_elsewhere(address) => Tried::Failed(Fate::Unknown),
                }
            }
        };
        match tried {
            Tried::Answered(response) => match Fate::of(&response) {
                None => Tried::Answered(response),
                Some(fate) => Tried::Failed(fate),
            },
            tried => tried,
        }
    }

    fn is(&self, method: &str) -> bool {
        self.head.uri.path().ends_with(method)
    }

    /// Asks the master.
    async fn there<E>(&self, address: &str, master: &Master) -> Tried<E> {
        if self.is("/NotifyClientTermination") {
            self.call.forget();
        } else {
            self.call.touch(self.call.began());
        }
        let mut channel = master.channel(address);
        if std::future::poll_fn(|context| channel.poll_ready(context)).await.is_err() {
            master.forget(address);
            return Tried::Failed(Fate::Nothing);
        }
        let mut response = match channel.call(self.forwarded()).await {
            Ok(response) if broke(&response) => return Tried::Failed(Fate::Unknown),
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(%error, address, "a forwarded call failed");
                return Tried::Failed(if nobody_listens(&error) { Fate::Nothing } else { Fate::Unknown });
            }
        };
        self.note_half(&mut response);
        if !self.is(RECEIVE) {
            return Tried::Answered(response);
        }
        match poll::said(response).await {
            Said::Answer(response) => Tried::Answered(response),
            Said::AskAgain => Tried::AskAgain,
            Said::Broke => Tried::Failed(Fate::Unknown),
        }
    }

    /// The call as another gateway takes it.
    fn forwarded(&self) -> Request<Body> {
        let mut request = self.request();
        let headers = request.headers_mut();
        headers.insert(FORWARDED, HeaderValue::from(self.call.connection_id().0));
        headers.remove(header::HOST);
        *request.version_mut() = Version::HTTP_2;
        request
    }

    /// The client can be asked about the half messages that it sent: its stream may be here.
    fn note_half(&self, response: &mut Response<Body>) {
        let topic = response.headers_mut().remove(HALF_SENT);
        if let Some(topic) = topic.as_ref().and_then(|topic| topic.to_str().ok()) {
            self.call.sent_half(Arc::from(topic));
        }
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::from_parts(self.head.clone(), whole(self.body.clone()));
        if self.is(RECEIVE) {
            let waited = self.call.began().elapsed().as_millis() as u64;
            request.headers_mut().insert(WAITED, HeaderValue::from(waited));
        }
        request
    }

    /// The client lives while its long poll is open, wherever that is answered.
    fn open_poll(&self) -> Option<OpenPoll> {
        if self.is(RECEIVE) { self.call.open_poll() } else { None }
    }
}

/// Whether a connection broke under a call: whoever answers knows better than to say that by a gRPC status.
fn broke(response: &Response<Body>) -> bool {
    Status::from_header_map(response.headers()).is_some_and(|status| status.code() == Code::Unavailable)
}
