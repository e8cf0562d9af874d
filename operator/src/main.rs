//! The process of the operator: a failure detector that runs in every replica of it, and a reconciler that runs in the one
//! that holds the lease. Neither waits for the other.

#[cfg(test)]
mod api_server;
mod args;
mod certificates;
mod clock;
mod detector;
mod events;
mod http;
mod key;
mod leader;
mod metrics;
mod peers;
mod reconcile;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use kube::Client;
use rq_operator_core::plan::Release;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, LogFormat};
use crate::clock::Clock;
use crate::detector::{Board, Detector, Pulse};
use crate::events::Teller;
use crate::http::Pages;
use crate::metrics::Metrics;

fn main() -> ExitCode {
    let args = Args::parse();
    let served = Runtime::new().context("the asynchronous runtime did not start").and_then(|runtime| {
        let served = runtime.block_on(serve(args));
        runtime.shutdown_background();
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rq-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: Args) -> anyhow::Result<()> {
    log(&args)?;
    let stop = told_to_stop()?;
    // A write of a configuration that is repeated by its client would conflict with itself.
    let without_retries = rq_kubernetes::client().await.context("no way to a cluster")?;
    let client = Client::try_default().await.context("no way to a cluster")?;
    let listener = TcpListener::bind(args.http).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", args.http))?;

    let clock = Clock::start();
    let (metrics, board) = (Arc::new(Metrics::new()), Arc::new(Board::new()));
    let pulse = Arc::new(Pulse::new(clock));
    let teller = Teller::new(client.clone(), args.pod_name.clone());
    let (leads, is_leader) = watch::channel(false);
    let detector = Detector {
        client: client.clone(),
        without_retries: without_retries.clone(),
        clock,
        board: board.clone(),
        pulse: pulse.clone(),
        metrics: metrics.clone(),
        teller: teller.clone(),
        is_leader: is_leader.clone(),
    };
    let context = reconcile::Context {
        client: client.clone(),
        without_retries,
        release: Release { broker_image: args.broker_image.clone() },
        clock,
        board,
        metrics: metrics.clone(),
        teller,
        losses: reconcile::Losses::default(),
    };
    let pages = Pages { pulse, metrics };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pod = args.pod_name, "the operator started");
    tokio::select! {
        () = detector.run() => {}
        served = http::serve(listener, pages, std::future::pending()) => served.context("the HTTP side")?,
        // It ends when it was told to stop and the lease is given back. Until then failures are looked for.
        ((), ()) = async {
            tokio::join!(
                leader::elect(client, &args, leads, stop.clone()),
                reconcile::run(Arc::new(context), is_leader, stop),
            )
        } => {}
    }
    tracing::info!("the operator stopped");
    Ok(())
}

fn log(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log).context("the log filter cannot be read: try --log info")?;
    let colours = std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// Cancelled by the first SIGTERM or SIGINT; the second one ends the process.
fn told_to_stop() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.is_cancelled() {
                std::process::exit(1);
            }
            tracing::info!("told to stop");
            told.cancel();
        }
    });
    Ok(stop)
}
