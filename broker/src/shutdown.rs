//! When the process is told to end. The first signal asks for a stop in order, the second for an end at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, listened for.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Completes on the first signal. The next one ends the process as a crash would, which loses nothing that was
    /// acknowledged.
    pub async fn requested(mut self) {
        let name = self.next().await;
        tracing::info!(signal = name, "told to stop");
        tokio::spawn(async move {
            let name = self.next().await;
            tracing::warn!(
                signal = name,
                "told to stop again: ending at once, the next start recovers the log"
            );
            std::process::exit(EXIT_AT_ONCE);
        });
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Not a success: the log was not closed.
const EXIT_AT_ONCE: i32 = 1;
