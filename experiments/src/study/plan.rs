//! What every study settles before its first trial, whatever it is about.

use crate::arms::Arm;
use serde::{Deserialize, Serialize};

/// The settings that all studies share, as the machinery of this module uses them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Root seed.
    pub seed: u64,
    /// Seeds per arm.
    pub seeds: u64,
    /// The arms.
    pub arms: Vec<Arm>,
    /// Trials side by side; 0 is one per core.
    pub jobs: usize,
    /// Actor threads per trial; 0 is the sync runner.
    pub actors: usize,
    /// Budget and collection.
    pub train: TrainSettings,
    /// Measurement.
    pub eval: EvalPlan,
    /// Bootstrap replications.
    pub replications: usize,
}

impl Plan {
    /// Trials run side by side.
    #[must_use]
    pub fn workers(&self) -> usize {
        if self.jobs > 0 { self.jobs } else { crate::threads::cores() }
    }
}

/// Budget and collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSettings {
    /// Env steps per trained arm.
    pub env_steps: u64,
    /// Envs side by side.
    pub num_envs: usize,
    /// Envs one actor decides for at once.
    pub shard_size: usize,
    /// Steps of each env per round.
    pub steps_per_round: usize,
    /// Seconds between checkpoints.
    pub checkpoint_secs: f64,
}

/// How many episodes are measured, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvalPlan {
    /// Episodes of the final evaluation.
    pub episodes: usize,
    /// Episodes per point of the learning curve.
    pub curve_episodes: usize,
    /// Points of the learning curve.
    pub curve_points: u64,
    /// Envs side by side.
    pub num_envs: usize,
}

/// Statistics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportSettings {
    /// Bootstrap replications.
    pub replications: usize,
}
