//! Q-learning after a supervised start, on one budget. See `README.md` here.

use crate::learning::{Setup, within};
use crate::q_learning::{Epsilon, NextSlate, QLearningConfig, ValueAgent};
use retune::Result;
use serde::{Deserialize, Serialize};

/// Settings of `supervised_then_q_learning`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WarmStartConfig {
    /// Share of the budget's env steps (and so of its updates) that is supervised, on random slates; from 0 to 1.
    pub supervised_share: f64,
    /// What follows. The slates explore no more than `epsilon` says from then on.
    pub q_learning: QLearningConfig,
}

impl Default for WarmStartConfig {
    fn default() -> Self {
        // The random slates of the supervised phase have explored already.
        let epsilon = Epsilon { start: 0.5, ..Epsilon::default() };
        Self { supervised_share: 0.3, q_learning: QLearningConfig { epsilon, ..QLearningConfig::default() } }
    }
}

impl WarmStartConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`retune::Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        within("supervised_then_q_learning.supervised_share", self.supervised_share, 0.0, 1.0)?;
        self.q_learning.validate("supervised_then_q_learning.q_learning")
    }
}

/// A fresh agent.
///
/// # Errors
/// [`retune::Error::Config`] if a setting is out of range or the env does not offer candidates and slates.
pub fn agent(setup: &Setup<'_>, config: &WarmStartConfig) -> Result<ValueAgent> {
    let supervised_steps = (config.supervised_share * setup.learning.env_steps as f64).round() as u64;
    ValueAgent::new(setup, &config.q_learning, NextSlate::Best, supervised_steps)
}
