//! Where everything of a local cluster lies, and `cluster.json`: what runs, for the commands that did not start it.
//! Only the supervisor writes that file, whole and by rename.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::broker::program;
use super::failure::LocalError;
use super::process::Process;
use super::{Cluster, Directory};

/// Name of the cluster in routes and in the data directories: that of a broker which was given none.
pub(super) const CLUSTER: &str = "reliablequeue";
/// All listen here.
pub(super) const HOST: &str = "127.0.0.1";
/// Replicas of a cluster that was not told how many.
const REPLICAS: u16 = 2;
/// Port for clients of a cluster that was not told which.
const BASE_PORT: u16 = 8081;
const CLUSTER_FILE: &str = "cluster.json";

/// The directory of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// A cluster that is there.
    pub(super) fn existing(directory: &Directory) -> Result<Self, LocalError> {
        let missing = || LocalError::NoCluster(directory.data.clone());
        let dir = directory.data.canonicalize().map_err(|_| missing())?;
        let layout = Self { dir };
        if layout.cluster_file().exists() { Ok(layout) } else { Err(missing()) }
    }

    /// A cluster that is there, or is to be.
    pub(super) fn made(directory: &Directory) -> Result<Self, LocalError> {
        let file = |doing| move |source| LocalError::File { doing, path: directory.data.clone(), source };
        fs::create_dir_all(&directory.data).map_err(file("make"))?;
        let dir = directory.data.canonicalize().map_err(file("find"))?;
        Ok(Self { dir })
    }

    /// The directory itself.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The versions of the configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// What a replica stores.
    pub(super) fn data(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What a replica says.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// What the supervisor says.
    pub(super) fn supervisor_log(&self) -> PathBuf {
        self.log("supervisor")
    }

    /// Held by the supervisor while it lives.
    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join("supervisor.lock")
    }

    fn cluster_file(&self) -> PathBuf {
        self.dir.join(CLUSTER_FILE)
    }

    /// What is written down; none if nothing was started here.
    pub(super) fn read(&self) -> Result<Option<ClusterFile>, LocalError> {
        let path = self.cluster_file();
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(file) => Ok(Some(file)),
                Err(source) => Err(LocalError::Malformed { path, source }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LocalError::File { doing: "read", path, source }),
        }
    }

    /// Writes it down. Readers see the old or the new, whole.
    pub(super) fn write(&self, cluster: &ClusterFile) -> Result<(), LocalError> {
        let path = self.cluster_file();
        let draft = path.with_extension("json.new");
        let written = || {
            let mut text = serde_json::to_vec_pretty(cluster)?;
            text.push(b'\n');
            fs::File::create(&draft)?.write_all(&text)?;
            fs::rename(&draft, &path)
        };
        written().map_err(|source| LocalError::File { doing: "write", path: path.clone(), source })
    }

    /// The last line of a log that says something; a dash if there is none.
    pub(super) fn last_line(log: &Path) -> String {
        let text = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        last.unwrap_or("-").to_owned()
    }
}

/// What runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterFile {
    /// The port that clients use.
    pub(super) base_port: u16,
    /// The program of a broker, if one was named.
    #[serde(default)]
    pub(super) broker: Option<PathBuf>,
    /// Topics and consumer groups are made on first use.
    #[serde(default)]
    pub(super) auto_create: bool,
    /// The file system may be one that loses what was flushed to it.
    #[serde(default)]
    pub(super) allow_unsafe_filesystem: bool,
    /// Who watches; none when it has ended in order.
    pub(super) supervisor: Option<Process>,
    /// The replicas, by their number.
    pub(super) replicas: Vec<ReplicaFile>,
    /// What keeps the cluster from being well, in words.
    pub(super) trouble: Option<String>,
}

/// One replica.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplicaFile {
    /// What people call it.
    pub(super) name: String,
    /// Its port for clients and other replicas.
    pub(super) port: u16,
    /// Its port for metrics and health.
    pub(super) http_port: u16,
    /// Its process; none while there is none.
    pub(super) process: Option<Process>,
    /// How often it has ended since the supervisor started.
    pub(super) ended: u32,
    /// How it ended last.
    pub(super) how: Option<String>,
}

