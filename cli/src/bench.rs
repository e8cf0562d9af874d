//! `rq bench`: measures a broker under load and writes down every operation if asked to.
//!
//! Closed loop: a number of senders, each waiting for its acknowledgement before it sends again. Open loop: sends
//! begin at a given rate whatever the broker does, and latency counts from when each was due, so that a stall is
//! seen by every send that it delays. The load generator is light on the processor, for it shares it with the
//! broker: requests are encoded once and only their ids change.

mod consumers;
mod cpu;
mod history;
mod ledger;
mod master;
pub(crate) mod null;
mod prebuilt;
mod report;
mod run;
mod senders;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rq_proto::reliablequeue as pb;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::admin::{Admin, call};
use crate::args::{Global, duration};
use crate::bench::cpu::Cpu;
use crate::bench::history::History;
use crate::bench::master::Master;
use crate::bench::report::Report;
use crate::bench::run::Run;
use crate::client::Client;
use crate::failure::Failure;
use crate::output;

/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(200);

/// A broker that does not say for so long what is left to receive does not come back.
const SILENCE: Duration = Duration::from_mins(1);

const AFTER_HELP: &str = "\
The topic and the consumer group are created unless they exist. A send that fails for the moment is repeated with
the same message id until the end of the run.

At the end it says what came of the messages, those of the warm-up included. With consumers it goes on until every
message that was acknowledged is received, or the consumer group has nothing left; what is missing then is lost, and
the exit code 1. Nobody else may receive for that group meanwhile. Ctrl-C ends the load, and once more the wait.

--history writes one JSON object a line for every attempt of an operation:
  op           send | receive | ack
  client       number of the sender or the consumer
  id           message id; \"\" for a receive that failed or found nothing
  invoke_ns    when the call began, nanoseconds since 1970, monotonic within the run
  complete_ns  when its outcome was known
  result       ok | fail (surely not done) | unknown (done or not)
  code         what the broker answered, where the result is not ok
  queue, offset, attempt, handle, invisible_ms, message_group   of messages received, and handle of acks

Examples:
  rq bench --senders 64 --duration 30s
  rq bench --rate 5000 --size 4096 -o json
  rq bench --senders 64 --consumers 8 --inflight 64
  rq bench --rate 500 --consumers 2 --duration 30s     while you run `rq local kill master`
  rq bench --call empty --senders 1
  rq bench --senders 16 --consumers 4 --count 100000 --drain --history ops.jsonl";

/// `rq bench`.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Bench {
    /// Topic to send to and receive from
    #[arg(long, default_value = "bench", value_name = "NAME")]
    pub(crate) topic: String,
    /// Consumer group to receive for
    #[arg(long, default_value = "bench", value_name = "NAME")]
    pub(crate) group: String,
    /// What the senders call
    #[arg(long, value_enum, default_value_t)]
    pub(crate) call: Call,
    /// Senders, each with one send under way; with --rate the most sends under way at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=65536), value_name = "N")]
    pub(crate) senders: u32,
    /// Open loop: begin so many sends a second
    #[arg(long, value_parser = rate, value_name = "R")]
    pub(crate) rate: Option<f64>,
    /// Bytes of a body
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=4_194_304), value_name = "BYTES")]
    pub(crate) size: u32,
    /// Measure for so long
    #[arg(long, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub(crate) duration: Duration,
    /// Send so many messages instead, measured from the first on
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["duration", "warmup"], value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Load before the measurement
    #[arg(long, default_value = "1s", value_parser = duration, value_name = "DURATION")]
    pub(crate) warmup: Duration,
    /// Consumers, besides the senders
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=4096), value_name = "N")]
    pub(crate) consumers: u32,
    /// Messages of a consumer received and not yet acknowledged, at most; each ack is a call of its own
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536), value_name = "M")]
    pub(crate) inflight: u32,
    /// How long a received message is hidden from others
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "DURATION")]
    pub(crate) invisible: Duration,
    /// Consumers go on after the last send until the consumer group has nothing left, whoever sent it
    #[arg(long)]
    pub(crate) drain: bool,
    /// Spread the messages over so many message groups (topic and consumer group of type fifo)
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=65536), value_name = "N")]
    pub(crate) message_groups: u32,
    /// HTTP/2 connections that the senders share, and as many that the consumers share
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024), value_name = "N")]
    pub(crate) connections: u32,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_parser = threads, value_name = "N")]
    pub(crate) threads: usize,
    /// Write every operation into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) history: Option<PathBuf>,
    /// Process id of the broker on this machine, to report its processor time for each message; of several, all together
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Vec<u32>,
}

