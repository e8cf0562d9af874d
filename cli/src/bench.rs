//! `rq bench`: measures a broker under load and writes down every operation if asked to.
//!
//! Closed loop: a number of senders, each waiting for its acknowledgement before it sends again. Open loop: sends
//! begin at a given rate whatever the broker does, and latency counts from when each was due, so that a stall is
//! seen by every send that it delays. The load generator is light on the processor, for it shares it with the
//! broker: requests are encoded once and only their ids change.

mod consumers;
mod cpu;
mod history;
mod lateness;
mod ledger;
mod master;
pub(crate) mod null;
mod options;
mod prebuilt;
mod report;
mod run;
mod senders;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rq_proto::reliablequeue as pb;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::admin::{Admin, call};
use crate::args::Global;
use crate::bench::cpu::Cpu;
use crate::bench::history::History;
use crate::bench::master::Master;
pub(crate) use crate::bench::options::{Bench, Call, threads};
use crate::bench::report::Report;
use crate::bench::run::Run;
use crate::client::Client;
use crate::failure::Failure;
use crate::output;

/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(200);

/// A broker that does not say for so long what is left to receive does not come back.
const SILENCE: Duration = Duration::from_mins(1);

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

/// Messages of the topic that the consumer group has not acknowledged, with those whose time has not come.
async fn owed(global: &Global, bench: &Bench) -> Result<u64, Failure> {
    let admin = Admin::connect(global).await?;
    // Before the group is asked: what leaves the one is in the other then.
    let delayed = match bench.delay {
        Some(_) => {
            call!(admin.describe_topic(pb::DescribeTopicRequest { name: bench.topic.clone() }))?.delayed
        }
        None => 0,
    };
    let group = call!(admin.describe_group(pb::DescribeGroupRequest { name: bench.group.clone() }))?;
    let of_topic = group.progress.iter().filter(|queue| queue.topic == bench.topic);
    Ok(delayed + of_topic.map(|queue| queue.ready + queue.in_flight + queue.waiting).sum::<u64>())
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
    let kind = bench.topic_type().into();
    let topic = pb::CreateTopicRequest { name: bench.topic.clone(), r#type: kind, queues: 0 };
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
