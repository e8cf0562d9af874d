//! `rq local status`: the cluster as its configuration and each of its replicas tell it.

use futures::future::join_all;
use rq_config_files::ConfigFiles;
use rq_core::config::Config;
use rq_proto::reliablequeue as pb;
use serde::Serialize;

use super::Directory;
use super::control::opened;
use super::describe::Replica;
use super::failure::LocalError;
use super::layout::{ClusterFile, Layout, ReplicaFile};
use super::process::State;
use super::trouble::Trouble;
use crate::args::Global;
use crate::failure::Failure;
use crate::output::{self, Output};

/// The number of the only shard.
const SHARD: u32 = 0;

/// A cluster at one moment, as programs are shown it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    endpoint: String,
    endpoints: Vec<String>,
    shard: u32,
    epoch: u32,
    pub(super) master: Option<String>,
    pub(super) in_sync: Vec<String>,
    replicas: Vec<ShownReplica>,
    /// What keeps the cluster from being well.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// One replica.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownReplica {
    name: String,
    pid: Option<u32>,
    endpoint: String,
    role: Role,
    in_sync: bool,
    durable_lsn: Option<u64>,
    commit_lsn: Option<u64>,
    data_dir: String,
    /// Why it must not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    halted: Option<String>,
    #[serde(skip)]
    doing: Doing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Master,
    Slave,
    Unknown,
}

/// What a replica does, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    NoProcess,
    Stopped,
    NoAnswer,
    Serving,
    Taking,
    Phase(pb::Phase),
    Halted,
    Waiting,
}

/// Runs the command.
pub(super) async fn run(global: &Global, directory: &Directory) -> Result<(), Failure> {
    let (layout, file) = opened(directory)?;
    let shown = Shown::gather(&layout, &file).await?;
    shown.print(global)?;
    match hint(&layout, &file) {
        Some(hint) if global.output == Output::Table && shown.trouble.as_ref() != Some(&hint) => {
            output::line(&format!("\n{hint}"))
        }
        _ => Ok(()),
    }
}

/// What a person should do who looks at this cluster, if anything.
fn hint(layout: &Layout, file: &ClusterFile) -> Option<String> {
    let config = layout.config();
    let runs = |replica: &ReplicaFile| replica.process.is_some_and(|process| process.state().is_some());
    if file.running().is_none() && file.replicas.iter().any(runs) {
        return Some(
            "the supervisor is gone, and its brokers run on: nobody starts them again or promotes one; `rq local up` \
             ends them in order and starts all again"
                .to_owned(),
        );
    }
    if !config.is_dir() {
        return Some(Trouble::ConfigGone(config).to_string());
    }
    file.running().is_none().then(|| "the cluster is not running: start it with `rq local up`".to_owned())
}

/// The newest configuration; none if there never was one.
pub(super) fn config(layout: &Layout) -> Result<Option<Config>, LocalError> {
    if !layout.config().is_dir() {
        return Ok(None);
    }
    Ok(ConfigFiles::at(&layout.config()).read()?)
}

impl Shown {
    /// Asks all replicas at once.
    pub(super) async fn gather(layout: &Layout, file: &ClusterFile) -> Result<Self, LocalError> {
        let config = config(layout)?;
        let answers = join_all(file.replicas.iter().map(async |replica| {
            let mut client = Replica::at(&replica.name, &replica.address()).ok()?;
            // Without a process nobody answers there, or a stranger does.
            replica.process?.state()?;
            client.describe().await.ok()
        }));
        Ok(Self::of(layout, file, config.as_ref(), &answers.await))
    }

    fn of(
        layout: &Layout,
        file: &ClusterFile,
        config: Option<&Config>,
        answers: &[Option<pb::ReplicaStatus>],
    ) -> Self {
        let name =
            |store| config.and_then(|config| config.members.get(store)).map(|member| member.name.clone());
        let shown = |(replica, answer): (&ReplicaFile, &Option<pb::ReplicaStatus>)| {
            let data_dir = layout.data(&replica.name).display().to_string();
            ShownReplica::of(replica, answer.as_ref(), config, data_dir)
        };
        let mut in_sync: Vec<_> =
            config.into_iter().flat_map(|config| config.in_sync.keys()).filter_map(name).collect();
        in_sync.sort_by(|one: &String, other| output::by_name(one, other));
        Self {
            endpoint: file.endpoint(),
            endpoints: file.replicas.iter().map(ReplicaFile::address).collect(),
            shard: SHARD,
            epoch: config.map_or(0, |config| config.epoch.0),
            master: config.and_then(|config| name(&config.master)),
            in_sync,
            replicas: file.replicas.iter().zip(answers).map(shown).collect(),
            trouble: file.trouble.clone(),
        }
    }

    /// What is missing until the cluster serves with every copy in sync; none if nothing is.
    pub(super) fn missing(&self) -> Option<String> {
        let Some(master) = self.replicas.iter().find(|replica| replica.role == Role::Master) else {
            return Some("no replica is master yet".to_owned());
        };
        if master.doing != Doing::Serving {
            return Some(format!("{} is master and does not serve yet", master.name));
        }
        let out = self.replicas.iter().find(|replica| !replica.in_sync)?;
        let why =
            out.halted.as_ref().map_or_else(|| out.doing.told().to_owned(), |why| format!("halted: {why}"));
        Some(format!("{} is not in sync yet: {why}", out.name))
    }

    /// Whether there is a master that serves.
    pub(super) fn serves(&self) -> bool {
        self.replicas.iter().any(|replica| replica.role == Role::Master && replica.doing == Doing::Serving)
    }

