//! How the broker's ports, for clients and for other brokers, speak HTTP/2. The broker serves with it, and so does the yardstick that it is measured against.

use std::time::Duration;

use tonic::transport::Server;

/// A peer that does not answer a ping is dropped after interval plus timeout: a dead consumer is noticed, and a
/// partitioned client reconnects.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Room for a whole body of 4 MiB, so that one takes no more than a few round trips.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Most calls at a time on a connection: one long poll for each queue of each topic, and acks besides.
const CONCURRENT_STREAMS: u32 = 8_192;
/// Streams that a client may reset before the server takes it for an attack. Consumers cancel long polls.
const RESET_STREAMS_MAX: usize = 8_192;

/// A server with these settings and no services yet.
pub fn builder() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
}
