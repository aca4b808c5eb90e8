//! Settings of the top-K off-policy corrected policy gradient.

use crate::learning::{at_least_one, positive, share_below_one, within};
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of `top_k_reinforce`. The names it shares with `reinforce` mean the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopKReinforceConfig {
    /// Discount per env step; from 0 to below 1.
    pub gamma: f64,
    /// Weight of the entropy bonus; at least 0.
    pub ent_coef: f64,
    /// Weight of the baseline's loss; above 0.
    pub vf_coef: f64,
    /// Largest importance weight of a slate; at least 1. Default: that of `reinforce`.
    pub max_ratio: f64,
    /// Transitions kept, the newest; at least the minibatch. Default: a few rounds of a usual runner.
    pub replay_size: usize,
    /// Whether λ_K corrects for slates; without it every item counts as if it were shown alone.
    pub top_k: bool,
    /// Decoupled weight decay on the part of the policy in which state and candidate meet; at least 0.
    pub interaction_decay: f64,
    /// Decoupled weight decay on the baseline V(s); at least 0.
    pub baseline_decay: f64,
}

impl Default for TopKReinforceConfig {
    fn default() -> Self {
        Self {
            gamma: 0.99,
            ent_coef: 0.001,
            vf_coef: 0.5,
            max_ratio: 2.0,
            replay_size: 4096,
            top_k: true,
            interaction_decay: 10.0,
            baseline_decay: 0.1,
        }
    }
}

impl TopKReinforceConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        share_below_one("top_k_reinforce.gamma", self.gamma)?;
        within("top_k_reinforce.ent_coef", self.ent_coef, 0.0, f64::MAX)?;
        positive("top_k_reinforce.vf_coef", self.vf_coef)?;
        within("top_k_reinforce.max_ratio", self.max_ratio, 1.0, f64::MAX)?;
        at_least_one("top_k_reinforce.replay_size", self.replay_size as u64)?;
        within("top_k_reinforce.interaction_decay", self.interaction_decay, 0.0, f64::MAX)?;
        within("top_k_reinforce.baseline_decay", self.baseline_decay, 0.0, f64::MAX)
    }

    /// Refuses a memory that holds less than a minibatch of `batch_size`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate_memory(&self, batch_size: usize) -> Result<()> {
        if self.replay_size >= batch_size {
            return Ok(());
        }
        let expected = format!("must be at least learning.batch_size = {batch_size}");
        Err(Error::config("top_k_reinforce.replay_size", self.replay_size, expected))
    }
}
