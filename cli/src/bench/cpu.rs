//! Processor time of a process, as Linux counts it for all its threads.

use std::time::Duration;

/// Processor time spent so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cpu(Duration);

/// Length of the unit in `/proc/PID/stat`: fixed in the kernel's interface, whatever its own tick is.
const TICK: Duration = Duration::from_millis(10);

impl Cpu {
    /// Of this process.
    pub(super) fn of_self() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Of a process on this machine; None if there is none.
    pub(super) fn of(pid: u32) -> Option<Self> {
        parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Of several processes together; None if there is none, or one of them is gone.
    pub(super) fn of_all(pids: &[u32]) -> Option<Self> {
        let each: Option<Vec<Self>> = pids.iter().map(|pid| Self::of(*pid)).collect();
        each.filter(|each| !each.is_empty()).map(|each| Self(each.iter().map(|cpu| cpu.0).sum()))
    }

    /// Spent since an earlier look.
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// User and system time: the 14th and 15th field. The second, the name, may hold anything, spaces and brackets too.
fn parse(stat: &str) -> Option<Cpu> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: u32 = fields.next()?.parse::<u32>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    Some(Cpu(TICK * ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 100 1000 10 0 0";
        assert_eq!(parse(stat), Some(Cpu(Duration::from_secs(2))));
        assert_eq!(parse("42 (x) S 1"), None);
    }

    #[test]
    fn the_time_of_this_process_is_known() {
        assert!(Cpu::of_self().is_some());
    }
}
