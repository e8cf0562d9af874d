//! The languages: how each client program is built into the user's cache, outside the clone, and how it is started.
//! Sources are only read; nothing is installed here (`tests/clients/install.sh` does that).

use std::ffi::OsString;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::requirement::loudly;

/// A language with an official client.
#[derive(Debug)]
pub struct Language {
    /// What the matrix calls it.
    pub label: &'static str,
    /// Its folder of `tests/clients`.
    pub folder: &'static str,
    /// The version of the client.
    pub version: &'static str,
    /// Where that version is pinned: a file and what it says.
    pin: (&'static str, &'static str),
    /// Builds the program; returns how to start it.
    compile: fn(&Place) -> Result<Build>,
}

/// The top of the repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Every official client that is tested.
pub const LANGUAGES: [Language; 5] = [
    Language {
        label: "Go",
        folder: "go",
        version: "5.1.4",
        pin: ("go.mod", "rocketmq-clients/golang/v5 v5.1.4"),
        compile: go,
    },
    Language {
        label: "Java",
        folder: "java",
        version: "5.2.0",
        pin: ("pom.xml", "<version>5.2.0</version>"),
        compile: java,
    },
    Language {
        label: "Node.js",
        folder: "node",
        version: "1.0.8",
        pin: ("package.json", "\"rocketmq-client-nodejs\": \"1.0.8\""),
        compile: node,
    },
    Language {
        label: "Python",
        folder: "python",
        version: "5.1.2",
        pin: ("requirements.txt", "rocketmq-python-client==5.1.2"),
        compile: python,
    },
    Language {
        label: "Rust",
        folder: "rust",
        version: "5.0.0",
        pin: ("Cargo.toml", "rocketmq = \"=5.0.0\""),
        compile: rust,
    },
];

/// A program that was built.
#[derive(Debug)]
pub struct Build {
    /// The program and its first arguments.
    pub command: Vec<OsString>,
}

/// Where a program's sources are and where it is built.
struct Place {
    sources: PathBuf,
    cache: PathBuf,
}

impl Language {
    /// Builds the program. `None`, said loudly, where the toolchain is missing; an error if `CI=true` asks for all.
    pub fn build(&self) -> Result<Option<Build>> {
        let clients = root().join("tests/clients").canonicalize()?;
        let check = Command::new(clients.join("install.sh")).args(["--check", self.folder]).output()?;
        if !check.status.success() {
            let missing = String::from_utf8_lossy(&check.stdout);
            if std::env::var("CI").is_ok_and(|ci| ci == "true") {
                bail!("the {} client cannot be tested and CI=true asks for it: {missing}", self.label);
            }
            loudly(&format!("NOT RUN: the {} client: {}", self.label, missing.trim()));
            return Ok(None);
        }
        let place = Place { sources: clients.join(self.folder), cache: cache()?.join(self.folder) };
        std::fs::create_dir_all(&place.cache)?;
        let (file, pinned) = self.pin;
        let text = std::fs::read_to_string(place.sources.join(file))?;
        ensure!(text.contains(pinned), "tests/clients/{}/{file} does not pin {pinned}", self.folder);
        // Two tests, or two clones, may want the same program at the same time.
        let lock = File::create(place.cache.with_extension("lock"))?;
        lock.lock().context("wait for another build of the same program")?;
        let build = (self.compile)(&place).with_context(|| format!("build the {} client", self.label))?;
        Ok(Some(build))
    }

    /// The language of a folder.
    pub fn of(folder: &str) -> Result<&'static Self> {
        LANGUAGES.iter().find(|language| language.folder == folder).context("no such language")
    }
}

/// Where programs are built: kept over clones, so that dependencies are fetched once.
fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("reliablequeue/clients"))
}

impl Place {
    /// Runs `work` unless the last one to succeed saw the same `inputs`, files and folders of the sources.
    fn once(&self, inputs: &[&str], work: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        for input in inputs {
            hash(&self.sources.join(input), &mut hasher)?;
        }
        let (stamp, now) = (self.cache.join("stamp"), hasher.finish().to_string());
        if std::fs::read_to_string(&stamp).is_ok_and(|before| before == now) {
            return Ok(());
        }
        work()?;
        Ok(std::fs::write(stamp, now)?)
    }
}

fn hash(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    if !path.is_dir() {
        return std::fs::read(path)
            .with_context(|| path.display().to_string())
            .map(|bytes| bytes.hash(hasher));
    }
    let mut entries: Vec<PathBuf> =
        path.read_dir()?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    entries.sort();
    entries.iter().try_for_each(|entry| hash(entry, hasher))
}

/// Runs a build step to its end; its output is shown only when it fails.
fn step(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn go(place: &Place) -> Result<Build> {
    let program = place.cache.join("client");
    step(
        Command::new("go")
            .args(["build", "-mod=readonly", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(&place.sources),
    )?;
    Ok(Build { command: vec![program.into()] })
}

fn java(place: &Place) -> Result<Build> {
    let mut directory = OsString::from("-Dbuild.dir=");
    directory.push(&place.cache);
    place.once(&["pom.xml", "src"], || {
        let arguments = ["-B", "-q", "process-classes", "-f"];
        step(Command::new("mvn").args(arguments).arg(place.sources.join("pom.xml")).arg(&directory))
    })?;
    let mut class_path = place.cache.join("classes").into_os_string();
    class_path.push(":");
    class_path.push(place.cache.join("lib/*"));
    Ok(Build {
        command: vec!["java".into(), "-cp".into(), class_path, "dev.reliablequeue.clients.Main".into()],
    })
}

fn node(place: &Place) -> Result<Build> {
    place.once(&["package.json", "package-lock.json", ".npmrc"], || {
        for file in ["package.json", "package-lock.json", ".npmrc"] {
            std::fs::copy(place.sources.join(file), place.cache.join(file))?;
        }
        step(Command::new("npm").args(["ci", "--silent"]).current_dir(&place.cache))
    })?;
    // Modules are looked up beside the file that imports them.
    for entry in place.sources.read_dir()? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.extension().is_some_and(|e| e == "mjs"), path.file_name()) {
            std::fs::copy(&path, place.cache.join(name))?;
        }
    }
    Ok(Build { command: vec!["node".into(), place.cache.join("main.mjs").into()] })
}

fn python(place: &Place) -> Result<Build> {
    let environment = place.cache.join("venv");
    place.once(&["requirements.txt"], || {
        step(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        let arguments = ["install", "--quiet", "--disable-pip-version-check", "-r"];
        let requirements = place.sources.join("requirements.txt");
        step(Command::new(environment.join("bin/pip")).args(arguments).arg(requirements))
    })?;
    // -B: no byte code beside the sources.
    let command =
        vec![environment.join("bin/python").into(), "-B".into(), place.sources.join("main.py").into()];
    Ok(Build { command })
}

fn rust(place: &Place) -> Result<Build> {
    let target = place.cache.join("target");
    let mut command = Command::new("cargo");
    command.args(["build", "--quiet", "--locked", "--target-dir"]).arg(&target).current_dir(&place.sources);
    // What the cargo of this test says of the broker's crates and their flags would build all anew each time.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO") && text != "CARGO_HOME" || text == "RUSTFLAGS" {
            command.env_remove(&name);
        }
    }
    step(&mut command)?;
    Ok(Build { command: vec![target.join("debug/client-rust").into()] })
}
