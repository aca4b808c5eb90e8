//! How labels are used where a classifier says which answer to give.

use crate::learning::within;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// What the classifier of answers learns from, and what the policy takes from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LabelConfig {
    /// Weight of the cross-entropy of the classifier. Above 0 the policy chooses when to answer and the classifier what,
    /// and labels are used; 0 leaves every candidate to the policy.
    pub coef: f64,
    /// Episodes whose last state the classifier keeps to learn from, again and again; 0 for all states of the round only.
    pub memory: usize,
    /// Share of the budget in which questions are drawn uniformly until none is open, and only then an answer is given.
    /// The policy learns nothing then. Needs a memory.
    pub warmup: f64,
    /// Updates of the classifier alone when that is over.
    pub updates: usize,
    /// Whether the reward of an answer is replaced by its expectation under the classifier: with probability p that the
    /// answer is right, `p` times the mean reward of right answers and `1 − p` times that of wrong ones, both means over
    /// all episodes so far. That takes the chance of the label out of what the policy learns from, at the price of what
    /// the classifier gets wrong. Needs values.
    pub reward: bool,
}

impl LabelConfig {
    /// Refuses settings out of range; `name` is that of the algorithm.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self, name: &str, has_values: bool) -> Result<()> {
        let key = |setting: &str| format!("{name}.label_{setting}");
        within(&key("coef"), self.coef, 0.0, f64::MAX)?;
        within(&key("warmup"), self.warmup, 0.0, 1.0)?;
        if self.warmup > 0.0 && (self.memory == 0 || self.coef == 0.0) {
            let expected =
                "expected 0 without a classifier that keeps what it saw (label_coef and label_memory above 0)";
            return Err(Error::config(&key("warmup"), self.warmup, expected));
        }
        if self.reward && (self.coef == 0.0 || !has_values) {
            let expected =
                "expected false without a classifier (label_coef above 0) or where there is no value function";
            return Err(Error::config(&key("reward"), self.reward, expected));
        }
        Ok(())
    }
}
