//! What every study settles before its first trial, whatever it is about.

use crate::arms::Arm;
use crate::config::Layers;
use crate::failure::bad_input;
use anyhow::Result;
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
    /// Budget, threads and checkpoints.
    pub train: TrainPlan,
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

/// Budget, threads and checkpoints of every trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainPlan {
    /// Env steps per trained arm.
    pub env_steps: u64,
    /// Whether actor threads wait for the learner.
    pub mode: TrainMode,
    /// Rounds of learning by which free-running actors may be behind.
    pub max_lag: u64,
    /// Env steps between records of training metrics, at least a round; 0 records every round.
    pub log_env_steps: u64,
    /// Seconds between checkpoints.
    pub checkpoint_secs: f64,
    /// Checkpoints kept, the newest first.
    pub keep_checkpoints: usize,
    /// Whether the checkpoint of the best point of the learning curve is kept as well.
    pub keep_best: bool,
}

/// Whether actor threads wait for the learner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainMode {
    /// They take turns: the same bits for any number of threads.
    #[default]
    Deterministic,
    /// They do not: faster, and not to be repeated.
    Free,
}

/// How experience is collected, which may differ from arm to arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Envs side by side.
    pub num_envs: usize,
    /// Envs one actor decides for at once.
    pub shard_size: usize,
    /// Steps of each env per round.
    pub steps_per_round: usize,
}

impl Collection {
    /// Number of shards, the most actor threads that have something to do.
    #[must_use]
    pub fn num_shards(&self) -> usize {
        self.num_envs.div_ceil(self.shard_size.max(1))
    }

    /// Env steps of one round.
    #[must_use]
    pub fn env_steps_per_round(&self) -> u64 {
        (self.num_envs * self.steps_per_round) as u64
    }
}

/// The mode of collecting goes with the number of actor threads.
///
/// # Errors
/// [`crate::failure::BadInput`] if it does not; `layers` tells where the settings came from.
pub fn check_threads(mode: TrainMode, actors: usize, shards: usize, layers: &Layers<'_>) -> Result<()> {
    if mode == TrainMode::Free && actors == 0 {
        return Err(bad_input(format!(
            "{}: needs actor threads; add --actors 2, or use deterministic",
            layers.show("train.mode")
        )));
    }
    if actors > shards {
        return Err(bad_input(format!(
            "{}: expected at most {shards}, the number of shards; more threads would have nothing to do",
            layers.show("actors")
        )));
    }
    Ok(())
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
