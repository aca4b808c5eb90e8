//! Settings of value learning over slates.

pub use crate::losses::TdLoss;

use crate::learning::{at_least_one, positive, share_below_one, within};
use retune::slate::SlateRule;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of Q-learning, SARSA and the warm-started form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QLearningConfig {
    /// Discount per env step; from 0 to below 1. The SlateQ paper has 0.99; sessions of 150 steps are scored without a
    /// discount, so a longer sight pays (measured, see `README.md`).
    pub gamma: f64,
    /// Which slate the target takes at the next state (SlateQ: `top_k` = TT, `greedy` = GT, `optimal` = OT).
    /// SARSA takes the slate that was shown instead.
    pub target: SlateRule,
    /// Which slate is served (`top_k` = TS, `greedy` = GS, `optimal` = OS).
    pub serving: SlateRule,
    /// Whether "nothing chosen" has a value of its own. `false` is the original SlateQ, which learns from clicks only
    /// and turns myopic; for comparison.
    pub null_value: bool,
    /// Loss on the TD error, in units of the value scale.
    pub loss: TdLoss,
    /// How the target network follows.
    pub target_network: TargetNetwork,
    /// Share of random slates.
    pub epsilon: Epsilon,
    /// Factor on the learning rate of everything that makes values; above 0. The choice model has clean labels and
    /// learns fast; values have noisy targets, of which a slower rate averages more.
    pub value_rate: f64,
    /// Hidden units of the part of the advantages in which state and candidate meet; at least 1.
    pub advantage_hidden: usize,
    /// Decoupled weight decay on that part; at least 0. One-step targets have a noise of several times the
    /// differences between items: what depends on the candidate alone can be averaged over all states, what depends
    /// on both hardly, and overfits unless it is held small.
    pub interaction_decay: f64,
    /// Decoupled weight decay on the level L(s); at least 0.
    pub level_decay: f64,
    /// Weight of the choice model's loss beside the TD loss; above 0.
    pub choice_coef: f64,
}

/// How a target network follows the learner.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetNetwork {
    /// A copy every `updates` updates.
    Hard {
        /// Updates between copies; at least 1.
        updates: u64,
    },
    /// A share `tau` of the way at each update.
    Soft {
        /// In (0, 1].
        tau: f64,
    },
}

/// Share of random slates: from `start` to `end`, linearly over the first `share` of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Epsilon {
    /// In [0, 1].
    pub start: f64,
    /// In [0, 1].
    pub end: f64,
    /// Share of the budget's env steps, in (0, 1].
    pub share: f64,
}

impl Default for Epsilon {
    fn default() -> Self {
        Self { start: 1.0, end: 0.05, share: 0.5 }
    }
}

impl Epsilon {
    /// ε after this share of the budget.
    #[must_use]
    pub fn at(&self, progress: f64) -> f64 {
        self.start + (self.end - self.start) * (progress / self.share).clamp(0.0, 1.0)
    }
}

impl Default for QLearningConfig {
    fn default() -> Self {
        Self {
            gamma: 0.995,
            target: SlateRule::Optimal,
            serving: SlateRule::Optimal,
            null_value: true,
            loss: TdLoss::Squared,
            target_network: TargetNetwork::Hard { updates: 20 },
            epsilon: Epsilon::default(),
            value_rate: 0.1,
            advantage_hidden: 8,
            interaction_decay: 10.0,
            level_decay: 1.0,
            choice_coef: 1.0,
        }
    }
}

impl QLearningConfig {
    /// Refuses settings out of range; `section` is the name of this section in messages.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self, section: &str) -> Result<()> {
        let key = |name: &str| format!("{section}.{name}");
        share_below_one(&key("gamma"), self.gamma)?;
        if let TdLoss::Huber { delta } = self.loss {
            positive(&key("loss.huber.delta"), delta)?;
        }
        match self.target_network {
            TargetNetwork::Hard { updates: 0 } => {
                return Err(Error::config(&key("target_network.hard.updates"), 0, "must be at least 1"));
            }
            TargetNetwork::Soft { tau } if !(tau > 0.0 && tau <= 1.0) => {
                return Err(Error::config(&key("target_network.soft.tau"), tau, "must be above 0 and at most 1"));
            }
            TargetNetwork::Hard { .. } | TargetNetwork::Soft { .. } => {}
        }
        within(&key("epsilon.start"), self.epsilon.start, 0.0, 1.0)?;
        within(&key("epsilon.end"), self.epsilon.end, 0.0, 1.0)?;
        if !(self.epsilon.share > 0.0 && self.epsilon.share <= 1.0) {
            return Err(Error::config(&key("epsilon.share"), self.epsilon.share, "must be above 0 and at most 1"));
        }
        positive(&key("value_rate"), self.value_rate)?;
        at_least_one(&key("advantage_hidden"), self.advantage_hidden as u64)?;
        within(&key("interaction_decay"), self.interaction_decay, 0.0, f64::MAX)?;
        within(&key("level_decay"), self.level_decay, 0.0, f64::MAX)?;
        positive(&key("choice_coef"), self.choice_coef)
    }
}
