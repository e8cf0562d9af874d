//! The node of the master is lost and comes back; and the link between two pods, while both reach everybody else.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::docker::{Loss, cut_link, let_it_last};
use crate::kubectl::text;
use crate::load::{Load, now};
use crate::queue::{Queue, ensure_same_mastership};
use crate::scene::{Needs, Scene, play};
use crate::times;
use crate::wait::{DEADLINE, once, wait};

/// Sends while the node is away and after it came back.
const LOAD: Duration = Duration::from_mins(1);
/// A link stays cut for so long after the set was shrunk: longer than everybody's patience.
const CUT: Duration = Duration::from_secs(8);

#[test]
fn a_master_whose_node_hangs_is_replaced_and_does_not_disturb_when_it_wakes() -> Result<()> {
    play("d-paused", Needs::Docker, |scene| node_of_master_is_lost(scene, Loss::Paused))
}

#[test]
fn a_master_whose_node_is_killed_is_replaced_and_does_not_disturb_when_it_is_back() -> Result<()> {
    play("d-killed", Needs::Docker, |scene| node_of_master_is_lost(scene, Loss::Killed))
}

#[test]
fn a_master_whose_node_nobody_reaches_is_replaced_and_does_not_disturb_when_it_is_reached() -> Result<()> {
    play("d-cut", Needs::Docker, |scene| node_of_master_is_lost(scene, Loss::Cut))
}

fn node_of_master_is_lost(scene: &Scene, loss: Loss) -> Result<()> {
    let spread = json!({ "scheduling": { "hostSpread": "Required" } });
    let queue = Queue::apply(scene, &spread)?;
    let load = Load::start(&queue, LOAD)?;
    let before = queue.shard()?;
    let node = text(&queue.pod(&before.master)?, "/spec/nodeName").to_owned();
    let clients = queue.kubectl(&["get", "pod", "load", "-o", "jsonpath={.spec.nodeName}"])?;
    ensure!(clients != node, "the load runs on the node of the master: the cluster has too few nodes");
    let (fault, struck) = (now(), Instant::now());
    let back = loss.of(&node)?;
    let promoted = queue.promoted_after(&before)?;
    times::note(&scene.test, "node lost until the promotion is seen", struck.elapsed());
    ensure!(promoted.master != before.master, "the lost pod leads: {before:?}, then {promoted:?}");
    load.goes_on()?;
    let returned = Instant::now();
    back.now()?;
    let after = queue.whole(2)?;
    times::note(&scene.test, "node back until it is whole", returned.elapsed());
    ensure_same_mastership(&promoted, &after)?;
    load.goes_on()?;
    load.finish(fault)?;
    // Nor does it later.
    ensure_same_mastership(&promoted, &queue.shard()?)
}

#[test]
fn a_cut_between_master_and_slave_alone_changes_neither_master_nor_epoch() -> Result<()> {
    play("d-link", Needs::Docker, |scene| {
        let spread = json!({ "scheduling": { "hostSpread": "Required" } });
        let queue = Queue::apply(scene, &spread)?;
        let load = Load::start(&queue, LOAD)?;
        let before = queue.shard()?;
        let [master, slave] = [queue.pod(&before.master)?, queue.pod(&queue.a_slave()?)?];
        let address = |pod| text(pod, "/status/podIP").to_owned();
        let (fault, struck) = (now(), Instant::now());
        let cut = cut_link(text(&master, "/spec/nodeName"), [&address(&master), &address(&slave)])?;
        wait("the slave is out of the set", DEADLINE, || {
            let shard = queue.shard()?;
            Ok(once(shard.in_sync.len() == 1, format!("{shard:?}")))
        })?;
        times::note(&scene.test, "link cut until the set is shrunk", struck.elapsed());
        load.goes_on()?;
        let_it_last(CUT);
        ensure_same_mastership(&before, &queue.shard()?)?;
        let mended = Instant::now();
        cut.now()?;
        let after = queue.whole(2)?;
        times::note(&scene.test, "link mended until it is whole", mended.elapsed());
        ensure_same_mastership(&before, &after)?;
        load.finish(fault).map(drop)
    })
}