/// What the senders call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(crate) enum Call {
    /// A send of one message
    #[default]
    Send,
    /// A heartbeat: the cost of a gRPC call that does nothing
    Empty,
}

fn rate(text: &str) -> Result<f64, &'static str> {
    const RATE_MAX: f64 = 1e7;
    text.parse()
        .ok()
        .filter(|rate| (0.001..=RATE_MAX).contains(rate))
        .ok_or("give a number from 0.001 to 10000000")
}

/// Number of threads of a runtime.
pub(crate) fn threads(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|threads| (1..=256).contains(threads)).ok_or("give a number from 1 to 256")
}

/// Runs the command.
pub(crate) async fn run(global: &Global, bench: Bench) -> Result<(), Failure> {
    bench.check()?;
    if bench.call == Call::Send {
        create(global, &bench).await?;
    }
    let before = Master::of(global).await;
    let history = History::open(bench.history.as_deref())?;
    let connect = bench.consumers.min(1) * bench.connections;
    let sending = connections(global, bench.connections).await?;
    let receiving = connections(global, connect).await?;
    let run = Arc::new(Run::start(&bench, history.recorder())?);
    let mut tasks = JoinSet::new();
    let plan = senders::Plan::new(&bench, global.timeout);
    for index in 0..bench.senders {
        let channel = sending[index as usize % sending.len()].clone();
        tasks.spawn(plan.sender(index, channel, &run).run());
    }
    let mut consumers = JoinSet::new();
    for index in 0..bench.consumers {
        let channel = receiving[index as usize % receiving.len()].clone();
        // The consumers' client ids follow those of the senders.
        let client = Client::over(channel, (bench.senders + index) as usize, global.timeout);
        consumers.spawn(consumers::consume(client, index, bench.consumer(), run.clone()));
    }
    let outcome = drive(global, &bench, &run, &mut tasks, &mut consumers).await;
    // Also of a run that failed: its history tells why.
    history.close(&run)?;
    let measured = outcome?;
    let change = Master::change(before, Master::of(global).await);
    let report = Report::new(&bench, &run, &measured, change);
    report.print(global.output)?;
    match report.lost() {
        0 => Ok(()),
        lost => Err(Failure::Lost { lost, group: bench.group }),
    }
}

/// Waits for the end of the measurement, then of the senders, then of the consumers.
async fn drive(
    global: &Global,
    bench: &Bench,
    run: &Run,
    senders: &mut JoinSet<Result<(), Failure>>,
    consumers: &mut JoinSet<Result<(), Failure>>,
) -> Result<Measured, Failure> {
    let work = async {
        let mut measured = measure(bench, run, senders).await?;
        finish(senders).await?;
        if bench.drain || (bench.consumers > 0 && bench.senders > 0) {
            measured.drained = drain(global, bench, run).await?;
        }
        Ok::<_, Failure>(measured)
    };
    let measured = tokio::select! {
        measured = work => measured?,
        failure = first_failure(consumers) => return Err(failure),
    };
    run.end_consumers();
    finish(consumers).await?;
    Ok(measured)
}

/// Waits until every acknowledged message is received, or the consumer group has nothing of the topic left: what is leased to
/// somebody may still come back. False if that was not waited for to the end.
async fn drain(global: &Global, bench: &Bench, run: &Run) -> Result<bool, Failure> {
    let bar = output::progress(None, "acknowledged by consumers, waiting for the last");
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let mut heard = Instant::now();
    let drained = loop {
        if !bench.drain && run.ledger.account().missing() == 0 {
            break true;
        }
        // A broker that is away for the moment comes back.
        match owed(global, bench).await {
            Ok(0) => break true,
            Ok(_) => heard = Instant::now(),
            // Another kind of broker does not say.
            Err(failure) if !bench.drain && failure.is_no_admin() => break false,
            Err(failure) if !failure.is_temporary() || heard.elapsed() > SILENCE => return Err(failure),
            Err(_) => {}
        }
        bar.set_position(run.acks.ok());
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = &mut interrupt => break false,
        }
    };
    bar.finish_and_clear();
    Ok(drained)
}

/// Messages of the topic that the consumer group has not acknowledged.
async fn owed(global: &Global, bench: &Bench) -> Result<u64, Failure> {
    let admin = Admin::connect(global).await?;
    let group = call!(admin.describe_group(pb::DescribeGroupRequest { name: bench.group.clone() }))?;
    let of_topic = group.progress.iter().filter(|queue| queue.topic == bench.topic);
    Ok(of_topic.map(|queue| queue.ready + queue.in_flight + queue.waiting).sum())
}

