//! `rq flush-mode`: when a record counts, for all copies at once.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rq_proto::reliablequeue as pb;
use serde::Serialize;
use tonic::Status;

use crate::admin::{Admin, call};
use crate::args::{Global, duration};
use crate::failure::Failure;
use crate::output::{self, Output};

/// How often it is looked whether the mode is another one.
const POLL: Duration = Duration::from_millis(20);

const AFTER_HELP: &str = "\
sync (the default): a send is answered when its message is flushed on every copy that is in sync. Nothing that was answered
is lost, whatever loses power.

async: it is answered when the message is written on every copy that is in sync, and flushed soon after. That is faster on
slow disks. A process that dies loses nothing; a machine that loses power comes back as a new copy. If all machines lose
power at once, what was not flushed yet is lost, and no copy becomes master before somebody accepts that (`rq promote
--help`). While one copy is in sync, every record is flushed first as in sync.

Examples:
  rq flush-mode async --interval 200ms
  rq flush-mode sync";

/// `rq flush-mode`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct FlushMode {
    /// When a record counts
    mode: Mode,
    /// Of async: longest time between two flushes, 10ms to 60s [default: 500ms]
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    interval: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// When it is flushed on every copy in sync
    Sync,
    /// When it is written on every copy in sync
    Async,
}

impl Mode {
    const fn wire(self) -> pb::FlushMode {
        match self {
            Self::Sync => pb::FlushMode::Sync,
            Self::Async => pb::FlushMode::Async,
        }
    }
}

/// As people and programs are told it.
pub(crate) const fn told(mode: pb::FlushMode) -> &'static str {
    match mode {
        pb::FlushMode::Sync => "sync",
        pb::FlushMode::Async => "async",
        pb::FlushMode::Unspecified => "changing",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    flush_mode: Mode,
}

/// Runs the command.
pub(crate) async fn run(global: &Global, command: FlushMode) -> Result<(), Failure> {
    let wanted = command.mode.wire();
    let interval_ms = match (command.mode, command.interval) {
        (Mode::Sync, Some(_)) => {
            return Err(Failure::Usage("--interval is for async: leave it out".to_owned()));
        }
        (_, interval) => {
            interval.map_or(0, |interval| u32::try_from(interval.as_millis()).unwrap_or(u32::MAX))
        }
    };
    let admin = Admin::connect(global).await?;
    call!(admin.set_flush_mode(pb::SetFlushModeRequest { mode: wanted.into(), interval_ms }))?;
    let began = Instant::now();
    while call!(admin.status(pb::StatusRequest {}))?.flush_mode() != wanted {
        if began.elapsed() >= global.timeout {
            let waited = humantime::format_duration(global.timeout);
            let late =
                format!("the flush mode has not changed within {waited}: see `rq status`, and try again");
            return Err(Status::deadline_exceeded(late).into());
        }
        tokio::time::sleep(POLL).await;
    }
    match global.output {
        Output::Json => output::json(&Changed { flush_mode: command.mode }),
        Output::Table => output::line(&format!("the flush mode is {}", told(wanted))),
    }
}
