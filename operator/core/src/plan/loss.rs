//! A human's word that acknowledged messages may be lost: the only way to a master that may lack some. The in-sync set holds
//! no copy that could refuse the new epoch, so that a master that still lives would go on beside the new one: it is done only
//! where everybody who can tell has heard nothing of the set for a while.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use rq_core::config::{self, Change, Config};
use rq_core::ids::{Epoch, StoreId};
use rq_overseer::{Seen, Told};

use super::view::{BrokerPod, ShardState, View};
use super::{Action, Note};
use crate::observed::Observed;

/// Annotation of a queue: `POD/0@EPOCH/UNTIL`. Whoever sets it accepts that acknowledged messages are lost, until that time (RFC
/// 3339): it must not be done when nobody expects it any more, whatever became of who asked.
pub const ACCEPT_DATA_LOSS: &str = "reliablequeue.dev/accept-data-loss";
/// Nobody accepts a loss for longer than this ahead: it would be a standing order.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(15);
/// By so much a configuration that is made anew is ahead of what is known, in epochs and in versions: somebody who does not
/// answer may have served in epochs after that, and none may be served in twice. Far more masterships than there ever are between
/// two looks at a configuration.
const SKIPPED: u32 = 1 << 16;
/// A replica that runs counts as gone after so long a silence, in ms: many questions long, so that a slow moment, or an
/// operator that has just started, is not taken for the end of a copy.
const SILENCE_MS: u64 = 5_000;

/// A mastership of a copy that may lack acknowledged messages: only if a human named this pod and the epoch that ends, and no
/// copy that has everything is left.
pub(super) fn accepted(view: &View<'_>, notes: &mut Vec<Note>) -> Option<Action> {
    let config = view.config()?;
    let (pod, told) = successor(view, config)?;
    notes.push(note(pod, config));
    Some(Action::Write(Change::AcceptDataLoss { seen: config.epoch, to: told.store, session: told.session }))
}

/// The same where the configuration was lost: it is made from the newest that any replica has kept, newer than all that any
/// has seen.
pub(super) fn rebuilt(view: &View<'_>, notes: &mut Vec<Note>) -> Option<Config> {
    survived(view, notes).or_else(|| succeeded(view, notes))
}

/// By a copy that has everything, as far as the configuration says that is left: a member of it is gone, who may have known a
/// newer one.
fn survived(view: &View<'_>, notes: &mut Vec<Note>) -> Option<Config> {
    let base = kept(view)?;
    let word = word(view).filter(|word| word.epoch == base.epoch)?;
    let answers = || view.observed.replicas.iter().filter_map(Seen::answer);
    let pod = view.pods.iter().find(|pod| pod.name == word.pod)?;
    let may_lead = |told: &&Told| !told.halted && base.may_lead(told.store, told.session);
    let told = pod.told.filter(may_lead)?;
    let is_newest = answers().all(|told| told.promised <= base.epoch && told.config_version <= base.version);
    let is_there = |store: &StoreId| answers().any(|told| told.store == *store);
    let gone = base.members.keys().all(|store| is_there(store) || is_gone(view, base, *store));
    if !(is_newest && gone && is_there(&told.store)) {
        return None;
    }
    let keep = base.in_sync.keys().copied().filter(is_there).collect();
    let promote = Change::Promote { to: told.store, session: told.session, keep };
    let mut config = config::next(&ahead(base.clone()), &promote).ok()?;
    // For ever: whoever knew better may have lost something by it.
    config.unclean = Some(config.epoch);
    notes.push(Note {
        note: format!(
            "{} becomes master by the newest configuration that is left, of epoch {}: a member that is gone may have known a newer one, and this was accepted",
            pod.name, base.epoch
        ),
        ..note(pod, base)
    });
    Some(config)
}

/// By a copy that may lack something, where none that has everything is left.
fn succeeded(view: &View<'_>, notes: &mut Vec<Note>) -> Option<Config> {
    let base = kept(view)?;
    let (pod, told) = successor(view, base)?;
    let all = || view.observed.replicas.iter().filter_map(|seen| seen.told.as_ref());
    let seen = all().map(|told| told.promised).fold(base.epoch, Epoch::max);
    let version = all().map(|told| told.config_version).fold(base.version, u64::max);
    let newest = ahead(Config { epoch: seen, version, ..base.clone() });
    let change = Change::AcceptDataLoss { seen: newest.epoch, to: told.store, session: told.session };
    let config = config::next(&newest, &change).ok()?;
    notes.push(note(pod, base));
    Some(config)
}

