//! Reads what strace wrote and proves, message by message, that no answer left before its bytes were on disk: a write
//! of the body to the log returned, then an fdatasync of that file was begun and returned 0, and only then a socket
//! write that carries the message id was begun. The number of a line is the clock: strace handles one stop at a time.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// System calls that the trace must hold.
pub const CALLS: &str =
    "trace=pwrite64,pwritev,pwritev2,write,writev,sendto,sendmsg,sendmmsg,fdatasync,fsync,sync_file_range";
/// Longest string that strace may print, in bytes. Beyond a frame, so that nothing is cut off.
pub const LONGEST_STRING: &str = "8388608";

const BODY: &str = "rqtrace-body-";
const ANSWER: &str = "rqtrace-id-";
/// Digits of a number in a mark. Fixed, so that no mark is the beginning of another.
const DIGITS: usize = 8;

/// The text in the body of the traced message `number`.
#[must_use]
pub fn body_mark(number: u32) -> String {
    format!("{BODY}{number:0DIGITS$}")
}

/// The id of the traced message `number`.
#[must_use]
pub fn message_id(number: u32) -> String {
    format!("{ANSWER}{number:0DIGITS$}")
}

/// One system call of the trace.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Call {
    name: String,
    /// What its descriptor is open on: a path, or `TCP:[…]`.
    target: String,
    /// Messages whose body it carries.
    bodies: Vec<u32>,
    /// Messages whose id it carries.
    ids: Vec<u32>,
    /// Line of its beginning.
    begin: usize,
    /// Line of its return, and what it returned.
    returned: Option<(usize, i64)>,
}

/// A parsed trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    calls: Vec<Call>,
}

/// A message whose trace does not show the promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breach {
    /// No write to a file of the data directory carried its body.
    NeverWritten(u32),
    /// It was written, and no later fdatasync of that file returned 0.
    NeverSynced(u32),
    /// No socket write carried its id, although its sender saw OK.
    NeverAnswered(u32),
    /// A socket write with its id was begun before the fdatasync returned.
    AnsweredTooEarly {
        /// The message.
        number: u32,
        /// Line of that socket write.
        answered: usize,
        /// Line of the first fdatasync's return that counts.
        synced: usize,
    },
}

impl Trace {
    /// Parses strace's output, written with `-f -yy` and the strings of [`LONGEST_STRING`].
    pub fn parse(lines: impl BufRead) -> Result<Self> {
        let mut trace = Self::default();
        let mut unfinished: BTreeMap<String, usize> = BTreeMap::new();
        for (line_number, line) in lines.lines().enumerate() {
            let line = line.with_context(|| format!("read line {line_number} of the trace"))?;
            let mut words = line.splitn(2, ' ');
            let (Some(thread), Some(rest)) = (words.next(), words.next()) else { continue };
            // With -ttt a time stands before the call; without it the call itself.
            let rest =
                rest.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').trim_start();
            if rest.starts_with("<... ") {
                let Some(call) = unfinished.remove(thread) else { continue };
                trace.calls[call].returned = result(rest).map(|result| (line_number, result));
            } else if let Some(call) = call(rest, line_number)? {
                if rest.ends_with("<unfinished ...>") {
                    unfinished.insert(thread.to_string(), trace.calls.len());
                }
                trace.calls.push(call);
            }
        }
        Ok(trace)
    }

    /// Successful fdatasyncs (or fsyncs) of files below `directory`.
    #[must_use]
    pub fn syncs(&self, directory: &Path) -> usize {
        self.calls
            .iter()
            .filter(|call| is_sync(call) && Path::new(&call.target).starts_with(directory))
            .count()
    }

    /// What the trace does not prove for the messages `acknowledged`, of a broker with its data in `directory`.
    #[must_use]
    pub fn check(&self, directory: &Path, acknowledged: &[u32]) -> Vec<Breach> {
        let mut syncs: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        let mut writes: BTreeMap<u32, Vec<(&str, usize)>> = BTreeMap::new();
        let mut answers: BTreeMap<u32, usize> = BTreeMap::new();
        for call in &self.calls {
            if Path::new(&call.target).starts_with(directory) {
                let Some((returned, result)) = call.returned else { continue };
                if is_sync(call) {
                    syncs.entry(&call.target).or_default().push((call.begin, returned));
                } else if result > 0 {
                    for &body in &call.bodies {
                        writes.entry(body).or_default().push((&call.target, returned));
                    }
                }
            } else if call.target.starts_with("TCP") {
                for &id in &call.ids {
                    answers.entry(id).or_insert(call.begin);
                }
            }
        }
        let synced_after = |file: &str, written: usize| {
            let later = syncs.get(file).into_iter().flatten().filter(|(begin, _)| *begin > written);
            later.map(|(_, returned)| *returned).min()
        };
        let judge = |&number: &u32| {
            let Some(written) = writes.get(&number) else { return Some(Breach::NeverWritten(number)) };
            let synced = written.iter().filter_map(|(file, written)| synced_after(file, *written)).min();
            let Some(synced) = synced else { return Some(Breach::NeverSynced(number)) };
            match answers.get(&number) {
                None => Some(Breach::NeverAnswered(number)),
                Some(&answered) if answered < synced => {
                    Some(Breach::AnsweredTooEarly { number, answered, synced })
                }
                Some(_) => None,
            }
        };
        acknowledged.iter().filter_map(judge).collect()
    }
}

fn is_sync(call: &Call) -> bool {
    matches!(call.name.as_str(), "fdatasync" | "fsync")
        && call.returned.is_some_and(|(_, result)| result == 0)
}

/// The call that `text` begins, if it has a descriptor with a name.
fn call(text: &str, line_number: usize) -> Result<Option<Call>> {
    let Some((name, arguments)) = text.split_once('(') else { return Ok(None) };
    let Some((number, rest)) = arguments.split_once('<') else { return Ok(None) };
    if number.is_empty() || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(None);
    }
    let ends = [">,", ">)", "> <unfinished"];
    let Some(end) = ends.iter().filter_map(|end| rest.find(end)).min() else { return Ok(None) };
    let (target, arguments) = rest.split_at(end);
    if arguments.contains("\"...,") || arguments.contains("\"...}") {
        bail!("line {line_number} of the trace has a string cut off: raise -s");
    }
    Ok(Some(Call {
        name: name.to_string(),
        target: target.to_string(),
        bodies: marks(arguments, BODY),
        ids: marks(arguments, ANSWER),
        begin: line_number,
        returned: result(arguments).map(|result| (line_number, result)),
    }))
}

/// What a call returned, from the end of its line.
fn result(text: &str) -> Option<i64> {
    let (_, result) = text.rsplit_once(") = ")?;
    result.split(' ').next()?.parse().ok()
}

fn marks(text: &str, mark: &str) -> Vec<u32> {
    let after = text.match_indices(mark).map(|(at, mark)| at + mark.len());
    after.filter_map(|at| text.get(at..at + DIGITS)?.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
