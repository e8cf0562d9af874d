//! Whether the failure detector lives: when its loop turned last, and the task of each watch. They turn also where nothing
//! happens, and where the API server is away.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// The signs of life.
#[derive(Debug)]
pub(crate) struct Pulse {
    clock: Clock,
    signs: Mutex<Signs>,
}

#[derive(Debug, Default)]
struct Signs {
    turned: u64,
    looks: bool,
    watches: BTreeMap<&'static str, u64>,
}

impl Pulse {
    /// Of a detector that starts now.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, signs: Mutex::default() }
    }

    /// The loop turned.
    pub(super) fn turn(&self) {
        self.write(|signs, now| signs.turned = now);
    }

    /// All that is watched is known.
    pub(super) fn look(&self) {
        self.write(|signs, _| signs.looks = true);
    }

    /// The task of a watch turned, or begins.
    pub(super) fn watched(&self, kind: &'static str) {
        self.write(|signs, now| {
            signs.watches.insert(kind, now);
        });
    }

    /// Since the loop turned.
    pub(crate) fn turned(&self) -> Duration {
        self.write(|signs, now| Duration::from_millis(now.saturating_sub(signs.turned)))
    }

    /// Whether all that is watched is known.
    pub(crate) fn looks(&self) -> bool {
        self.write(|signs, _| signs.looks)
    }

    /// Since the task of each watch turned.
    pub(crate) fn watches(&self) -> Vec<(&'static str, Duration)> {
        self.write(|signs, now| {
            let age =
                |(kind, at): (&&'static str, &u64)| (*kind, Duration::from_millis(now.saturating_sub(*at)));
            signs.watches.iter().map(age).collect()
        })
    }

    fn write<T>(&self, write: impl FnOnce(&mut Signs, u64) -> T) -> T {
        write(&mut self.signs.lock().unwrap_or_else(PoisonError::into_inner), self.clock.now())
    }
}
