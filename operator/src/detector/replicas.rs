//! The replicas of a queue as the detector sees them: from its pods and from their answers. Pure.

use std::collections::{BTreeMap, BTreeSet};

use rq_operator_core::queue::status::FailoverCause;
use rq_overseer::{Seen, Told};

use super::pods::{self, PodSeen, Process};
use super::prober::{Answer, Answered};
use crate::key::QueueKey;

/// The end of a process of a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Loss {
    /// Why it ended.
    pub(super) cause: FailoverCause,
    /// When it was last known to live, or found dead, in ms.
    pub(super) at: u64,
}

/// All replicas.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    /// Those that the spec asks for come first, by their numbers.
    seen: Vec<Seen>,
    /// How many it asks for.
    expected: usize,
    /// Their processes, where one runs.
    processes: BTreeMap<String, Process>,
    /// When the last question was put that each has answered, in ms.
    heard: BTreeMap<String, u64>,
    /// The newest end of a process of each.
    losses: BTreeMap<String, Loss>,
}

impl Replicas {
    /// All of them.
    pub(super) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Those that the spec asks for.
    pub(super) fn expected(&self) -> &[Seen] {
        &self.seen[..self.expected]
    }

    /// The processes to be asked, by name of the replica.
    pub(super) fn processes(&self) -> &BTreeMap<String, Process> {
        &self.processes
    }

