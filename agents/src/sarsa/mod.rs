//! SARSA over slates: the target takes the slate that was shown next (SlateQ, arXiv:1905.12767, equation 15). All else
//! is [`crate::q_learning`]. See `README.md` here.

use crate::learning::Setup;
use crate::q_learning::{NextSlate, QLearningConfig, ValueAgent};
use retune::Result;

/// A fresh agent. [`QLearningConfig::target`] has no effect here.
///
/// # Errors
/// [`retune::Error::Config`] if a setting is out of range or the env does not offer candidates and slates.
pub fn agent(setup: &Setup<'_>, config: &QLearningConfig) -> Result<ValueAgent> {
    ValueAgent::new(setup, config, NextSlate::Shown, 0)
}
