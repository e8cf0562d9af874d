//! strace on a running broker: to see its system calls, or to make some of them fail. Attached after the start, so
//! that the broker stays our own child, and gone with it or when dropped.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::broker::signal;

const ATTACH_DEADLINE: Duration = Duration::from_secs(20);
const DETACH_DEADLINE: Duration = Duration::from_mins(1);

/// A strace attached to a process and all of its threads.
#[derive(Debug)]
pub struct Strace {
    child: Child,
}

impl Strace {
    /// Attaches to the process `pid` with further `arguments`, writing to `output`. Returns when every thread is
    /// traced.
    pub fn attach(pid: u32, arguments: &[&str], output: &Path) -> Result<Self> {
        let mut command = Command::new("strace");
        command.arg("-f").arg("-p").arg(pid.to_string()).args(arguments).arg("-o").arg(output);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("start strace")?;
        let mut strace = Self { child };
        let deadline = Instant::now() + ATTACH_DEADLINE;
        while !traces_all_threads(strace.child.id(), pid) {
            if let Some(status) = strace.child.try_wait().context("wait for strace")? {
                if status.success() {
                    // Attached, and the process ended already of what was injected.
                    return Ok(strace);
                }
                bail!(
                    "strace ended with {status} before it was attached: is another tracer on process {pid}?"
                );
            }
            if Instant::now() > deadline {
                bail!("strace did not attach to process {pid} within {ATTACH_DEADLINE:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(strace)
    }

    /// Detaches and waits until the output is complete.
    pub fn detach(mut self) -> Result<()> {
        signal(self.child.id(), rustix::process::Signal::INT).ok();
        let deadline = Instant::now() + DETACH_DEADLINE;
        while self.child.try_wait().context("wait for strace")?.is_none() {
            if Instant::now() > deadline {
                bail!("strace did not detach within {DETACH_DEADLINE:?}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        // A tracer that is killed lets go of its tracee, which runs on.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn traces_all_threads(tracer: u32, pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let wanted = format!("TracerPid:\t{tracer}");
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line == wanted)
    })
}