    /// How many copies are in sync.
    pub(super) fn copies(&self) -> usize {
        self.in_sync.len()
    }

    /// The name of a running replica that is no master, one in sync before others.
    pub(super) fn slave(&self) -> Option<&str> {
        let slaves = self.replicas.iter().filter(|replica| Some(&replica.name) != self.master.as_ref());
        let running = slaves.filter(|replica| replica.pid.is_some());
        running.min_by_key(|replica| !replica.in_sync).map(|replica| replica.name.as_str())
    }

    /// Prints it as it is asked for.
    pub(super) fn print(&self, global: &Global) -> Result<(), Failure> {
        if global.output == Output::Json {
            return output::json(self);
        }
        let or_nobody = |text: String| if text.is_empty() { "nobody".to_owned() } else { text };
        let mut fields = vec![
            ("clients", self.endpoint.clone()),
            ("master", or_nobody(self.master.clone().unwrap_or_default())),
            ("epoch", self.epoch.to_string()),
            ("in sync", or_nobody(self.in_sync.join(", "))),
        ];
        fields.extend(self.trouble.clone().map(|trouble| ("trouble", trouble)));
        output::fields(&fields)?;
        output::line("")?;
        let end = self.replicas.iter().find(|replica| replica.role == Role::Master);
        let end = end.and_then(|master| master.durable_lsn);
        let header = ["NAME", "ROLE", "STATE", "IN SYNC", "DURABLE", "COMMIT", "LAG", "PID", "ENDPOINT"];
        output::table(&header, self.replicas.iter().map(|replica| replica.row(end)))?;
        for (replica, why) in
            self.replicas.iter().filter_map(|replica| Some((replica, replica.halted.as_ref()?)))
        {
            output::line(&format!("{} has halted: {why}", replica.name))?;
        }
        Ok(())
    }
}

impl ShownReplica {
    fn of(
        replica: &ReplicaFile,
        answer: Option<&pb::ReplicaStatus>,
        config: Option<&Config>,
        data_dir: String,
    ) -> Self {
        let state = replica.process.and_then(|process| Some((process.pid, process.state()?)));
        let store = answer.and_then(|answer| answer.store_id.parse().ok());
        let is_master = config.is_some_and(|config| Some(config.master) == store);
        let role = match answer.map(pb::ReplicaStatus::role) {
            Some(pb::Role::Master) if is_master => Role::Master,
            Some(pb::Role::Slave) => Role::Slave,
            // A master that has not heard of its successor is none.
            _ => Role::Unknown,
        };
        let in_sync = config.is_some_and(|config| match store {
            Some(store) => config.in_sync.contains_key(&store),
            // It does not say which store it is: as it was last known.
            None => config.in_sync.keys().any(|store| config.members[store].name == replica.name),
        });
        Self {
            name: replica.name.clone(),
            pid: state.map(|(pid, _)| pid),
            endpoint: replica.address(),
            role,
            in_sync,
            durable_lsn: answer.map(|answer| answer.durable_lsn),
            commit_lsn: answer.map(|answer| answer.commit_lsn),
            data_dir,
            halted: answer.map(|answer| answer.halted.clone()).filter(|why| !why.is_empty()),
            doing: Doing::of(state.map(|(_, state)| state), answer, role),
        }
    }

    fn row(&self, end: Option<u64>) -> Vec<String> {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let role = match self.role {
            Role::Master => "master",
            Role::Slave => "slave",
            Role::Unknown => "-",
        };
        let lag = end.zip(self.durable_lsn).filter(|_| self.doing.hears_the_master());
        let lag = lag.map(|(end, durable)| output::bytes(end.saturating_sub(durable)));
        vec![
            self.name.clone(),
            role.to_owned(),
            self.doing.told().to_owned(),
            if self.in_sync { "yes" } else { "no" }.to_owned(),
            number(self.durable_lsn),
            number(self.commit_lsn),
            lag.unwrap_or_else(|| "-".to_owned()),
            number(self.pid.map(u64::from)),
            self.endpoint.clone(),
        ]
    }
}

impl Doing {
    fn of(state: Option<State>, answer: Option<&pb::ReplicaStatus>, role: Role) -> Self {
        match (state, answer, role) {
            (None, ..) => Self::NoProcess,
            (Some(State::Stopped), ..) => Self::Stopped,
            (_, None, _) => Self::NoAnswer,
            (_, Some(answer), _) if !answer.halted.is_empty() => Self::Halted,
            (_, Some(answer), Role::Master) => {
                if answer.serving {
                    Self::Serving
                } else {
                    Self::Taking
                }
            }
            (_, Some(answer), Role::Slave) => Self::Phase(answer.phase()),
            (_, Some(_), Role::Unknown) => Self::Waiting,
        }
    }

    /// Whether it is a slave with a link to the master: another one's log may have parted from the master's.
    const fn hears_the_master(self) -> bool {
        matches!(self, Self::Phase(pb::Phase::Following | pb::Phase::Installing | pb::Phase::Truncating))
    }

    const fn told(self) -> &'static str {
        match self {
            Self::NoProcess => "no process",
            Self::Stopped => "stopped by a signal",
            Self::NoAnswer => "no answer",
            Self::Serving => "serving",
            Self::Taking => "taking over",
            Self::Phase(pb::Phase::Following) => "following",
            Self::Phase(pb::Phase::Installing) => "copying the log",
            Self::Phase(pb::Phase::Truncating) => "cutting off what the master lacks",
            Self::Phase(_) => "looking for the master",
            Self::Waiting => "waiting for the configuration",
            Self::Halted => "halted",
        }
    }
}

#[cfg(test)]
mod tests;
