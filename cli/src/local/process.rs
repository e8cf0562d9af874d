//! Processes by identity: a number that the system gives again and again, and the moment of the start that makes it
//! unique. A signal never goes to whoever has the number of a process that is gone.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::failure::LocalError;

/// How often a process is looked at that was told to end.
const POLL: Duration = Duration::from_millis(20);

/// One process of this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// When it started, in clock ticks since the machine booted.
    started: u64,
}

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It runs or sleeps.
    Alive,
    /// Somebody stopped it by a signal.
    Stopped,
}

impl Process {
    /// The process that has this number now; none if nobody has it.
    pub(super) fn of(pid: u32) -> Option<Self> {
        stat(pid).map(|(_, started)| Self { pid, started })
    }

    /// What it does; none if it is gone.
    pub(super) fn state(self) -> Option<State> {
        let (state, started) = stat(self.pid)?;
        match state {
            _ if started != self.started => None,
            'Z' | 'X' => None,
            'T' | 't' => Some(State::Stopped),
            _ => Some(State::Alive),
        }
    }

    /// Sends a signal; to a process that is gone, nothing.
    pub(super) fn signal(self, signal: Signal) -> Result<(), LocalError> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|_| self.state().is_some()) else { return Ok(()) };
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(LocalError::Process {
                doing: "signal",
                what: format!("process {}", self.pid),
                source: error.into(),
            }),
        }
    }

    /// Asks it to end in order, and wakes it for that if it was stopped.
    pub(super) fn terminate(self) -> Result<(), LocalError> {
        self.signal(Signal::TERM)?;
        self.signal(Signal::CONT)
    }

    /// Asks a broker to end in order with all the others, so that it leaves the in-sync set as it is, and wakes it for that.
    pub(super) fn end_with_all(self) -> Result<(), LocalError> {
        self.signal(Signal::INT)?;
        self.signal(Signal::CONT)
    }

    /// Whether it is gone before this moment.
    pub(super) async fn gone_by(self, deadline: Instant) -> bool {
        while self.state().is_some() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }
}

/// State and start of a process.
fn stat(pid: u32) -> Option<(char, u64)> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// `PID (NAME) STATE …`: the name may hold anything, brackets too. The start is field 22.
fn parse(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_line_of_proc_is_read_whatever_the_name_of_the_program() {
        let line = "12 (a) b) (c) T 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2";
        assert_eq!(parse(line), Some(('T', 98_765)));
        assert_eq!(parse("12 (a)"), None);
    }

    #[tokio::test]
    async fn a_process_is_alive_until_it_ends_and_never_another_one() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert_eq!(process.state(), Some(State::Alive));
        let other = Process { started: process.started + 1, ..process };
        assert_eq!(other.state(), None);
        other.signal(Signal::KILL).unwrap();
        assert_eq!(process.state(), Some(State::Alive), "the signal was for another one");

        process.signal(Signal::STOP).unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while process.state() != Some(State::Stopped) {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(POLL).await;
        }
        process.terminate().unwrap();
        assert!(process.gone_by(deadline).await, "a zombie is gone as well");
        child.wait().unwrap();
    }
}