/// What was measured besides the operations: the time it took and the processor time spent.
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) driver_cpu: Option<Duration>,
    pub(crate) server_cpu: Option<Duration>,
    /// Consumers have got all there is for them.
    pub(crate) drained: bool,
}

/// Waits for the end of the measurement, moving the progress bar, and stops the senders.
async fn measure(
    bench: &Bench,
    run: &Run,
    tasks: &mut JoinSet<Result<(), Failure>>,
) -> Result<Measured, Failure> {
    tokio::time::sleep_until(run.from.into()).await;
    let before = (Cpu::of_self(), Cpu::of_all(&bench.server_pid));
    let bar = output::progress(bench.count.or(Some(bench.duration.as_millis() as u64)), "");
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    while !run.is_over() && (!tasks.is_empty() || bench.senders == 0) {
        tokio::select! {
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => ended.map_err(task_failed)??,
            () = tokio::time::sleep(TICK.min(run.left())) => {}
            _ = &mut interrupt => run.interrupt(),
        }
        bar.set_position(if bench.count.is_some() {
            run.sends.ok()
        } else {
            run.elapsed().as_millis() as u64
        });
        bar.set_message(format!("{} sent, {} acknowledged by consumers", run.sends.ok(), run.acks.ok()));
    }
    bar.finish_and_clear();
    let seconds = run.end().as_secs_f64();
    let spent = |before: Option<Cpu>, now: Option<Cpu>| Some(now?.since(before?));
    Ok(Measured {
        seconds,
        driver_cpu: spent(before.0, Cpu::of_self()),
        server_cpu: spent(before.1, Cpu::of_all(&bench.server_pid)),
        drained: false,
    })
}

async fn finish(tasks: &mut JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(task_failed)??;
    }
    Ok(())
}

/// Ends with the first failure of a task; never while there is none.
async fn first_failure(tasks: &mut JoinSet<Result<(), Failure>>) -> Failure {
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return failure,
            Err(error) => return task_failed(error),
        }
    }
    std::future::pending().await
}

fn task_failed(error: tokio::task::JoinError) -> Failure {
    Failure::Runtime(error.into())
}

async fn connections(global: &Global, number: u32) -> Result<Vec<Channel>, Failure> {
    let mut channels = Vec::with_capacity(number as usize);
    for _ in 0..number {
        channels.push(global.endpoint.connect_watched(global.timeout).await?);
    }
    Ok(channels)
}

/// Makes the topic and the consumer group, unless they exist or nobody there makes any.
async fn create(global: &Global, bench: &Bench) -> Result<(), Failure> {
    let admin = Admin::connect(global).await?;
    let fifo = bench.message_groups > 0;
    let kind = if fifo { pb::TopicType::Fifo } else { pb::TopicType::Normal };
    let topic = pb::CreateTopicRequest { name: bench.topic.clone(), r#type: kind.into(), queues: 0 };
    tolerate(call!(admin.create_topic(topic)))?;
    if bench.consumers > 0 {
        let group = pb::CreateGroupRequest { name: bench.group.clone(), fifo, ..Default::default() };
        tolerate(call!(admin.create_group(group)))?;
    }
    Ok(())
}

fn tolerate<T>(outcome: Result<T, Failure>) -> Result<(), Failure> {
    match outcome {
        Err(Failure::Admin(status))
            if matches!(status.code(), tonic::Code::AlreadyExists | tonic::Code::Unimplemented) =>
        {
            Ok(())
        }
        outcome => outcome.map(drop),
    }
}

impl Bench {
    fn check(&self) -> Result<(), Failure> {
        let wrong = if self.senders == 0 && self.consumers == 0 {
            "give --senders or --consumers, or both"
        } else if self.senders == 0 && (self.count.is_some() || self.rate.is_some()) {
            "--count and --rate need --senders"
        } else if self.drain && self.consumers == 0 {
            "--drain needs --consumers"
        } else if self.call == Call::Empty && self.consumers > 0 {
            "--call empty goes without --consumers"
        } else {
            return Ok(());
        };
        Err(Failure::Usage(wrong.to_owned()))
    }

    fn consumer(&self) -> consumers::Consumer {
        consumers::Consumer {
            topic: self.topic.clone(),
            group: self.group.clone(),
            inflight: self.inflight,
            invisible: self.invisible,
        }
    }
}
