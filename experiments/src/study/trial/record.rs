//! What is kept of a finished trial.

use crate::study::{Measurement, TrialId};
use retune::agent::Ledger;
use retune::rollout::LagHistogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is kept of a finished trial, `trials/<arm>/<seed>/result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// Spelling of the arm.
    pub arm: String,
    /// Number of the seed.
    pub seed: u64,
    /// The learning curve.
    pub curve: Vec<CurvePoint>,
    /// The final evaluation, by split.
    pub measurements: BTreeMap<String, Measurement>,
    /// What was spent.
    pub ledger: Ledger,
    /// Transitions by policy lag; empty unless actors ran freely.
    #[serde(default, skip_serializing_if = "has_none")]
    pub policy_lag: LagHistogram,
    /// Numbers that were trained.
    pub trainable_parameters: usize,
}

impl TrialRecord {
    /// Of a policy that was measured and not trained.
    #[must_use]
    pub fn of_policy(trial: &TrialId, measurements: impl IntoIterator<Item = (String, Measurement)>) -> Self {
        Self {
            arm: trial.arm.to_string(),
            seed: trial.seed,
            curve: Vec::new(),
            measurements: measurements.into_iter().collect(),
            ledger: Ledger::default(),
            policy_lag: LagHistogram::default(),
            trainable_parameters: 0,
        }
    }
}

fn has_none(lags: &LagHistogram) -> bool {
    lags.total() == 0
}

/// One point of a learning curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// Env steps of training so far.
    pub env_steps: u64,
    /// Mean return over the episodes of the curve.
    pub episode_return: f64,
}
