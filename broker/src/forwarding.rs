//! Calls on their way to the master: every process serves the whole API, and whoever is not the master forwards to it.
//! While there is no master, or its fate is unknown, a call is held and repeated under its own key until shortly before
//! its deadline. Repeating is safe: a send is recognised by client, message id and body, an ack by what it names, a
//! receive by its attempt, which gets a name here if the client gave it none.

mod answer;
mod call;
pub(crate) mod headers;
pub mod master;
mod poll;

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{Request, Response};
use bytes::Bytes;
use futures::future::{BoxFuture, Either};
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use self::call::HeldCall;
use self::headers::{ATTEMPT, FORWARDED, WAITED};
use self::master::Master;

/// A gRPC service whose calls go to the master, wherever that is.
#[derive(Clone)]
pub(crate) struct Forwarding<S> {
    inner: S,
    /// None in a broker that is alone: it has nobody to forward to.
    master: Option<Arc<Master>>,
    /// Whether other gateways call here. Whoever else says to be one is not believed.
    from_peers: bool,
}

impl<S> Forwarding<S> {
    pub(crate) const fn new(inner: S, master: Option<Arc<Master>>, from_peers: bool) -> Self {
        Self { inner, master, from_peers }
    }
}

impl<S: NamedService> NamedService for Forwarding<S> {
    const NAME: &'static str = S::NAME;
}

/// Methods of the RocketMQ API that every process answers by itself: they are about the client's connection to it.
const OF_THE_CONNECTION: [&str; 2] = ["/Telemetry", "/Heartbeat"];

impl<S> Service<Request<Body>> for Forwarding<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if !self.from_peers {
            request.headers_mut().remove(FORWARDED);
            request.headers_mut().remove(ATTEMPT);
            request.headers_mut().remove(WAITED);
        }
        let path = request.uri().path();
        let here = OF_THE_CONNECTION.iter().any(|method| path.ends_with(method));
        match &self.master {
            Some(master) if !here && !request.headers().contains_key(FORWARDED) => {
                let (master, inner) = (Arc::clone(master), self.inner.clone());
                Either::Right(Box::pin(forward(master, inner, request)))
            }
            _ => Either::Left(self.inner.call(request)),
        }
    }
}

async fn forward<S>(master: Arc<Master>, inner: S, request: Request<Body>) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    match HeldCall::read(request, &master).await {
        Ok(call) => call.run(&master, inner).await,
        Err(refused) => Ok(refused),
    }
}

/// A body of bytes that are all here.
fn whole(bytes: Bytes) -> Body {
    Body::new(http_body_util::Full::new(bytes))
}