impl ReplicaFile {
    /// Where it serves, `HOST:PORT`.
    pub(super) fn address(&self) -> String {
        format!("{HOST}:{}", self.port)
    }

    /// Where its metrics are, `HOST:PORT`.
    pub(super) fn http(&self) -> String {
        format!("{HOST}:{}", self.http_port)
    }
}

impl ClusterFile {
    /// A cluster as it is asked for, where nothing is said as it was before; nothing runs yet.
    pub(super) fn planned(before: Option<&Self>, asked: &Cluster) -> Result<Self, LocalError> {
        let has = before.map(|before| before.replicas.len() as u16);
        let replicas = asked.replicas.or(has).unwrap_or(REPLICAS);
        if let Some(has) = has.filter(|has| *has > replicas) {
            return Err(LocalError::Fewer { has, asked: replicas });
        }
        let base_port = asked.base_port.or(before.map(|before| before.base_port)).unwrap_or(BASE_PORT);
        let needed = 1 + 2 * replicas;
        if u32::from(base_port) + u32::from(needed) - 1 > u32::from(u16::MAX) {
            return Err(LocalError::Ports { base: base_port, replicas, needed });
        }
        let replica = |number: u16| ReplicaFile {
            name: format!("r{number}"),
            port: base_port + 1 + 2 * number,
            http_port: base_port + 2 + 2 * number,
            process: None,
            ended: 0,
            how: None,
        };
        let broker =
            asked.broker.as_deref().map(|named| std::path::absolute(named).unwrap_or(named.to_owned()));
        let flag = |asked: Option<bool>, before: Option<bool>| asked.or(before).unwrap_or(false);
        Ok(Self {
            base_port,
            broker: broker.or_else(|| before?.broker.clone()),
            auto_create: flag(asked.auto_create, before.map(|before| before.auto_create)),
            allow_unsafe_filesystem: flag(
                asked.allow_unsafe_filesystem,
                before.map(|before| before.allow_unsafe_filesystem),
            ),
            supervisor: None,
            replicas: (0..replicas).map(replica).collect(),
            trouble: None,
        })
    }

    /// What is asked for otherwise than this cluster, which runs, has it; nothing if it is the same.
    pub(super) fn differs(&self, asked: &Cluster) -> Result<(), LocalError> {
        let differs = |option, is: String, asked: String| {
            if is == asked { Ok(()) } else { Err(LocalError::Differs { option, is, asked }) }
        };
        let flags = [
            ("--auto-create", self.auto_create, asked.auto_create),
            ("--allow-unsafe-filesystem", self.allow_unsafe_filesystem, asked.allow_unsafe_filesystem),
        ];
        if let Some(replicas) = asked.replicas {
            differs("--replicas", self.replicas.len().to_string(), replicas.to_string())?;
        }
        if let Some(port) = asked.base_port {
            differs("--base-port", self.base_port.to_string(), port.to_string())?;
        }
        if let Some(named) = &asked.broker {
            let path = |named| Ok::<_, LocalError>(program(named)?.display().to_string());
            differs("--broker", path(self.broker.as_deref())?, path(Some(named))?)?;
        }
        for (option, is, asked) in flags {
            differs(option, is.to_string(), asked.unwrap_or(is).to_string())?;
        }
        Ok(())
    }

    /// The one address for clients.
    pub(super) fn endpoint(&self) -> String {
        format!("{HOST}:{}", self.base_port)
    }

    /// Who watches now.
    pub(super) fn running(&self) -> Option<Process> {
        self.supervisor.filter(|supervisor| supervisor.state().is_some())
    }

