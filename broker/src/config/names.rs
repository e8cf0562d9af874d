//! The names of all settings, taken from the flags, and the nearest of them to one that is not known.

use clap::{Arg, CommandFactory as _};

use super::Args;
use super::limits::HEADING;

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

/// The name that is most like `unknown`; there is always one where there are names.
pub(super) fn nearest<'n>(unknown: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let likeness = |name: &&str| strsim::jaro_winkler(&unknown.to_lowercase(), &name.to_lowercase());
    names.max_by(|one, two| likeness(one).total_cmp(&likeness(two)))
}

fn is_limit(arg: &Arg) -> bool {
    arg.get_help_heading() == Some(HEADING)
}