/// The same, but ahead of all that somebody may know who is not heard.
fn ahead(newest: Config) -> Config {
    Config {
        epoch: Epoch(newest.epoch.0.saturating_add(SKIPPED)),
        version: newest.version.saturating_add(SKIPPED.into()),
        ..newest
    }
}

/// Somebody has said it of the present epoch, and it is not done yet: it may only be too early.
pub(super) fn is_asked(view: &View<'_>) -> bool {
    let base = view.config().or_else(|| kept(view));
    base.is_some_and(|base| word(view).is_some_and(|word| word.epoch == base.epoch))
}

/// What a lost configuration was, as far as anybody who answers knows.
fn kept<'a>(view: &View<'a>) -> Option<&'a Config> {
    newest_kept(view.observed).filter(|_| view.shard == ShardState::Lost)
}

/// The newest configuration that a replica has kept which answers. Its epoch is the one that a human names.
pub(super) fn newest_kept(observed: &Observed) -> Option<&Config> {
    let answers = observed.replicas.iter().filter_map(Seen::answer);
    answers.filter_map(|told| told.config.as_ref()).max_by_key(|kept| (kept.epoch, kept.version))
}

/// The pod that is to be master, if all that is demanded holds.
fn successor<'v, 'a>(view: &'v View<'a>, config: &Config) -> Option<(&'v BrokerPod<'a>, &'a Told)> {
    let word = word(view).filter(|word| word.epoch == config.epoch)?;
    let pod = view.pods.iter().find(|pod| pod.name == word.pod)?;
    let lacks = |told: &&Told| !told.halted && !config.may_lead(told.store, told.session);
    let told = pod.told.filter(lacks)?;
    // A master that only the operator does not reach is heard by its slaves. It may be the master itself, which is none since
    // its session ended.
    let is_ex_master = told.store == config.master && !told.serves;
    let deaf = is_ex_master || told.master_silent_since.is_some_and(|since| is_long_ago(view, since));
    let gone = config.in_sync.keys().all(|store| is_gone(view, config, *store));
    (deaf && gone).then_some((pod, told))
}

/// No process has this store, or none that has answered lately; or one that lost what it held in its memory.
fn is_gone(view: &View<'_>, config: &Config, store: StoreId) -> bool {
    let name = config.members.get(&store).map(|member| &member.name);
    let is_of = |seen: &&Seen| match &seen.told {
        Some(told) => told.store == store,
        None => Some(&seen.name) == name,
    };
    let is_away = |seen: &Seen| {
        let voids = |told: &Told| !config.may_lead(told.store, told.session);
        !seen.running
            || seen.silent_since.is_some_and(|since| is_long_ago(view, since))
            || seen.told.as_ref().is_some_and(voids)
    };
    let replicas = &view.observed.replicas;
    // Whom nobody has looked for yet is no more than unknown, as long as it has a pod.
    let looked_for = replicas.iter().any(|seen| Some(&seen.name) == name);
    let has_pod = view.pods.iter().any(|pod| Some(&pod.name) == name);
    (looked_for || !has_pod) && replicas.iter().filter(is_of).all(is_away)
}

const fn is_long_ago(view: &View<'_>, since: u64) -> bool {
    view.observed.now_ms.saturating_sub(since) >= SILENCE_MS
}

fn note(pod: &BrokerPod<'_>, config: &Config) -> Note {
    Note {
        warning: true,
        reason: "DataLossAccepted".to_owned(),
        action: "Promote".to_owned(),
        note: format!(
            "{} becomes master though it may lack acknowledged messages: no copy in sync is left, and this was accepted for epoch {}",
            pod.name, config.epoch
        ),
    }
}

fn word<'a>(view: &View<'a>) -> Option<Accepted<'a>> {
    let accepted = Accepted::read(view.observed.queue.annotations().get(ACCEPT_DATA_LOSS)?)?;
    let left = accepted.until.duration_since(view.observed.now.0);
    (left.is_positive() && left <= AHEAD_MAX).then_some(accepted)
}

/// What a human accepted.
#[derive(PartialEq, Eq, Debug)]
struct Accepted<'a> {
    pod: &'a str,
    epoch: Epoch,
    until: Timestamp,
}

impl<'a> Accepted<'a> {
    /// Exactly as `kubectl rq promote` writes it; anything else is no word of anybody.
    fn read(text: &'a str) -> Option<Self> {
        let (pod, rest) = text.split_once('/')?;
        let (number, until) = rest.strip_prefix("0@")?.split_once('/')?;
        let (epoch, until) = (number.parse::<u32>().ok()?, until.parse().ok()?);
        let exact = !pod.is_empty() && epoch.to_string() == number;
        exact.then_some(Self { pod, epoch: Epoch(epoch), until })
    }
}
