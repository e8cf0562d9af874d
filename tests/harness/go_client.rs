//! The official Go client as a load: it sends and consumes through whatever happens to the brokers, and says at the end
//! whether all that was acknowledged came. Where Go is missing it is left out, loudly.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rq_proto::reliablequeue::TopicType;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::client::Client;
use crate::language::{Build, Language};

/// Until its first send is acknowledged.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// Until it has consumed what it is owed. It gives up sooner by itself.
const END_DEADLINE: Duration = Duration::from_mins(3);
/// Lines of its standard error shown when it failed.
const STANDARD_ERROR_LINES: usize = 40;

/// What it sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sends {
    /// Messages that are to come.
    Plain,
    /// Half messages. Of some it ends the transaction, about the others it is asked, which takes the broker's immunity and its
    /// interval between checks; half of all are rolled back and must not come.
    HalfMessages,
}

impl Sends {
    /// The topic and the group.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "official",
            Self::HalfMessages => "official-transactions",
        }
    }

    fn kind(self) -> TopicType {
        match self {
            Self::Plain => TopicType::Normal,
            Self::HalfMessages => TopicType::Transaction,
        }
    }

    /// What the client is told besides its address and its names.
    #[must_use]
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["--keep-going"],
            Self::HalfMessages => &["--keep-going", "--in-transactions"],
        }
    }
}

/// The running client; none where Go is missing.
#[derive(Debug)]
pub struct GoClient(Option<Running>);

/// The program of the Go client, which hears standard input and says lines.
#[derive(Debug)]
pub struct Running {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// It writes logs under its user's home.
    home: TempDir,
}

#[derive(Debug, Deserialize)]
struct Report {
    result: String,
    detail: String,
}

impl GoClient {
    /// Makes its topic and group at `endpoint`, a URI, and starts it for `address`, `HOST:PORT`, in the network namespace
    /// of the caller. Returns when it sends.
    pub async fn start(endpoint: &str, address: &str, sends: Sends) -> Result<Self> {
        let Some(build) = Language::of("go")?.build()? else { return Ok(Self(None)) };
        let admin = Client::new(endpoint, "official-admin")?;
        admin.create_topic(sends.name(), sends.kind(), 4).await?;
        admin.create_group(sends.name(), false).await?;
        let mut running = Running::start(&build, address, &[sends.options(), &[sends.name(); 2]].concat())?;
        running.report(START_DEADLINE).await.context("the first send of the Go client")?;
        Ok(Self(Some(running)))
    }

    /// Ends its sending, lets it consume what it is owed, and returns what it says about that.
    pub async fn finish(self) -> Result<String> {
        let Some(mut running) = self.0 else { return Ok("not run".to_owned()) };
        drop(running.child.stdin.take());
        running.report(END_DEADLINE).await
    }
}

impl Running {
    /// Starts it for a broker at `address`, `HOST:PORT`, with further arguments.
    pub fn start(build: &Build, address: &str, arguments: &[&str]) -> Result<Self> {
        let (program, first) = build.command.split_first().context("an empty command")?;
        let home = tempfile::tempdir().context("make a home")?;
        let mut child = Command::new(program)
            .args(first)
            .args(["--endpoint", address])
            .args(arguments)
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(home.path().join("standard-error")).context("make a log")?)
            .kill_on_drop(true)
            .spawn()
            .context("start the Go client")?;
        let said = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, said, home })
    }

    /// Tells it a line.
    pub async fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("no input")?;
        input.write_all(format!("{line}\n").as_bytes()).await.context("tell the Go client")
    }

    /// The next line that it says; none when it has ended. What was waited for in vain is said the next time.
    pub async fn next_line(&mut self) -> Result<Option<String>> {
        self.said.next_line().await.context("listen to the Go client")
    }

    /// What it says next, if that is good.
    async fn report(&mut self, deadline: Duration) -> Result<String> {
        let line = tokio::time::timeout(deadline, self.next_line()).await;
        let line = line.context("the Go client says nothing")??;
        match line.as_deref().map(serde_json::from_str::<Report>) {
            Some(Ok(Report { result, detail })) if result == "pass" => Ok(detail),
            judged => {
                let errors = std::fs::read(self.home.path().join("standard-error")).unwrap_or_default();
                let errors = String::from_utf8_lossy(&errors).into_owned();
                let mut last: Vec<&str> = errors.lines().rev().take(STANDARD_ERROR_LINES).collect();
                last.reverse();
                bail!("the Go client failed: {judged:?}\n{}", last.join("\n"))
            }
        }
    }
}
