//! A long poll that the master answers through here. A gateway that stops waits a little for its end: where messages come
//! all the time, no client then sees an error. After that the client asks again, through another one.

use std::time::Duration;

use axum::http::HeaderMap;
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyStream, StreamBody};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

/// How long a gateway that stops waits for what the master answers.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same answer, but cut short with an error if nothing of it has come [`PATIENCE`] after this gateway was stopped. The
/// master notices, and takes back what it may have delivered; whether it had is not known here, so that the answer must not
/// be that there was nothing.
pub(super) fn until(stopping: CancellationToken, answer: Body) -> Body {
    let waits = Some((BodyStream::new(answer), true));
    Body::new(StreamBody::new(futures::stream::unfold(waits, move |state| {
        let stopping = stopping.clone();
        async move {
            let (mut answer, waits) = state?;
            tokio::select! {
                biased;
                frame = answer.next() => frame.map(|frame| (frame, Some((answer, false)))),
                () = patience_ends(&stopping), if waits => Some((Ok(stops()), None)),
            }
        }
    })))
}

async fn patience_ends(stopping: &CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(PATIENCE).await;
}

/// The end of an answer that was not given.
fn stops<D>() -> Frame<D> {
    let mut trailers = HeaderMap::new();
    let status =
        Status::unavailable("this broker is stopping: ask again, it may have received something for you");
    // The message is plain text, so that it cannot be refused as a header.
    let _ = status.add_header(&mut trailers);
    Frame::trailers(trailers)
}
