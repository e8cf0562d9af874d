//! Which environment variables are ours: a misspelt one is an error, one that somebody else sets is not.

use std::ffi::{OsStr, OsString};

use super::ConfigError;
use super::names::{self, PREFIX};

/// Read by the tool `rq`, which may share its environment with a broker.
const OF_THE_TOOL: &str = "RQ_ENDPOINT";

/// Refuses the first variable that begins like ours and is none.
pub(super) fn check(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), ConfigError> {
    let known = names::variables();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if name == OF_THE_TOOL || known.iter().any(|known| known == name) || is_service_link(name, &value) {
            continue;
        }
        let nearest = names::nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(ConfigError::UnknownVariable { name: name.to_owned(), nearest });
    }
    Ok(())
}

/// Kubernetes tells each container of a namespace about its Services by variables: one named `rq-broker` makes
/// `RQ_BROKER_SERVICE_HOST`, `RQ_BROKER_SERVICE_PORT_GRPC`, `RQ_BROKER_PORT` and `RQ_BROKER_PORT_8081_TCP_ADDR`.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let numbered =
        name.split_once("_PORT_").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    let url = value.to_str().is_some_and(|value| value.contains("://"));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || numbered
        || (name.ends_with("_PORT") && url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> Option<String> {
        check([(name.into(), value.into())].into_iter()).err().map(|error| error.to_string())
    }

    #[test]
    fn a_misspelt_variable_is_refused_with_the_nearest_one() {
        let text = refused("RQ_MAX_BODIES", "1MiB").unwrap();
        assert_eq!(text, "the environment variable RQ_MAX_BODIES is unknown: use RQ_MAX_BODY, or unset it");
        assert!(refused("RQ_LISTEN_PORT", "8081").unwrap().contains("use RQ_LISTEN,"));
        assert!(refused("RQ_data", "d").unwrap().contains("use RQ_DATA,"));
    }

    #[test]
    fn no_variable_is_proposed_that_is_not_like_the_unknown_one() {
        for name in ["RQ_FOO", "RQ_WITH_COLOUR", "RQ_X", "RQ_"] {
            let text = refused(name, "1").unwrap();
            assert!(text.contains("unset it, or look") && !text.contains("use "), "{text}");
        }
    }

    #[test]
    fn known_variables_and_those_of_others_are_accepted() {
        for (name, value) in [
            ("RQ_MAX_BODY", "1MiB"),
            ("RQ_CONFIG", "rq.toml"),
            ("RQ_ENDPOINT", "localhost:8081"),
            ("RQ_BROKER_SERVICE_HOST", "10.0.0.1"),
            ("RQ_SERVICE_PORT_GRPC", "8081"),
            ("RQ_PORT", "tcp://10.0.0.1:8081"),
            ("RQ_PORT_8081_TCP_ADDR", "10.0.0.1"),
            ("PATH", "/bin"),
        ] {
            assert_eq!(refused(name, value), None, "{name}");
        }
    }
}
