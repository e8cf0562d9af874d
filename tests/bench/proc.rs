//! What Linux says of a process: its processor time and its memory.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// Length of the unit in `/proc/PID/stat`: fixed in the kernel's interface.
const TICK: Duration = Duration::from_millis(10);

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: u64,
    /// Of that, what belongs to no file.
    pub(crate) anonymous: u64,
    /// Most that was ever resident.
    pub(crate) peak: u64,
}

/// User and system time of all threads so far.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read the processor time")?;
    // The second field, the name, may hold anything, spaces and brackets too.
    let rest = stat.rsplit_once(')').context("a line of /proc without a name")?.1;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || -> Result<u32> { Ok(fields.next().context("a short line of /proc")?.parse()?) };
    Ok(TICK * (ticks()? + ticks()?))
}

/// That of several processes together.
pub(crate) fn cpu_of_all(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| cpu(*pid)).sum()
}

/// The memory of a process now.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read the memory")?;
    let bytes = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_ascii_whitespace().next());
        Ok(kib.with_context(|| format!("no {name} in /proc"))?.parse::<u64>()? << 10)
    };
    Ok(Memory { resident: bytes("VmRSS:")?, anonymous: bytes("RssAnon:")?, peak: bytes("VmHWM:")? })
}
