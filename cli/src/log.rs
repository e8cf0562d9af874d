//! `rq log`: a look into the log of a data directory, offline and read only.

use std::path::PathBuf;

use clap::Subcommand;

use crate::args::Global;
use crate::failure::Failure;

/// `rq log …`.
#[derive(Subcommand)]
pub(crate) enum LogCommand {
    /// Show segments, frames, records and the first damage
    Inspect {
        /// Data directory of a broker
        dir: PathBuf,
    },
}

/// Runs the command.
pub(crate) fn run(_global: &Global, command: LogCommand) -> Result<(), Failure> {
    let LogCommand::Inspect { dir } = command;
    Err(Failure::Inspect { path: dir, reason: "not there yet".to_owned() })
}