    /// The replica with this name.
    pub(super) fn named(&self, name: &str) -> Result<&ReplicaFile, LocalError> {
        self.replicas.iter().find(|replica| replica.name == name).ok_or_else(|| LocalError::NoReplica {
            name: name.to_owned(),
            names: self.replicas.iter().map(|replica| replica.name.clone()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(replicas: Option<u16>, base_port: Option<u16>) -> Cluster {
        Cluster {
            directory: Directory { data: PathBuf::from("unused") },
            replicas,
            base_port,
            broker: None,
            auto_create: None,
            allow_unsafe_filesystem: None,
        }
    }

    #[test]
    fn each_replica_has_two_ports_above_the_one_for_clients() {
        let cluster = ClusterFile::planned(None, &asked(None, None)).unwrap();
        assert_eq!(cluster.endpoint(), "127.0.0.1:8081");
        let ports: Vec<_> =
            cluster.replicas.iter().map(|r| (r.name.as_str(), r.address(), r.http_port)).collect();
        let (r0, r1) = ("127.0.0.1:8082".to_owned(), "127.0.0.1:8084".to_owned());
        assert_eq!(ports, [("r0", r0, 8083), ("r1", r1, 8085)]);
    }

    #[test]
    fn a_cluster_starts_again_as_it_was_and_may_grow_but_not_shrink() {
        let before = ClusterFile::planned(None, &asked(Some(3), Some(9000))).unwrap();
        assert_eq!(ClusterFile::planned(Some(&before), &asked(None, None)).unwrap(), before);
        assert_eq!(ClusterFile::planned(Some(&before), &asked(Some(4), None)).unwrap().replicas.len(), 4);
        let fewer = ClusterFile::planned(Some(&before), &asked(Some(2), None));
        assert!(matches!(fewer, Err(LocalError::Fewer { has: 3, asked: 2 })));
    }

    #[test]
    fn a_cluster_remembers_its_options_until_they_are_given_anew() {
        let options = Cluster {
            broker: Some(PathBuf::from("/opt/rq-broker")),
            auto_create: Some(true),
            allow_unsafe_filesystem: Some(true),
            ..asked(None, None)
        };
        let before = ClusterFile::planned(None, &options).unwrap();
        assert_eq!(ClusterFile::planned(Some(&before), &asked(None, None)).unwrap(), before);
        let without = Cluster { auto_create: Some(false), ..asked(None, None) };
        let without = ClusterFile::planned(Some(&before), &without).unwrap();
        assert_eq!(without, ClusterFile { auto_create: false, ..before.clone() });
    }

    #[test]
    fn a_cluster_that_runs_is_no_other_than_it_is() {
        let runs = ClusterFile::planned(None, &asked(Some(2), Some(9000))).unwrap();
        assert!(runs.differs(&asked(None, None)).is_ok());
        assert!(runs.differs(&asked(Some(2), Some(9000))).is_ok());
        let refused = |asked: &Cluster| runs.differs(asked).unwrap_err().to_string();
        assert!(refused(&asked(Some(3), None)).contains("with --replicas 2, and --replicas 3 is asked for"));
        assert!(refused(&asked(None, Some(9001))).contains("--base-port 9001"));
        let broker = Some(std::env::current_exe().unwrap());
        let other = Cluster { broker, auto_create: None, ..asked(None, None) };
        // Where nothing is built beside the test there is no broker to compare with.
        assert!(runs.differs(&other).is_err());
        assert!(
            refused(&Cluster { auto_create: Some(true), ..asked(None, None) }).contains("--auto-create true")
        );
    }

    #[test]
    fn ports_end_at_65535() {
        assert!(ClusterFile::planned(None, &asked(Some(2), Some(65_531))).is_ok());
        let over = ClusterFile::planned(None, &asked(Some(2), Some(65_532)));
        assert!(matches!(over, Err(LocalError::Ports { needed: 5, .. })));
    }

    #[test]
    fn what_runs_is_read_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory { data: dir.path().join("new") };
        assert!(matches!(Layout::existing(&directory), Err(LocalError::NoCluster(_))));
        let layout = Layout::made(&directory).unwrap();
        assert_eq!(layout.read().unwrap(), None);
        let mut cluster = ClusterFile::planned(None, &asked(None, None)).unwrap();
        cluster.supervisor = Process::of(std::process::id());
        cluster.replicas[1].process = cluster.supervisor;
        cluster.trouble = Some("no disk".to_owned());
        layout.write(&cluster).unwrap();
        assert_eq!(Layout::existing(&directory).unwrap().read().unwrap(), Some(cluster.clone()));
        assert_eq!(cluster.running(), cluster.supervisor);
    }

    #[test]
    fn the_last_line_of_a_log_is_the_last_that_says_something() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("r0.log");
        assert_eq!(Layout::last_line(&log), "-");
        fs::write(&log, "one\nrq-broker: no disk\n\n").unwrap();
        assert_eq!(Layout::last_line(&log), "rq-broker: no disk");
    }
}
