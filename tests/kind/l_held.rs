//! Messages that wait: half messages of an official client, which ends some and is asked about the others, and delayed ones.
//! The master dies while they wait.

use anyhow::{Result, ensure};
use rq_tests::go_client::Sends;
use rq_tests::history::{Hold, Send};
use serde_json::{Value, json};

use crate::b_master::{LOAD, strike_master};
use crate::load::{Load, now};
use crate::official::Official;
use crate::pods::End;
use crate::queue::Queue;
use crate::scene::{Needs, play};

/// How long each delayed message waits: some of them when the master dies, whenever that is.
const DELAY: &str = "3s";

/// Producers are asked as soon and as often as a user may have it.
fn soon() -> Value {
    json!({ "config": { "transaction-immunity": "500ms", "transaction-check-interval": "1s" } })
}

#[test]
fn what_waits_outlives_a_master_whose_process_is_killed() -> Result<()> {
    play("l-killed", Needs::Docker, |scene| master_ends(&Queue::apply(scene, &soon())?, End::Killed))
}

#[test]
fn what_waits_outlives_a_master_whose_pod_is_deleted_by_force() -> Result<()> {
    play("l-forced", Needs::Cluster, |scene| master_ends(&Queue::apply(scene, &soon())?, End::DeletedByForce))
}

fn master_ends(queue: &Queue<'_>, end: End) -> Result<()> {
    let delayed = Load::start_delayed(queue, DELAY, LOAD)?;
    let official = Official::start(queue, Sends::HalfMessages, LOAD)?;
    let fault = now();
    strike_master(queue, end)?;
    delayed.goes_on()?;
    official.finish()?;
    let history = delayed.finish(fault)?;
    let waited =
        |send: &&Send| send.span.begin < fault && matches!(send.hold, Hold::Until(due) if due > fault);
    let waited = history.sends.iter().filter(waited).count();
    ensure!(waited > 0, "no message waited while the master died: the test shows nothing");
    Ok(())
}
