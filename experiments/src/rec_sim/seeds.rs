//! The random streams of a study.
//!
//! ```text
//! root ─┬─ trial / seed ─┬─ train       users and items of training, exploration
//!       │                └─ agent       initial weights, minibatches
//!       ├─ users / seed ─┬─ curve / i   user i of the learning curve
//!       │                └─ test / i    user i of the final evaluation
//!       └─ planner / i                   user i of the search for the planner's worth of a minute
//! ```
//!
//! No arm appears in a path: every arm of a seed trains on the same users and is measured on the same other users
//! (common random numbers), which takes their differences out of the comparison.

use retune::rng::Seed;

/// Streams of all trials with one seed.
#[derive(Clone, Copy, Debug)]
pub struct TrialSeeds {
    trial: Seed,
    users: Seed,
}

impl TrialSeeds {
    /// Those of seed number `seed` of a study with root seed `root`.
    #[must_use]
    pub fn new(root: u64, seed: u64) -> Self {
        let root = Seed::root(root);
        Self { trial: root.child("trial").index(seed), users: root.child("users").index(seed) }
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

    /// Users of the learning curve, `[count]`.
    #[must_use]
    pub fn curve_users(&self, count: usize) -> Vec<u64> {
        users(&self.users.child("curve"), count)
    }

    /// Users of the final evaluation, `[count]`.
    #[must_use]
    pub fn test_users(&self, count: usize) -> Vec<u64> {
        users(&self.users.child("test"), count)
    }
}

/// Users of the planner's search, `[count]`.
#[must_use]
pub fn planner_users(root: u64, count: usize) -> Vec<u64> {
    users(&Seed::root(root).child("planner"), count)
}

fn users(seed: &Seed, count: usize) -> Vec<u64> {
    (0..count as u64).map(|i| seed.index(i).to_u64()).collect()
}
