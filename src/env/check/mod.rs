//! Conformance: does an environment keep the laws that [`Env`](super::Env) states, and how fast is it?
//!
//! [`check_env`] plays episodes with random legal actions that a [`Sampler`] chooses, and returns one [`CheckRow`] per
//! law. Nothing it finds is an error of the check itself: a broken environment gives a report with failed rows.

mod laws;
mod sampler;
#[cfg(test)]
mod tests;

pub use laws::check_env;
pub use sampler::{CandidateSampler, DiscreteAction, DiscreteSampler, NumericObs, Sampler};

use serde::{Deserialize, Serialize};

/// How thoroughly an environment is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckConfig {
    /// Root of all random choices of the check.
    pub seed: u64,
    /// Episodes per law; at least 1.
    pub episodes: u64,
    /// Env steps within which every episode must end.
    pub max_steps: u64,
    /// Env steps by which the speed is measured; 0 leaves it out.
    pub speed_steps: u64,
}

impl Default for CheckConfig {
    /// A few episodes find a broken law, since most break at the first step or the first end; 10,000 steps are more
    /// than ten times the longest episode of the published environments; 20,000 steps take well under a second.
    fn default() -> Self {
        Self { seed: 0, episodes: 4, max_steps: 10_000, speed_steps: 20_000 }
    }
}

/// One law and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRow {
    /// The law.
    pub law: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was tried, or what went wrong.
    pub detail: String,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// [`super::EnvSpec::id`] of the environment.
    pub env: String,
    /// One row per law.
    pub rows: Vec<CheckRow>,
    /// Env steps per second on one thread with random legal actions, the choice of actions and resets included; `None`
    /// if it was not measured or an episode broke off.
    pub steps_per_second: Option<f64>,
}

impl CheckReport {
    /// Whether every law holds.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.passed)
    }

    /// The row of a law.
    #[must_use]
    pub fn row(&self, law: &str) -> Option<&CheckRow> {
        self.rows.iter().find(|row| row.law == law)
    }
}
