//! The names of all settings, taken from the flags, and the nearest of them to one that is not known.

use clap::{Arg, CommandFactory as _};

use super::Args;
use super::limits::HEADING;

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "RQ_";
/// The section of a file that holds the limits.
pub(super) const LIMITS: &str = "limits";

/// The keys of a file: outside any section, or in that of the limits.
pub(super) fn keys(in_limits: bool) -> Vec<String> {
    let long = |arg: &Arg| arg.get_long().map(str::to_owned);
    Args::command()
        .get_arguments()
        .filter(|arg| arg.get_long() != Some("config") && is_limit(arg) == in_limits)
        .filter_map(long)
        .collect()
}

/// The environment variables.
pub(super) fn variables() -> Vec<String> {
    let name = |arg: &Arg| arg.get_env().map(|name| name.to_string_lossy().into_owned());
    Args::command().get_arguments().filter_map(name).collect()
}

/// How much a name must be like another to be what was meant; 1 is the same.
const LIKENESS_MIN: f64 = 0.8;

/// The name that is most like `unknown`, if one is like it at all. Variables are compared without what they all
/// begin with.
pub(super) fn nearest<'n>(unknown: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let own = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
    let unknown = own(unknown);
    names
        .map(|name| (strsim::jaro_winkler(&unknown, &own(name)), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(one, _), (two, _)| one.total_cmp(two))
        .map(|(_, name)| name)
}

fn is_limit(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(HEADING)
}
