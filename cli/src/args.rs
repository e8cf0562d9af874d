//! Options of every command, and values that several commands take.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::output::Output;

/// Options of every command.
#[derive(clap::Args, Clone)]
pub(crate) struct Global {
    /// Address of the broker
    #[arg(
        long,
        global = true,
        env = "RQ_ENDPOINT",
        default_value = "127.0.0.1:8081",
        value_name = "HOST:PORT"
    )]
    pub(crate) endpoint: Endpoint,
    /// Tables for people, or JSON for programs
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Longest wait for the broker's answer to one call; of `produce` for each message, all attempts together
    #[arg(long, global = true, default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub(crate) timeout: Duration,
}

/// A duration as people write it: `3s`, `500ms`, `1h 30m`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text),
    }
}

/// A value that an option cannot do without. An empty one is most often a variable of a script that is not set, and would
/// mean "all" where it was to narrow down.
pub(crate) fn filled(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        Err("it is empty: give a value (is a variable not set?), or leave the option out")
    } else {
        Ok(text.to_owned())
    }
}

/// A user property as it is written on the command line.
pub(crate) fn property(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give KEY=VALUE"),
    }
}

/// Properties by their keys. A key given twice is refused: which of its values was meant is not for the command to say.
pub(crate) fn by_key(properties: &[(String, String)]) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    for (key, value) in properties {
        if found.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::Usage(format!(
                "--property {key}=… is given twice: a message has one value of it, give that one"
            )));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("3s").unwrap(), Duration::from_secs(3));
        assert_eq!(duration("1h 30m").unwrap(), Duration::from_mins(90));
        assert_eq!(duration("7").unwrap(), Duration::from_secs(7));
        assert!(duration("soon").is_err());
    }

    #[test]
    fn a_property_needs_a_key() {
        assert_eq!(property("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert_eq!(property("a=").unwrap(), ("a".to_owned(), String::new()));
        assert!(property("a").is_err());
        assert!(property("=b").is_err());
    }

    #[test]
    fn what_is_empty_is_no_value_and_a_property_has_one() {
        assert_eq!(filled("a").unwrap(), "a");
        assert!(filled("").unwrap_err().contains("leave the option out"));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(by_key(&[pair("a", "1"), pair("b", "1")]).unwrap().len(), 2);
        let twice = by_key(&[pair("a", "1"), pair("a", "2")]).unwrap_err();
        assert!(twice.to_string().contains("--property a=… is given twice"), "{twice}");
    }
}
