//! A real broker for the tests of the tool: the binary next to the tool's, on a directory of its own.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Generous, for machines that do other things besides.
const DEADLINE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);

/// A running broker; killed at the end.
pub(crate) struct Broker {
    process: Child,
    endpoint: String,
    data: tempfile::TempDir,
}

/// An address where nobody listens.
pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn spawn(home: &Path, endpoint: &str) -> Child {
    let program = Path::new(env!("CARGO_BIN_EXE_rq")).with_file_name("rq-broker");
    assert!(program.exists(), "{} is missing: run `make build` first", program.display());
    let mut command = Command::new(program);
    command.arg("--data").arg(home.join("data"));
    command.args(["--listen", endpoint, "--http", &free_address()]);
    command.args(["--allow-unsafe-filesystem", "--segment", "1MiB", "--log", "warn"]);
    // What the tests are told by is not the broker's: it refuses what it does not know.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"RQ_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).spawn().unwrap()
}

impl Broker {
    /// Starts a broker with an empty directory and waits until it serves.
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let endpoint = free_address();
        let mut broker = Self { process: spawn(data.path(), &endpoint), endpoint, data };
        broker.serves();
        broker
    }

    /// Starts it once more, on what is in its directory.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.data.path(), &self.endpoint);
        self.serves();
    }

    fn serves(&mut self) {
        let address = self.endpoint.clone();
        let started = Instant::now();
        while TcpStream::connect(&address).is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "the broker ended: {ended:?}");
            assert!(started.elapsed() < DEADLINE, "the broker does not serve");
            std::thread::sleep(POLL);
        }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn data_dir(&self) -> String {
        self.data.path().join("data").to_str().unwrap().to_owned()
    }

    /// Stops it as a service manager does.
    pub(crate) fn stop(&mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let started = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < DEADLINE, "the broker does not stop");
            std::thread::sleep(POLL);
        }
    }

    /// Waits until something is so.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_so() {
            assert!(started.elapsed() < DEADLINE, "no sign of {what} at {}", self.endpoint);
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
