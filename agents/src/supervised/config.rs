//! Settings of the supervised click model.

use crate::learning::{at_least_one, positive, within};
use retune::Result;
use serde::{Deserialize, Serialize};

/// Settings of `supervised`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisedConfig {
    /// Weight of the loss on the reward of a click beside that on the click; above 0.
    pub reward_coef: f64,
    /// Hidden units of the part of the reward model in which state and candidate meet; at least 1.
    pub reward_hidden: usize,
    /// Decoupled weight decay on that part; at least 0. Default: as for the advantages of `q_learning`.
    pub interaction_decay: f64,
}

impl Default for SupervisedConfig {
    fn default() -> Self {
        Self { reward_coef: 1.0, reward_hidden: 8, interaction_decay: 10.0 }
    }
}

impl SupervisedConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`retune::Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        positive("supervised.reward_coef", self.reward_coef)?;
        at_least_one("supervised.reward_hidden", self.reward_hidden as u64)?;
        within("supervised.interaction_decay", self.interaction_decay, 0.0, f64::MAX)
    }
}
