//! What gateways and masters tell each other in the headers of a forwarded call and of its answer.

use axum::http::Response;
use tonic::body::Body;

/// Tells that a call comes from another gateway, by the number of the client's connection there. Such a call is never
/// forwarded again.
pub(crate) const FORWARDED: &str = "rq-forwarded";

/// Names a receive that may be forwarded, for clients that name no attempt: without it a repeat would get other messages,
/// and those that the first try took would be hidden until their lease is over.
pub(crate) const ATTEMPT: &str = "rq-attempt";

/// Tells how long the client of a receive has waited so far, in milliseconds. The master then waits for one turn at most, and
/// has itself asked again: a gateway that stops need not wait longer, or leave the client with an error.
pub(crate) const WAITED: &str = "rq-waited";

/// Tells, in the trailers of an answer with nothing else in it, that there was nothing for a receive in that turn.
pub(crate) const ASK_AGAIN: &str = "rq-ask-again";

/// Header of an answer by a replica that could not carry a call out because it is not, or was not long enough, the
/// master: what became of it.
pub(crate) const FATE: &str = "rq-fate";

/// Header of the answer to a forwarded send of half messages: their topic. The gateway that the client is connected to then
/// knows a producer to ask about them.
pub(crate) const HALF_SENT: &str = "rq-half-sent";

/// What became of a call so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fate {
    /// Surely nothing was done.
    Nothing,
    /// It may have been carried out.
    Unknown,
}

impl Fate {
    /// As [`FATE`] says it.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Unknown => "unknown",
        }
    }

    pub(super) fn of(response: &Response<Body>) -> Option<Self> {
        let fate = response.headers().get(FATE)?;
        Some(if fate == Self::Nothing.text() { Self::Nothing } else { Self::Unknown })
    }
}
