//! The API server as a person with `kubectl` sees it: objects are JSON, refusals are what the person would read.

use std::env;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// One call may take so long: an API server that is away must not hold up who looks again.
const CALL: &str = "--request-timeout=20s";

/// The context of the cluster: `RQ_KIND_CONTEXT`, or the current one of `KUBECONFIG`, or that of `make kind-up`.
pub(crate) fn context() -> Option<&'static str> {
    static CONTEXT: OnceLock<Option<String>> = OnceLock::new();
    let chosen = || match env::var("RQ_KIND_CONTEXT") {
        Ok(context) => Some(context),
        Err(_) if env::var_os("KUBECONFIG").is_some() => None,
        Err(_) => Some("kind-rq".to_owned()),
    };
    CONTEXT.get_or_init(chosen).as_deref()
}

/// `kubectl` for that cluster.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("kubectl");
    if let Some(context) = context() {
        command.args(["--context", context]);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What it prints; what it complains of is the error.
pub(crate) fn run(arguments: &[&str]) -> Result<String> {
    let output = command(&[&[CALL], arguments].concat()).output().context("start kubectl")?;
    finished(arguments, output)
}

/// The same with these objects on its standard input, for `-f -`.
pub(crate) fn run_with(arguments: &[&str], objects: &Value) -> Result<String> {
    finished(arguments, output_with(arguments, objects)?)
}

/// All that it says, whatever its exit code: of many objects some may be refused.
pub(crate) fn output_with(arguments: &[&str], objects: &Value) -> Result<Output> {
    let mut command = command(&[&[CALL], arguments, &["-f", "-"]].concat());
    let mut child = command.stdin(Stdio::piped()).spawn().context("start kubectl")?;
    let mut input = child.stdin.take().context("kubectl takes no input")?;
    let text = objects.to_string();
    // Beside the reading: what it says of many objects would fill its pipe.
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().context("wait for kubectl")?;
    // It may have refused before it read all.
    drop(writer.join());
    Ok(output)
}

fn finished(arguments: &[&str], output: Output) -> Result<String> {
    if !output.status.success() {
        bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("kubectl prints no UTF-8")
}

/// An object; none if there is none.
pub(crate) fn get(namespace: &str, kind: &str, name: &str) -> Result<Option<Value>> {
    let text = run(&["get", kind, name, "--namespace", namespace, "--ignore-not-found", "-o", "json"])?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&text).context("read what kubectl prints")?))
}

/// Objects of some kinds (`pods,services`) with these labels; with no labels, all.
pub(crate) fn list(namespace: &str, kinds: &str, labels: &str) -> Result<Vec<Value>> {
    let text = run(&["get", kinds, "--namespace", namespace, "--selector", labels, "-o", "json"])?;
    let mut list: Value = serde_json::from_str(&text).context("read what kubectl prints")?;
    Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// Applies an object, or a list of them.
pub(crate) fn apply(objects: &Value) -> Result<()> {
    run_with(&["apply"], objects).map(drop)
}

/// Text at a JSON pointer; empty where there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Number at a JSON pointer; 0 where there is none.
pub(crate) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// The name of an object.
pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}
