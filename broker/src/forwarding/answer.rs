//! What a client hears whose call was given up: in the words that make it try again and keep this endpoint.

use axum::http::{HeaderMap, HeaderValue, Response, header};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use rq_proto::rocketmq as pb;
use tonic::Status;
use tonic::body::Body;

use super::headers::Fate;
use crate::grpc::refusal::Refusal;

/// Services that answer with a status of their own in the body.
const OFFICIAL: &str = "/apache.rocketmq.v2.";

/// The answer to a call that was given up.
pub(super) fn given_up(path: &str, fate: Fate) -> Response<Body> {
    let (code, message) = match fate {
        Fate::Nothing => (
            pb::Code::TooManyRequests,
            "there is no master at present, or too much waits for it: nothing was done, try again",
        ),
        Fate::Unknown => (
            pb::Code::HaNotAvailable,
            "the master failed meanwhile: the call may or may not have been carried out, repeat it",
        ),
    };
    if path.starts_with(OFFICIAL) {
        in_body(pb::Status { code: code.into(), message: message.to_owned() })
    } else {
        match fate {
            Fate::Nothing => Status::unavailable(message).into_http(),
            Fate::Unknown => Status::unknown(message).into_http(),
        }
    }
}

/// The answer to a receive whose wait a gateway ends because it stops: the client polls again at once, elsewhere.
pub(super) fn nothing_found() -> Response<Body> {
    in_body(Refusal::NothingFound.status())
}

/// Every answer of the API has its status as field 1, streamed ones included.
fn in_body(status: pb::Status) -> Response<Body> {
    let message = pb::HeartbeatResponse { status: Some(status) };
    let len = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + len);
    frame.put_u8(0); // not compressed
    frame.put_u32(len as u32);
    frame.put_slice(&message.encode_to_vec());
    let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::<Bytes>::new(frame.freeze()).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
