//! The process: reads its configuration, binds its sockets, runs the broker until it is told to stop.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use rq_broker::config::{Args, Config, LogFormat};
use rq_broker::shutdown::Signals;
use rq_broker::{Listeners, run};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

/// Requests are allocated on one thread and freed on another, all the time: what this allocator is good at.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What others log by themselves unless it is asked for: each failed call of the API server, of which we tell the first.
const OF_OTHERS: &str = "kube_client=off";

fn main() -> ExitCode {
    let served = Runtime::new().context("the asynchronous runtime did not start").and_then(|runtime| {
        let served = runtime.block_on(serve());
        // A thread that waits for the disk in vain must not keep the process.
        runtime.shutdown_background();
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line that says what to do; a backtrace would hide it.
            eprintln!("rq-broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    // The client of Kubernetes asks for a default; whatever else is linked, there is one.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse();
    Config::check_environment(std::env::vars_os())?;
    let config = Config::load(&args)?;
    let filter = EnvFilter::try_new(format!("{OF_OTHERS},{}", config.log));
    let filter = filter.context("the log filter cannot be read: try --log info")?;
    let colours = std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    let bind = async |address| {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let peers = match config.peer_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let listeners = Listeners { clients: bind(config.listen).await?, peers, http: bind(config.http).await? };
    Ok(run(config, listeners, Signals::listen()?.requested()).await?)
}
