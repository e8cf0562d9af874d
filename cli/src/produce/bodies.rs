//! The bodies that are sent: one given, a file, or the lines of standard input.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use clap::Args;
use futures::{Stream, StreamExt as _, stream};

use crate::failure::Failure;

/// Lines of standard input read ahead.
const LINES_AHEAD: usize = 1024;

/// The options that say which.
#[derive(Args)]
pub(super) struct Bodies {
    /// Body of the message
    #[arg(long, conflicts_with = "file", value_name = "TEXT")]
    body: Option<String>,
    /// File whose whole content is the body; `-` is standard input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Send so many messages of that body
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    repeat: u64,
}

impl Bodies {
    /// How many there will be, where that is known before they are read.
    pub(super) fn count(&self) -> Option<u64> {
        (self.body.is_some() || self.file.is_some()).then_some(self.repeat)
    }

    /// The bodies; counts the lines of standard input that are none.
    pub(super) fn read(
        &self,
        skipped: &Arc<AtomicU64>,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + use<>, Failure> {
        let body = match (&self.body, &self.file) {
            (Some(body), _) => Bytes::from(body.clone()),
            (None, Some(path)) => read(path)?,
            (None, None) if self.repeat > 1 => {
                return Err(Failure::Usage("--repeat needs --body or --file".to_owned()));
            }
            (None, None) => return Ok(lines(Arc::clone(skipped)).left_stream()),
        };
        let repeat = usize::try_from(self.repeat).unwrap_or(usize::MAX);
        Ok(stream::iter(std::iter::repeat_n(body, repeat)).map(Ok).right_stream())
    }
}

fn read(path: &Path) -> Result<Bytes, Failure> {
    if path == Path::new("-") {
        let mut body = Vec::new();
        let outcome = io::stdin().lock().read_to_end(&mut body);
        return outcome.map(|_| Bytes::from(body)).map_err(input);
    }
    std::fs::read(path).map(Bytes::from).map_err(|source| Failure::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })
}

/// The lines of standard input, read by a thread of their own, since such a read can not be called off.
fn lines(skipped: Arc<AtomicU64>) -> impl Stream<Item = Result<Bytes, Failure>> {
    if io::stdin().is_terminal() {
        eprintln!("rq: type one message a line, end with Ctrl-D");
    }
    let (sender, receiver) = tokio::sync::mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let line = line.map(|mut line| {
                line.pop_if(|last| *last == b'\r');
                Bytes::from(line)
            });
            if matches!(&line, Ok(line) if line.is_empty()) {
                skipped.fetch_add(1, Ordering::Relaxed);
            } else if sender.blocking_send(line.map_err(input)).is_err() {
                return;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|line| (line, receiver)) })
}

fn input(source: io::Error) -> Failure {
    Failure::Stream { doing: "read standard input", source }
}
