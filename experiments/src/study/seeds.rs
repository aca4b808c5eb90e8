//! The random streams of a study.
//!
//! ```text
//! root ─┬─ trial / seed ─┬─ train       episodes of training, exploration
//!       │                └─ agent       initial weights, minibatches
//!       └─ users / seed ─┬─ curve / i   episode i of the learning curve (a user, where an episode is one)
//!                        ├─ test / i    episode i of the final evaluation
//!                        └─ validation / i   episode i for settings that are chosen by what they earn
//! ```
//!
//! No arm appears in a path: every arm of a seed trains on the same episodes and is measured on the same others
//! (common random numbers), which takes their differences out of the comparison.

use retune::rng::Seed;

/// Streams of all trials with one seed.
#[derive(Clone, Copy, Debug)]
pub struct TrialSeeds {
    trial: Seed,
    measured: Seed,
}

impl TrialSeeds {
    /// Those of seed number `seed` of a study with root seed `root`.
    #[must_use]
    pub fn new(root: u64, seed: u64) -> Self {
        let root = Seed::root(root);
        Self { trial: root.child("trial").index(seed), measured: root.child("users").index(seed) }
    }

    /// Collection of experience.
    #[must_use]
    pub fn train(&self) -> Seed {
        self.trial.child("train")
    }

    /// The agent.
    #[must_use]
    pub fn agent(&self) -> Seed {
        self.trial.child("agent")
    }

    /// Seeds of the episodes of the learning curve, `[count]`.
    #[must_use]
    pub fn curve(&self, count: usize) -> Vec<u64> {
        episodes(&self.measured.child("curve"), count)
    }

    /// Seeds of the episodes of the final evaluation, `[count]`.
    #[must_use]
    pub fn test(&self, count: usize) -> Vec<u64> {
        episodes(&self.test_stream(), count)
    }

    /// The stream of [`TrialSeeds::test`], for whoever has to look for further seeds in it.
    #[must_use]
    pub fn test_stream(&self) -> Seed {
        self.measured.child("test")
    }

    /// Seeds of the episodes by which a setting of a baseline is chosen, `[count]`.
    #[must_use]
    pub fn validation(&self, count: usize) -> Vec<u64> {
        episodes(&self.measured.child("validation"), count)
    }
}

/// Seeds of episodes below `seed`, `[count]`.
#[must_use]
pub fn episodes(seed: &Seed, count: usize) -> Vec<u64> {
    (0..count as u64).map(|i| seed.index(i).to_u64()).collect()
}
