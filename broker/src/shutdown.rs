//! When the process is told to end. The first signal asks for a stop in order, the second for an end at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// How a broker stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The other replicas go on without it: it leaves its shard first. SIGTERM.
    Alone,
    /// The other replicas are told to stop too, so it leaves the in-sync set as it is: whatever becomes of one copy
    /// meanwhile, each of the others may still lead. SIGINT, as Ctrl-C sends it to all that was started together.
    WithAll,
}

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
    pub async fn requested(mut self) -> Stop {
        let (name, stop) = self.next().await;
        tracing::info!(signal = name, "told to stop");
        tokio::spawn(async move {
            let (name, _) = self.next().await;
            tracing::warn!(
                signal = name,
                "told to stop again: ending at once, the next start recovers the log"
            );
            std::process::exit(EXIT_AT_ONCE);
        });
        stop
    }

    async fn next(&mut self) -> (&'static str, Stop) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", Stop::Alone),
            _ = self.interrupt.recv() => ("SIGINT", Stop::WithAll),
        }
    }
}

/// Not a success: the log was not closed.
const EXIT_AT_ONCE: i32 = 1;
