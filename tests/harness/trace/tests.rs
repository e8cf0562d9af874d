//! Traces as strace prints them: right ones, and one for each way to answer too early.

use super::*;

const WRITE: &str = r#"7 1.0 pwrite64(5</d/log/0.seg>, "\0\1x\"rqtrace-body-00000001\377", 99, 0) = 99"#;
const SYNC: &str = "7 1.1 fdatasync(5</d/log/0.seg>) = 0";
const ANSWER: &str =
    r#"8 1.2 writev(9<TCP:[1->2]>, [{iov_base="\0\0rqtrace-id-00000001", iov_len=20}], 1) = 20"#;

fn verdict(lines: &[&str]) -> Vec<Breach> {
    Trace::parse(lines.join("\n").as_bytes()).unwrap().check(Path::new("/d"), &[1])
}

#[test]
fn written_synced_answered_is_right() {
    assert_eq!(verdict(&[WRITE, SYNC, ANSWER]), []);
}

#[test]
fn an_answer_before_the_sync_is_too_early() {
    assert_eq!(
        verdict(&[WRITE, ANSWER, SYNC]),
        [Breach::AnsweredTooEarly { number: 1, answered: 1, synced: 2 }]
    );
}

#[test]
fn a_sync_before_the_write_does_not_count() {
    assert_eq!(verdict(&[SYNC, WRITE, ANSWER]), [Breach::NeverSynced(1)]);
}

#[test]
fn a_sync_begun_before_the_write_returned_does_not_count() {
    let lines = [
        r#"7 1.0 pwrite64(5</d/log/0.seg>, "rqtrace-body-00000001", 99, 0 <unfinished ...>"#,
        "6 1.0 fdatasync(5</d/log/0.seg> <unfinished ...>",
        "7 1.0 <... pwrite64 resumed>) = 99",
        "6 1.0 <... fdatasync resumed>) = 0",
        ANSWER,
    ];
    assert_eq!(verdict(&lines), [Breach::NeverSynced(1)]);
    let mut then_synced = lines.to_vec();
    then_synced.insert(4, SYNC);
    assert_eq!(verdict(&then_synced), []);
}

#[test]
fn an_answer_begun_before_the_sync_returned_is_too_early() {
    let lines = [
        WRITE,
        "6 1.0 fdatasync(5</d/log/0.seg> <unfinished ...>",
        ANSWER,
        "6 1.0 <... fdatasync resumed>) = 0",
    ];
    assert_eq!(verdict(&lines), [Breach::AnsweredTooEarly { number: 1, answered: 2, synced: 3 }]);
}

#[test]
fn the_sync_of_another_file_does_not_count() {
    assert_eq!(verdict(&[WRITE, "7 1.1 fdatasync(5</d/log/1.seg>) = 0", ANSWER]), [Breach::NeverSynced(1)]);
}

#[test]
fn a_failed_sync_or_write_does_not_count() {
    let failed = "7 1.1 fdatasync(5</d/log/0.seg>) = -1 EIO (Input/output error) (INJECTED)";
    assert_eq!(verdict(&[WRITE, failed, ANSWER]), [Breach::NeverSynced(1)]);
    let failed =
        r#"7 1.0 pwrite64(5</d/log/0.seg>, "rqtrace-body-00000001", 99, 0) = -1 EIO (Input/output error)"#;
    assert_eq!(verdict(&[failed, SYNC, ANSWER]), [Breach::NeverWritten(1)]);
}

#[test]
fn a_body_written_outside_of_the_data_directory_does_not_count() {
    let elsewhere = WRITE.replace("/d/log", "/elsewhere/log");
    assert_eq!(verdict(&[&elsewhere, SYNC, ANSWER]), [Breach::NeverWritten(1)]);
}

#[test]
fn the_request_read_from_a_socket_is_no_answer() {
    assert_eq!(verdict(&[WRITE, SYNC]), [Breach::NeverAnswered(1)]);
}

#[test]
fn a_cut_off_string_is_refused() {
    let cut = r#"7 1.0 pwrite64(5</d/log/0.seg>, "rqtr"..., 99, 0) = 99"#;
    assert!(Trace::parse(cut.as_bytes()).is_err());
}

#[test]
fn marks_have_one_length() {
    assert_eq!(marks(&format!("{}9{}", body_mark(12), body_mark(99_999_999)), BODY), [12, 99_999_999]);
}
