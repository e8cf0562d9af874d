//! How flags, file and defaults go over each other, and what is refused.

use std::io::Write as _;

use super::units::{Size, Span};
use super::*;

fn load(flags: &[&str], file: Option<&str>) -> Result<Config, ConfigError> {
    let mut args = Args::try_parse_from([&["rq-broker"], flags].concat()).unwrap();
    let mut written = tempfile::NamedTempFile::new().unwrap();
    if let Some(file) = file {
        written.write_all(file.as_bytes()).unwrap();
        args.config = Some(written.path().to_owned());
    }
    Config::load(&args)
}

fn refused(flags: &[&str], file: Option<&str>) -> String {
    let error = load(flags, file).unwrap_err();
    match error {
        ConfigError::Unreadable(source) => source.to_string(),
        other => other.to_string(),
    }
}

#[test]
fn flags_go_over_the_file_and_the_file_over_the_defaults() {
    let file = "data = '/a'\nauto-create = true\n[limits]\nmax-body = '2MiB'\nlong-poll = '5s'\n";
    let config = load(&["--max-body", "3MiB", "--auto-create=false"], Some(file)).unwrap();
    assert_eq!(config.data, PathBuf::from("/a"));
    assert!(!config.auto_create);
    assert_eq!(config.limits.max_body, Size::mib(3));
    assert_eq!(config.limits.long_poll, Span::secs(5));
    assert_eq!(config.limits.max_properties, 128);
    assert_eq!(config.listen.to_string(), "127.0.0.1:8081");
}

#[test]
fn a_bare_flag_means_yes() {
    let config = load(&["--data", "d", "--auto-create"], None).unwrap();
    assert!(config.auto_create && !config.allow_unsafe_filesystem);
}

#[test]
fn the_defaults_are_in_their_ranges_and_what_the_clients_expect() {
    let config = load(&["--data", "d"], None).unwrap();
    let gateway = config.gateway(config.listen);
    assert_eq!(gateway.messages.body_bytes, 4_194_304);
    assert_eq!(gateway.settings.batch, 32);
    assert_eq!(gateway.settings.long_poll.as_secs(), 20);
    assert_eq!(config.engine().log.segment_bytes, 256 << 20);
}

#[test]
fn an_unknown_key_is_an_error_everywhere() {
    for file in ["data = 'd'\nlisten-port = 1\n", "data = 'd'\n[limits]\nmax-bodies = 1\n"] {
        let text = refused(&[], Some(file));
        assert!(text.contains("unknown field"), "{text}");
    }
    assert!(Args::try_parse_from(["rq-broker", "--data", "d", "--max-bodies", "1"]).is_err());
}

#[test]
fn what_is_out_of_range_or_missing_is_refused_with_its_range() {
    let text = refused(&["--data", "d", "--max-body", "17MiB"], None);
    assert_eq!(text, "max-body is 17MiB: use 1KiB to 16MiB");
    assert!(refused(&["--data", "d", "--long-poll", "30s"], None).contains("use 1s to 29s"));
    assert!(refused(&[], None).contains("--data"));
    assert!(refused(&["--data", "d", "--cluster", " "], None).contains("--cluster"));
    let text = refused(&["--data", "d", "--max-body", "2MiB", "--max-request", "2MiB"], None);
    assert!(text.contains("64KiB larger"), "{text}");
}

#[test]
fn help_names_each_limit_with_default_and_range() {
    let help = <Args as clap::CommandFactory>::command().render_long_help().to_string();
    assert!(help.contains("[default: 4MiB; 1KiB to 16MiB]"), "{help}");
    assert!(help.contains("RQ_MAX_BODY"));
}
