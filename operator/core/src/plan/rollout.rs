//! How far the pods are from what the spec says.

/// Where the replacement of pods stands.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "nothing replaces pods yet"))]
pub(crate) enum Rollout {
    /// Every pod is as the spec says.
    UpToDate,
    /// A pod is being replaced.
    Rolling {
        /// Which.
        pod: String,
        /// Pods that are not as the spec says yet, this one among them.
        left: usize,
    },
    /// Pods are to be replaced, and none of them may be now.
    Waiting {
        /// Why.
        why: String,
        /// Pods that are not as the spec says yet.
        left: usize,
    },
    /// A new pod does not come up, so that no other is replaced.
    Failed {
        /// Which.
        pod: String,
        /// Why.
        why: String,
    },
    /// `reconcile` is `Paused`.
    Paused {
        /// Pods that are not as the spec says.
        left: usize,
    },
}
