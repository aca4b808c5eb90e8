//! What is kept of a finished trial.

use crate::study::Measurement;
use retune::agent::Ledger;
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
    /// Numbers that were trained.
    pub trainable_parameters: usize,
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
