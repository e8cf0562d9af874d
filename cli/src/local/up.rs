//! `rq local up`: starts a supervisor, or is one, and waits until the cluster serves with every copy in sync.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tokio::sync::oneshot;

use super::control::end;
use super::failure::LocalError;
use super::layout::{ClusterFile, Layout};
use super::process::Process;
use super::view::Shown;
use super::{Cluster, Up, broker, supervise};
use crate::args::Global;
use crate::failure::Failure;
use crate::output;

/// How often the cluster is looked at.
const POLL: Duration = Duration::from_millis(100);
/// A cluster has so long to be whole: a slave may have much to copy.
const PATIENCE: Duration = Duration::from_mins(2);
/// Trouble that lasts so long does not go away by itself.
const TROUBLE_PATIENCE: Duration = Duration::from_secs(5);
/// A broker that ended so often is not going to stay.
const ENDS_MAX: u32 = 3;

/// Runs the command.
pub(super) async fn run(global: &Global, up: Up) -> Result<(), Failure> {
    let layout = Layout::made(&up.cluster.directory)?;
    let before = layout.read()?;
    if let Some((file, supervisor)) = before.as_ref().and_then(|file| Some((file, file.running()?))) {
        file.differs(&up.cluster)?;
        return wait(&layout, supervisor).await?.print(global);
    }
    // Said here, not in a log.
    let planned = ClusterFile::planned(before.as_ref(), &up.cluster)?;
    broker::program(planned.broker.as_deref())?;
    if up.foreground {
        return foreground(global, &layout, &up.cluster).await;
    }
    let supervisor = spawn(&layout, &up.cluster).await?;
    match wait(&layout, supervisor).await {
        Ok(shown) => shown.print(global),
        Err(error) if error.leaves_it_running() => Err(error.into()),
        Err(error) => {
            // What cannot serve is not left behind.
            end(supervisor).await?;
            Err(error.into())
        }
    }
}

async fn foreground(global: &Global, layout: &Layout, cluster: &Cluster) -> Result<(), Failure> {
    let told = supervise::told_to_stop()?;
    let (give_up, given_up) = oneshot::channel();
    let stop = async {
        tokio::select! {
            () = told => {}
            _ = given_up => {}
        }
    };
    let report = async {
        let reported = match Process::of(std::process::id()) {
            Some(this) => match wait(layout, this).await {
                Ok(shown) => shown.print(global),
                Err(error) if error.leaves_it_running() => output::line(&error.to_string()),
                Err(error) => Err(error.into()),
            },
            None => Ok(()),
        };
        if reported.is_err() {
            // The other side stops what it started; it is gone already if it failed by itself.
            let _ = give_up.send(());
            return reported;
        }
        // Kept until the other side has ended: dropped, it would stop the cluster.
        let _kept = give_up;
        std::future::pending().await
    };
    let supervise = supervise::run(cluster, stop);
    tokio::pin!(supervise, report);
    tokio::select! {
        ended = &mut supervise => Ok(ended?),
        reported = &mut report => {
            supervise.await?;
            reported
        }
    }
}

/// Starts this program once more, as a supervisor that outlives it.
async fn spawn(layout: &Layout, cluster: &Cluster) -> Result<Process, LocalError> {
    let log = layout.supervisor_log();
    let file = |source| LocalError::File { doing: "write", path: log.clone(), source };
    let said = OpenOptions::new().create(true).append(true).open(&log).map_err(file)?;
    let failed = |source| LocalError::Process { doing: "start", what: "the supervisor".to_owned(), source };
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["local", "supervise", "--data"]).arg(layout.dir());
    let number = |number: Option<u16>| number.map(|number| number.to_string());
    for (option, value) in
        [("--replicas", number(cluster.replicas)), ("--base-port", number(cluster.base_port))]
    {
        command.args(value.into_iter().flat_map(|value| [option.to_owned(), value]));
    }
    if let Some(program) = &cluster.broker {
        command.arg("--broker").arg(program);
    }
    let flags = [
        ("--auto-create", cluster.auto_create),
        ("--allow-unsafe-filesystem", cluster.allow_unsafe_filesystem),
    ];
    command.args(flags.iter().filter_map(|(flag, wanted)| Some(format!("{flag}={}", (*wanted)?))));
    command.stdin(Stdio::null()).stdout(said.try_clone().map_err(failed)?).stderr(said);
    let mut child = command.spawn().map_err(failed)?;
    let process = Process::of(child.id());
    // Until it has written down what it starts, its end is an error of its own.
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Err(ended(layout, &status.to_string()));
        }
        let supervisor = layout.read()?.and_then(|file| file.supervisor);
        if let Some(supervisor) = supervisor.filter(|supervisor| process == Some(*supervisor)) {
            return Ok(supervisor);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn ended(layout: &Layout, how: &str) -> LocalError {
    let log = layout.supervisor_log();
    LocalError::SupervisorEnded { how: how.to_owned(), said: Layout::last_line(&log), log }
}

/// Waits until the cluster is whole.
async fn wait(layout: &Layout, supervisor: Process) -> Result<Shown, LocalError> {
    let progress = output::waiting("starting");
    let whole = wait_with(layout, supervisor, &progress).await;
    progress.finish_and_clear();
    whole
}

async fn wait_with(
    layout: &Layout,
    supervisor: Process,
    progress: &ProgressBar,
) -> Result<Shown, LocalError> {
    let began = Instant::now();
    let mut trouble_since = None;
    loop {
        let file = layout.read()?.filter(|file| file.supervisor == Some(supervisor));
        let mut serving = None;
        let missing = match &file {
            Some(file) => {
                let shown = Shown::gather(layout, file).await?;
                let Some(missing) = shown.missing() else { return Ok(shown) };
                progress.set_message(format!("{} in sync; {missing}", shown.copies()));
                serving = shown.serves().then(|| shown.copies());
                missing
            }
            None => "the supervisor has not begun".to_owned(),
        };
        if supervisor.state().is_none() {
            return Err(ended(layout, "while it was waited for"));
        }
        if let Some(file) = &file {
            broker_stays(layout, file).map_err(|error| error.while_others_serve(serving))?;
            match &file.trouble {
                Some(trouble) => {
                    let since = *trouble_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= TROUBLE_PATIENCE {
                        return Err(LocalError::Trouble(trouble.clone()));
                    }
                }
                None => trouble_since = None,
            }
        }
        if began.elapsed() >= PATIENCE {
            let waited = humantime::format_duration(PATIENCE).to_string();
            return Err(LocalError::NotWhole { waited, why: missing, dir: layout.dir().to_owned() });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// An error for the first broker that ends again and again.
fn broker_stays(layout: &Layout, file: &ClusterFile) -> Result<(), LocalError> {
    let Some(replica) = file.replicas.iter().find(|replica| replica.ended >= ENDS_MAX) else { return Ok(()) };
    let log = layout.log(&replica.name);
    Err(LocalError::BrokerEnds {
        name: replica.name.clone(),
        times: replica.ended,
        how: replica.how.clone().unwrap_or_default(),
        said: Layout::last_line(&log),
        log,
    })
}
