//! Settings of the slate policy gradient.

use crate::learning::{positive, share_below_one, within};
use retune::Result;
use serde::{Deserialize, Serialize};

/// Settings of `reinforce`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReinforceConfig {
    /// Discount per env step; from 0 to below 1.
    pub gamma: f64,
    /// λ of the advantage estimate (arXiv:1506.02438); from 0 to 1. With 1 the return of the rest of the segment, as
    /// in REINFORCE; with 0 the one-step TD error, as in actor-critic methods. Default: measured, see `README.md`; the
    /// worth of a slate shows in whether the session goes on, and every further step adds its noise.
    pub gae_lambda: f64,
    /// Weight of the entropy bonus; at least 0.
    pub ent_coef: f64,
    /// Weight of the baseline's loss; above 0.
    pub vf_coef: f64,
    /// Largest importance weight of a transition whose round has seen updates already; at least 1.
    pub max_ratio: f64,
    /// Decoupled weight decay on the part of the policy in which state and candidate meet; at least 0.
    pub interaction_decay: f64,
    /// Decoupled weight decay on the baseline V(s); at least 0.
    pub baseline_decay: f64,
}

impl Default for ReinforceConfig {
    fn default() -> Self {
        Self {
            gamma: 0.99,
            gae_lambda: 0.0,
            ent_coef: 0.001,
            vf_coef: 0.5,
            max_ratio: 2.0,
            interaction_decay: 10.0,
            baseline_decay: 0.1,
        }
    }
}

impl ReinforceConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`retune::Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        share_below_one("reinforce.gamma", self.gamma)?;
        within("reinforce.gae_lambda", self.gae_lambda, 0.0, 1.0)?;
        within("reinforce.ent_coef", self.ent_coef, 0.0, f64::MAX)?;
        positive("reinforce.vf_coef", self.vf_coef)?;
        within("reinforce.max_ratio", self.max_ratio, 1.0, f64::MAX)?;
        within("reinforce.interaction_decay", self.interaction_decay, 0.0, f64::MAX)?;
        within("reinforce.baseline_decay", self.baseline_decay, 0.0, f64::MAX)
    }
}
