//! A long poll that the master answers through here, one turn of its wait after the other.

use axum::http::Response;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use tonic::Status;
use tonic::body::Body;

use super::headers::ASK_AGAIN;

/// What the master said to a receive.
pub(super) enum Said {
    /// Whatever is for the client; messages follow as they come.
    Answer(Response<Body>),
    /// Nothing yet: it is to be asked again.
    AskAgain,
    /// The connection broke before anything was said.
    Broke,
}

/// Waits for the first part of an answer.
pub(super) async fn said(response: Response<Body>) -> Said {
    // Refused: there is no body.
    if response.headers().contains_key(Status::GRPC_STATUS) {
        return Said::Answer(response);
    }
    let (head, mut rest) = response.into_parts();
    match rest.frame().await {
        Some(Ok(first)) if first.trailers_ref().is_some_and(|said| said.contains_key(ASK_AGAIN)) => {
            Said::AskAgain
        }
        Some(Ok(first)) => {
            let whole = futures::stream::iter([Ok(first)]).chain(BodyStream::new(rest));
            Said::Answer(Response::from_parts(head, Body::new(StreamBody::new(whole))))
        }
        Some(Err(_)) | None => Said::Broke,
    }
}
