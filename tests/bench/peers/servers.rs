//! The server processes of another project: started with their output in a log, stopped by their own pid when dropped,
//! whatever became of the run.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Ports for them: below the kernel's own choice, and none that our brokers are given.
const PORTS: std::ops::Range<u16> = 18_900..19_900;
/// Ports that each project is given.
const BLOCK: u16 = 20;
/// Until a server answers. Generous: a Java process begins slowly.
const START_DEADLINE: Duration = Duration::from_mins(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a log shown when its server ends.
const LOG_BYTES: usize = 4096;

/// Servers with the directory that all their files lie in.
#[derive(Debug)]
pub(crate) struct Servers {
    home: PathBuf,
    base_port: u16,
    children: Vec<(&'static str, Child)>,
}

impl Servers {
    /// None yet, in a directory of that name.
    pub(crate) fn none(disk: &Path, name: &str) -> Result<Self> {
        let home = disk.join(name);
        std::fs::create_dir(&home).with_context(|| format!("make {}", home.display()))?;
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let mut bases = PORTS.step_by(BLOCK.into());
        let base_port = bases.find(|base| (*base..base + BLOCK).all(free)).context("no ports are free")?;
        Ok(Self { home, base_port, children: Vec::new() })
    }

    /// One of the ports that are theirs.
    pub(crate) fn port(&self, number: u16) -> u16 {
        self.base_port + number
    }

    /// The directory.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Writes a file with settings.
    pub(crate) fn configure(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.home.join(name);
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        Ok(file)
    }

    /// Starts a server.
    pub(crate) fn start(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        let log = std::fs::File::create(self.log(name)).context("make a log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone().context("share a log")?).stderr(log);
        self.children.push((name, command.spawn().with_context(|| format!("start {name}"))?));
        Ok(())
    }

    /// Waits until somebody listens on a port.
    pub(crate) async fn listening(&mut self, port: u16) -> Result<()> {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            self.all_run()?;
            if began.elapsed() > START_DEADLINE {
                bail!("nobody listens on port {port} after {START_DEADLINE:?}");
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Fails if one of them has ended.
    pub(crate) fn all_run(&mut self) -> Result<()> {
        for (name, child) in &mut self.children {
            if let Some(status) = child.try_wait().context("look at a server")? {
                let log = std::fs::read(self.home.join(format!("{name}.log"))).unwrap_or_default();
                let end = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_BYTES)..]).into_owned();
                bail!("{name} ended with {status}; the end of its log:\n{end}");
            }
        }
        Ok(())
    }

    /// Their processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(|(_, child)| child.id()).collect()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.home.join(format!("{name}.log"))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
