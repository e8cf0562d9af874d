//! The program of an official client that runs: it hears standard input and says lines.

use std::fs::File;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::language::Build;

/// Lines of its standard error that are worth showing.
const STANDARD_ERROR_LINES: usize = 40;

/// A program that runs. It is killed with this.
#[derive(Debug)]
pub struct ClientProgram {
    hears: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
    /// It writes logs under its user's home.
    home: TempDir,
    child: Child,
}

impl ClientProgram {
    /// Starts it for a broker at `address`, `HOST:PORT`, with further arguments and environment.
    pub fn start(
        build: &Build,
        address: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let (program, first) = build.command.split_first().context("an empty command")?;
        let home = tempfile::tempdir().context("make a home")?;
        let mut child = Command::new(program)
            .args(first)
            .args(["--endpoint", address])
            .args(arguments)
            .env("HOME", home.path())
            .env("JAVA_TOOL_OPTIONS", format!("-Duser.home={}", home.path().display()))
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(home.path().join("standard-error")).context("make a log")?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let hears = child.stdin.take();
        let said = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { hears, said, home, child })
    }

    /// Tells it a line.
    pub async fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.hears.as_mut().context("its input is closed")?;
        input.write_all(format!("{line}\n").as_bytes()).await.context("tell the client")
    }

    /// Ends what it hears.
    pub fn close_input(&mut self) {
        drop(self.hears.take());
    }

    /// The next line that it says; none when it has ended. What was waited for in vain is said the next time.
    pub async fn next_line(&mut self) -> Result<Option<String>> {
        self.said.next_line().await.context("listen to the client")
    }

    /// Ends it at once.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("kill the client")
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.context("wait for the client")
    }

    /// The end of what it wrote to standard error.
    #[must_use]
    pub fn last_errors(&self) -> String {
        let errors = std::fs::read(self.home.path().join("standard-error")).unwrap_or_default();
        let errors = String::from_utf8_lossy(&errors).into_owned();
        let mut last: Vec<&str> = errors.lines().rev().take(STANDARD_ERROR_LINES).collect();
        last.reverse();
        last.join("\n")
    }
}
