//! `rq`: topics, groups, messages, measurement and inspection of a ReliableQueue broker.
//!
//! Only parses, starts the runtime and turns the outcome into an exit code; each command has its own module.

mod admin;
mod args;
mod bench;
mod client;
mod command;
mod confirm;
mod consume;
mod dlq;
mod endpoint;
mod failure;
mod flush_mode;
mod group;
mod kubectl;
mod local;
mod log;
mod message_id;
mod moment;
mod output;
mod produce;
mod promote;
mod recall;
mod status;
mod topic;
mod tx;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use crate::command::{Command, CommandLine};
use crate::failure::Failure;
use crate::kubectl::Plugin;

fn main() -> ExitCode {
    let args = if Plugin::is_called(std::env::args_os().next().as_deref()) {
        let (global, kube) = Plugin::parse().into_parts();
        CommandLine { global, command: Command::Kube(kube) }
    } else {
        CommandLine::parse()
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("rq: {failure}");
            failure.exit_code()
        }
    }
}

fn run(args: CommandLine) -> Result<(), Failure> {
    let threads = match &args.command {
        Command::Bench(bench) => bench.threads,
        Command::BenchNull(null) => null.threads,
        // A supervisor carries the bytes of clients while it waits for the disk.
        Command::Local(_) => 2,
        _ => 1,
    };
    let mut runtime = if threads > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = runtime.worker_threads(threads).enable_all().build().map_err(Failure::Runtime)?;
    let outcome = runtime.block_on(command(args));
    // A blocked read of standard input must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn command(args: CommandLine) -> Result<(), Failure> {
    let global = args.global;
    match args.command {
        Command::Topic(command) => topic::run(&global, command).await,
        Command::Group(command) => group::run(&global, command).await,
        Command::Produce(command) => produce::run(&global, command).await,
        Command::Recall(command) => recall::run(&global, command).await,
        Command::Consume(command) => consume::run(&global, command).await,
        Command::Dlq(command) => dlq::run(&global, command).await,
        Command::Tx(command) => tx::run(&global, command).await,
        Command::Status => status::run(&global).await,
        Command::FlushMode(command) => flush_mode::run(&global, command).await,
        Command::Promote(command) => promote::run(&global, command).await,
        Command::Verify(command) => verify::run(&global, &command).await,
        Command::Local(command) => local::run(&global, command).await,
        Command::Kube(command) => kubectl::run(&global, command).await,
        Command::Log(command) => log::run(&global, command),
        Command::Bench(command) => bench::run(&global, *command).await,
        Command::BenchNull(command) => bench::null::run(command).await,
    }
}
