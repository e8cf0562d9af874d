//! Calls of the broker's Admin service, each with its deadline.

use std::time::Duration;

use rq_proto::reliablequeue::admin_client::AdminClient;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::args::Global;
use crate::client::CallError;
use crate::failure::Failure;

/// Largest answer taken: a page of dead letters is a few MiB, a list of very many topics more.
const DECODE_MAX: usize = 256 << 20;

/// A connection to the Admin service.
pub(crate) struct Admin {
    client: AdminClient<Channel>,
    timeout: Duration,
}

impl Admin {
    /// Connects to the broker.
    pub(crate) async fn connect(global: &Global) -> Result<Self, Failure> {
        let channel = global.endpoint.connect(global.timeout).await?;
        let client = AdminClient::new(channel).max_decoding_message_size(DECODE_MAX);
        Ok(Self { client, timeout: global.timeout })
    }

    /// Makes one call: `admin.call(request, |mut client, request| async move { client.status(request).await })`.
    pub(crate) async fn call<Q, A, F>(
        &self,
        request: Q,
        call: impl FnOnce(AdminClient<Channel>, Request<Q>) -> F,
    ) -> Result<A, Failure>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = Request::new(request);
        request.set_timeout(self.timeout);
        let outcome = tokio::time::timeout(self.timeout, call(self.client.clone(), request)).await;
        match outcome {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => match CallError::of(&status, self.timeout) {
                error @ CallError::NoAnswer(_) => Err(error.into()),
                _ => Err(status.into()),
            },
            Err(_) => Err(CallError::NoAnswer(self.timeout).into()),
        }
    }
}

/// Shortens a call of the Admin service: `call!(admin.status(request))`.
macro_rules! call {
    ($admin:ident.$method:ident($request:expr)) => {
        $admin.call($request, |mut client, request| async move { client.$method(request).await }).await
    };
}
pub(crate) use call;