    /// One of them.
    pub(super) fn named(&self, name: &str) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.name == name)
    }

    /// When the last question was put that each has answered, in ms: what it says is no older.
    pub(super) fn heard(&self) -> &BTreeMap<String, u64> {
        &self.heard
    }

    /// How the process of this replica ended last.
    pub(super) fn loss(&self, name: &str) -> Option<Loss> {
        self.losses.get(name).copied()
    }

    /// What ended before is of no concern any more for these.
    pub(super) fn forget_losses(&mut self, names: &[&str]) {
        // The end of what does not run now still is.
        self.losses.retain(|name, _| !names.contains(&name.as_str()) || !self.processes.contains_key(name));
    }

    /// Takes what the watches show. `members` are the names in the configuration: a master is looked for also where the
    /// spec does not ask for it any more.
    pub(super) fn take(
        &mut self,
        key: &QueueKey,
        replicas: i32,
        members: &BTreeSet<String>,
        pods: &BTreeMap<String, PodSeen>,
        now: u64,
    ) {
        let expected: Vec<String> = (0..replicas).map(|number| key.pod(number)).collect();
        let others: BTreeSet<&String> =
            pods.keys().chain(members).filter(|name| !expected.contains(name)).collect();
        let names: Vec<String> = expected.iter().chain(others).cloned().collect();
        self.expected = expected.len();
        let mut before: BTreeMap<String, Seen> =
            std::mem::take(&mut self.seen).into_iter().map(|seen| (seen.name.clone(), seen)).collect();
        self.seen = names
            .into_iter()
            .map(|name| before.remove(&name).unwrap_or_else(|| Seen::new(name, String::new())))
            .collect();
        self.processes.retain(|name, _| !before.contains_key(name));
        self.losses.retain(|name, _| !before.contains_key(name));
        self.heard.retain(|name, _| !before.contains_key(name));
        for seen in &mut self.seen {
            let pod = pods.get(&seen.name);
            let (was, is) = (self.processes.get(&seen.name), pod.and_then(PodSeen::process));
            if let Some(address) = pod.and_then(|pod| pod.address.clone()) {
                seen.address = address;
            }
            if was == is.as_ref() && (was.is_some() || self.losses.contains_key(&seen.name)) {
                continue;
            }
            // It ended, it was started anew, or it never ran as far as is known.
            if was.is_some() || is.is_none() {
                let loss = Loss { cause: pods::cause(was, pod), at: seen.silent_since.unwrap_or(now) };
                self.losses.insert(seen.name.clone(), loss);
            }
            self.heard.remove(&seen.name);
            seen.told = None;
            seen.running = is.is_some();
            seen.silent_since = is.is_some().then_some(now);
            match is {
                Some(is) => drop(self.processes.insert(seen.name.clone(), is)),
                None => drop(self.processes.remove(&seen.name)),
            }
        }
    }

    /// Takes what came at `now` of a question that was put to a process.
    pub(super) fn answered(&mut self, Answered { name, process, asked, answer }: &Answered, now: u64) {
        // Of a process that has ended meanwhile nothing is believed.
        if self.processes.get(name) != Some(process) {
            return;
        }
        let Some(seen) = self.seen.iter_mut().find(|seen| seen.name == *name) else { return };
        match answer {
            Answer::Said(status) => {
                seen.told = Told::read(status, now);
                seen.silent_since = None;
                self.heard.insert(name.clone(), *asked);
            }
            Answer::Silent => {
                seen.silent_since.get_or_insert(*asked);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rq_proto::reliablequeue as pb;

    use super::*;

    fn key() -> QueueKey {
        QueueKey { namespace: "shop".to_owned(), name: "q".to_owned() }
    }

    fn running(uid: &str, container: &str) -> PodSeen {
        PodSeen {
            uid: uid.to_owned(),
            container: Some(container.to_owned()),
            address: Some("10.0.0.1:8083".to_owned()),
            ..PodSeen::default()
        }
    }

    fn shown(pods: &[(&str, PodSeen)]) -> BTreeMap<String, PodSeen> {
        pods.iter().map(|(name, pod)| ((*name).to_owned(), pod.clone())).collect()
    }

    fn take(replicas: &mut Replicas, pods: &[(&str, PodSeen)], now: u64) {
        replicas.take(&key(), 2, &BTreeSet::new(), &shown(pods), now);
    }

    fn answered(replicas: &mut Replicas, process: &Process, asked: u64, answer: Answer) {
        let answered = Answered { name: "q-0".to_owned(), process: process.clone(), asked, answer };
        replicas.answered(&answered, asked + 1);
    }

    fn said() -> Answer {
        let store_id = rq_core::ids::StoreId(1).to_string();
        Answer::Said(Box::new(pb::ReplicaStatus { store_id, ..pb::ReplicaStatus::default() }))
    }

    #[test]
    fn a_replica_is_silent_until_its_process_has_answered() {
        let mut replicas = Replicas::default();
        take(&mut replicas, &[("q-0", running("u", "c"))], 5);
        let process = replicas.processes()["q-0"].clone();
        assert_eq!(replicas.seen()[0].silent_since, Some(5));
        answered(&mut replicas, &process, 9, said());
        assert!(replicas.seen()[0].answer().is_some());
        assert_eq!(replicas.heard()["q-0"], 9);
        answered(&mut replicas, &process, 20, Answer::Silent);
        answered(&mut replicas, &process, 30, Answer::Silent);
        assert_eq!(replicas.seen()[0].silent_since, Some(20), "since the first question");
        assert_eq!(replicas.heard()["q-0"], 9);
        assert_eq!(replicas.expected().len(), 2);
        assert!(!replicas.seen()[1].running, "it has no pod");
    }

    #[test]
    fn the_end_of_a_process_is_kept_with_its_time() {
        let mut replicas = Replicas::default();
        take(&mut replicas, &[("q-0", running("u", "c"))], 5);
        let process = replicas.processes()["q-0"].clone();
        answered(&mut replicas, &process, 9, said());
        take(&mut replicas, &[("q-0", PodSeen { container: None, ..running("u", "c") })], 40);
        assert_eq!(replicas.loss("q-0"), Some(Loss { cause: FailoverCause::ContainerTerminated, at: 40 }));
        assert!(!replicas.seen()[0].running && replicas.seen()[0].told.is_none());
        answered(&mut replicas, &process, 41, said());
        assert!(replicas.seen()[0].told.is_none(), "an answer that comes late");
    }

    #[test]
    fn a_process_that_was_started_anew_has_ended_before() {
        let mut replicas = Replicas::default();
        take(&mut replicas, &[("q-0", running("u", "c"))], 5);
        let process = replicas.processes()["q-0"].clone();
        answered(&mut replicas, &process, 6, said());
        answered(&mut replicas, &process, 7, Answer::Silent);
        take(&mut replicas, &[("q-0", running("u", "d"))], 40);
        assert_eq!(replicas.loss("q-0"), Some(Loss { cause: FailoverCause::ContainerTerminated, at: 7 }));
        assert_eq!(replicas.seen()[0].silent_since, Some(40));
        replicas.forget_losses(&["q-0"]);
        assert_eq!(replicas.loss("q-0"), None);
    }

    #[test]
    fn who_is_not_asked_for_any_more_is_seen_and_not_expected() {
        let (mut replicas, members) = (Replicas::default(), BTreeSet::from(["q-1".to_owned()]));
        replicas.take(&key(), 1, &members, &shown(&[("q-2", running("u", "c"))]), 5);
        let names: Vec<_> = replicas.seen().iter().map(|seen| seen.name.as_str()).collect();
        assert_eq!((names.as_slice(), replicas.expected().len()), (["q-0", "q-1", "q-2"].as_slice(), 1));
        replicas.take(&key(), 1, &BTreeSet::new(), &BTreeMap::new(), 6);
        assert_eq!((replicas.seen().len(), replicas.processes().len()), (1, 0));
    }
}
