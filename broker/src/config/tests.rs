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
    let error: &dyn std::error::Error = &load(flags, file).unwrap_err();
    assert!(error.source().is_none(), "the message says it all");
    // The name of the file is another one each time.
    let text = error.to_string();
    text.split_once(", line ").map_or(text.clone(), |(_, rest)| format!("line {rest}"))
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
    for (file, expected) in [
        ("data = 'd'\nlisten-port = 1\n", r#"line 2: the key "listen-port" is unknown here: use "listen""#),
        (
            "data = 'd'\n[limits]\nmax-bodies = 1\n",
            r#"line 3: the key "max-bodies" is unknown here: use "max-body" under [limits]"#,
        ),
        ("max-body = 1\n", r#"line 1: the key "max-body" is unknown here: use "max-body" under [limits]"#),
        (
            "data = 'd'\ncolour = 'red'\n",
            r#"line 2: the key "colour" is unknown here: remove it, or look for the right name in `rq-broker --help`"#,
        ),
        ("[limit]\n", r#"line 1: the key "limit" is unknown here: use "limits""#),
    ] {
        assert_eq!(refused(&[], Some(file)), expected);
    }
    assert!(Args::try_parse_from(["rq-broker", "--data", "d", "--max-bodies", "1"]).is_err());
}

#[test]
fn a_value_that_cannot_be_read_is_refused_with_its_line_its_key_and_what_to_write() {
    for (file, words) in [
        ("data = 'd'\n[limits]\nmax-body = '4MB'\n", ["line 3: max-body: ", "KiB, MiB, GiB"]),
        ("[limits]\n\nmax-body = true\n", ["line 3: max-body: ", "a size such as '4MiB'"]),
        ("[limits]\nlong-poll = '20'\n", ["line 2: long-poll: ", "write 20s"]),
        ("limits.long-poll = 20\n", ["line 1: long-poll: ", "string"]),
        ("listen = 'here'\n", ["line 1: listen: ", "socket address"]),
        ("auto-create = 'yes'\n", ["line 1: auto-create: ", "boolean"]),
        ("log-format = 'xml'\n", ["line 1: log-format: ", "`json`"]),
        ("limits = 3\n", ["line 1: limits: ", "expected a table: write [limits]"]),
        ("data = 'd'\ndata = 'e'\n", ["line 2: ", "duplicate key"]),
        ("data\n", ["line 1: ", "no TOML"]),
    ] {
        let text = refused(&[], Some(file));
        assert!(words.iter().all(|word| text.contains(word)), "{file:?} gives {text:?}");
        assert!(!text.contains('\n'), "{text:?}");
    }
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
fn a_port_for_other_brokers_has_tls_and_a_name() {
    let (listen, tls, name) =
        (["--peer-listen", "0.0.0.0:8083"], ["--peer-tls", "/tls"], ["--peer-tls-name", "a.b"]);
    let all = load(&[&["--data", "d"], &listen[..], &tls, &name].concat(), None).unwrap();
    assert_eq!(all.peer_listen.unwrap().to_string(), "0.0.0.0:8083");
    assert!(load(&["--data", "d"], None).unwrap().peer_listen.is_none());
    for (given, missing) in [
        ([listen, tls], "--peer-tls-name is missing: "),
        ([listen, name], "--peer-tls is missing: "),
        ([tls, name], "--peer-listen is missing: "),
    ] {
        let text = refused(&[&["--data", "d"], &given.concat()[..]].concat(), None);
        assert!(text.starts_with(missing), "{text}");
    }
    let file = "data = 'd'\npeer-listen = '127.0.0.1:8083'\npeer-tls = '/tls'\npeer-tls-name = 'a.b'\n";
    assert!(
        load(&[], Some(file)).unwrap().peer_links().is_err(),
        "the files are read before anything is served"
    );
}

#[test]
fn a_queue_shard_is_given_with_what_others_find_this_replica_by_and_with_no_other_store() {
    let flags = [
        "--data",
        "d",
        "--queue-shard",
        "shop/orders",
        "--name",
        "orders-0",
        "--advertise",
        "[fd00::1]:8083",
    ];
    let config = load(&flags, None).unwrap();
    assert!(config.is_member() && config.self_promotion);
    assert_eq!(config.queue_shard.unwrap().to_string(), "shop/orders");
    for (given, meant) in [
        ("10.0.0.1:8083", "10.0.0.1:8083"),
        ("fd00::1:8083", "[fd00::1]:8083"),
        ("[fd00::1]:8083", "[fd00::1]:8083"),
        ("orders-0.orders:8083", "orders-0.orders:8083"),
    ] {
        assert_eq!(load(&[&flags[..7], &[given]].concat(), None).unwrap().advertised(), meant);
    }
    for (left, missing) in [(4, "--name NAME"), (6, "--advertise HOST:PORT")] {
        assert!(refused(&flags[..left], None).contains(missing), "{missing}");
    }
    for address in ["10.0.0.1", ":8083", "10.0.0.1:port", "10.0.0.1:99999"] {
        let flags = [&flags[..7], &[address]].concat();
        assert!(refused(&flags, None).contains("--advertise HOST:PORT"), "{address}");
    }
    let text = refused(&[&flags[..], &["--config-store", "c"]].concat(), None);
    assert!(text.contains("exclude each other"), "{text}");
    let file = "data = 'd'\nqueue-shard = 'orders'\n";
    assert!(refused(&[], Some(file)).contains("NAMESPACE/NAME"));
}

#[test]
fn the_rules_of_a_member_are_those_that_are_given() {
    let rules = |flags: &[&str]| load(flags, None).unwrap().rules();
    assert_eq!(
        rules(&["--data", "d"]),
        crate::engine::cluster::Rules::default(),
        "the defaults are the same"
    );
    let given = ["--data", "d", "--self-promotion=false", "--ack-timeout", "1s", "--rejoin-lag", "1MiB"];
    let rules = rules(&given);
    assert!(!rules.self_promotion);
    assert_eq!((rules.ack_timeout_ms, rules.rejoin_lag_bytes), (1_000, 1 << 20));
}

#[test]
fn help_names_each_limit_with_default_and_range() {
    let help = <Args as clap::CommandFactory>::command().render_long_help().to_string();
    assert!(help.contains("[default: 4MiB; 1KiB to 16MiB]"), "{help}");
    assert!(help.contains("RQ_MAX_BODY"));
    for expected in ["--max-body <SIZE>", "--long-poll <DURATION>", "--max-ack-entries <NUMBER>", "20s, 5m"] {
        assert!(help.contains(expected), "{expected:?} is not in {help}");
    }
}

#[test]
fn what_an_inactive_group_owes_is_kept_unless_a_time_of_a_day_or_more_is_given() {
    use rq_core::queue::retention::InactiveGroup;
    let policy =
        |flags: &[&str], file| load(flags, file).map(|config| config.engine().retention.inactive_group);
    assert_eq!(policy(&["--data", "d"], None).unwrap(), InactiveGroup::Keep);
    let file = "data = 'd'\n[limits]\nretention-inactive-group = '7days'\n";
    assert_eq!(policy(&[], Some(file)).unwrap(), InactiveGroup::ExpireAfter(7 * 24 * 3_600_000));
    assert_eq!(policy(&["--retention-inactive-group", "keep"], Some(file)).unwrap(), InactiveGroup::Keep);
    let text = refused(&["--data", "d", "--retention-inactive-group", "3h"], None);
    assert_eq!(text, "retention-inactive-group is 3h: use 1day to keep");
}

#[test]
fn a_group_is_reported_after_a_day_at_the_earliest_and_before_its_messages_are_dropped() {
    let text = refused(&["--data", "d", "--report-inactive", "13h"], None);
    assert!(text.starts_with("report-inactive is 13h: use 1day to "), "{text}");
    let text = refused(&["--data", "d", "--retention-inactive-group", "1day"], None);
    assert!(text.contains("(1day) is shorter than report-inactive (7days)"), "{text}");
    assert!(text.contains("set report-inactive to 1day too, or retention-inactive-group to 7days"), "{text}");
    for report in ["1day", "7days"] {
        let flags = ["--data", "d", "--retention-inactive-group", "7days", "--report-inactive", report];
        assert!(load(&flags, None).is_ok(), "{report}");
    }
    assert!(load(&["--data", "d", "--report-inactive", "30days"], None).is_ok(), "nothing is dropped");
}

#[test]
fn fuzzed_files_are_refused_or_make_a_configuration() {
    let file = "data = '/a'\nauto-create = true\nlisten = '127.0.0.1:1'\n[limits]\nmax-body = '2MiB'\nlong-poll = '5s'\n";
    rq_fuzz::fuzz([file.as_bytes().to_vec()], |input| {
        let Ok(text) = std::str::from_utf8(input) else { return String::new() };
        match load(&[], Some(text)) {
            Ok(config) => format!("{:?}", config.limits.max_body),
            // Without the name of the file, which is another one each time, and the values.
            Err(error) => error
                .to_string()
                .split_once(", line ")
                .map_or_else(String::new, |(_, rest)| rest.chars().take(24).collect()),
        }
    });
}
