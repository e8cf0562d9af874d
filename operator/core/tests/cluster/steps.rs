//! What may happen to a cluster, one step at a time.

use proptest::prelude::*;

use crate::HISTORY;
use crate::operator::Lag;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Operator {
        lag: Lag,
        acts: usize,
    },
    StatefulSet,
    Kubelet(i32),
    Broker(i32),
    Detector,
    /// Each has a turn.
    Round,
    User(Wish),
    Fault(Fault),
}

#[derive(Clone, Debug)]
pub(crate) enum Wish {
    Replicas(i32),
    MinInSync(Option<i32>),
    Cpu(u8),
    Flush(bool),
    Image(&'static str),
    OnDelete(bool),
    Grow,
    Paused(bool),
    MaxBody(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    PodDeleted(i32),
    ProcessKilled(i32),
    ShardDeleted,
    ShardPutBack(usize),
    Days(i64),
}

fn lag() -> impl Strategy<Value = Lag> {
    let each = || prop_oneof![3 => Just(0_usize), 2 => 0..HISTORY];
    (each(), each(), each(), each(), each(), each()).prop_map(
        |(queue, existing, shard, pods, claims, certificate)| Lag {
            queue,
            existing,
            shard,
            pods,
            claims,
            certificate,
        },
    )
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        4 => (1..=5).prop_map(Wish::Replicas),
        2 => prop::option::of(1..=5).prop_map(Wish::MinInSync),
        2 => (0..3_u8).prop_map(Wish::Cpu),
        1 => any::<bool>().prop_map(Wish::Flush),
        3 => prop_oneof![Just("good:1"), Just("good:2"), Just("bad")].prop_map(Wish::Image),
        1 => any::<bool>().prop_map(Wish::OnDelete),
        1 => Just(Wish::Grow),
        1 => any::<bool>().prop_map(Wish::Paused),
        1 => prop_oneof![Just("1MiB"), Just("2MiB"), Just("bad")].prop_map(Wish::MaxBody),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => (0..5).prop_map(Fault::PodDeleted),
        3 => (0..5).prop_map(Fault::ProcessKilled),
        1 => Just(Fault::ShardDeleted),
        1 => (0..HISTORY).prop_map(Fault::ShardPutBack),
        1 => (20_i64..80).prop_map(Fault::Days),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (lag(), 0..12_usize).prop_map(|(lag, acts)| Step::Operator { lag, acts }),
        3 => Just(Step::StatefulSet),
        5 => (0..5).prop_map(Step::Kubelet),
        5 => (0..5).prop_map(Step::Broker),
        3 => Just(Step::Detector),
        8 => Just(Step::Round),
        2 => wish().prop_map(Step::User),
        1 => fault().prop_map(Step::Fault),
    ]
}
