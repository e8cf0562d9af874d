//! Dead letters given back, or taken away. Those that are meant are found first: what fails again while others are still given
//! back does not count among them.

use rq_proto::reliablequeue as pb;

use super::select::{self, Found, Which};
use crate::admin::{Admin, call};
use crate::args::Global;
use crate::confirm::confirm;
use crate::failure::Failure;
use crate::output::{self, Output};

/// Dead letters of one request.
const PART: usize = 100;

/// `rq dlq replay`.
pub(super) async fn replay(
    global: &Global,
    admin: &Admin,
    which: &Which,
    dry_run: bool,
) -> Result<(), Failure> {
    let mut found = find(admin, which).await?;
    let meant = found.letters.len() as u64;
    if dry_run {
        would_be(global, which, meant, "replayed")?;
        return select::warn(&found.damaged);
    }
    let bar = output::progress(Some(meant), "dead letters replayed");
    let mut replayed = 0;
    for part in found.letters.chunks(PART) {
        let request = pb::ReplayDeadLettersRequest { group: which.group.clone(), offsets: offsets(part) };
        let answer =
            call!(admin.replay_dead_letters(request)).inspect_err(|_| stopped(replayed, "replayed"))?;
        replayed += answer.replayed;
        found.damaged.extend(answer.damaged);
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    done(global, which, "replayed", meant, replayed)?;
    select::warn(&found.damaged)?;
    stay(meant - replayed, "replayed: they are gone already, or the topic that they were sent to is")
}

/// `rq dlq purge`.
pub(super) async fn purge(
    global: &Global,
    admin: &Admin,
    which: &Which,
    dry_run: bool,
    yes: bool,
) -> Result<(), Failure> {
    let found = find(admin, which).await?;
    let meant = found.letters.len() as u64;
    if dry_run {
        would_be(global, which, meant, "purged")?;
        return select::warn(&found.damaged);
    }
    if meant > 0 {
        confirm(&format!("Purge {} of {} for good?", letters(meant), which.group), yes, "--dry-run")?;
    }
    let bar = output::progress(Some(meant), "dead letters purged");
    let mut purged = 0;
    for part in found.letters.chunks(PART) {
        let request = pb::PurgeDeadLettersRequest { group: which.group.clone(), offsets: offsets(part) };
        purged += call!(admin.purge_dead_letters(request)).inspect_err(|_| stopped(purged, "purged"))?.purged;
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    done(global, which, "purged", meant, purged)?;
    select::warn(&found.damaged)
}

async fn find(admin: &Admin, which: &Which) -> Result<Found, Failure> {
    let bar = output::progress(None, "dead letters found");
    let found = select::fetch(admin, which, u64::MAX, false, |count| bar.inc(count)).await;
    bar.finish_and_clear();
    found
}

fn offsets(part: &[pb::DeadLetter]) -> Vec<i64> {
    part.iter().map(|letter| letter.offset).collect()
}

/// Says how far it came before it failed.
fn stopped(done: u64, what: &str) {
    eprintln!("rq: {} {what} before this; the command can be repeated", letters(done));
}

fn would_be(global: &Global, which: &Which, meant: u64, what: &str) -> Result<(), Failure> {
    match global.output {
        Output::Json => output::json(
            &serde_json::json!({ "group": which.group, "matched": meant, what: 0, "dryRun": true }),
        ),
        Output::Table => output::line(&format!("{} would be {what}", letters(meant))),
    }
}

fn done(global: &Global, which: &Which, what: &str, meant: u64, done: u64) -> Result<(), Failure> {
    match global.output {
        Output::Json => {
            output::json(&serde_json::json!({ "group": which.group, "matched": meant, what: done }))
        }
        Output::Table => output::line(&format!("{} {what}", letters(done))),
    }
}

fn stay(left: u64, why: &str) -> Result<(), Failure> {
    if left == 0 {
        Ok(())
    } else {
        Err(Failure::LettersStay(format!("{} could not be {why}", letters(left))))
    }
}

fn letters(count: u64) -> String {
    if count == 1 { "1 dead letter".to_owned() } else { format!("{count} dead letters") }
}
