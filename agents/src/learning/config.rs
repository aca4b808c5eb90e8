//! Settings that every agent with a gradient shares, so that no arm gets more of anything than another.

use retune::nn::Algorithm;
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// Budget and optimization, the same for all arms of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LearningConfig {
    /// Env steps of training that schedules are laid out over; at least 1. Default: the feature form of `rec_sim`.
    pub env_steps: u64,
    /// Env steps before the first update; below `env_steps`. Default: about 30 episodes of random slates.
    pub learning_starts: u64,
    /// Env steps per update; at least 1. Default: measured, see `q_learning/README.md`.
    pub env_steps_per_update: u64,
    /// Transitions per update; at least 1. Default: large, because one-step targets are noisy.
    pub batch_size: usize,
    /// Env slots that experience comes from, as in the runner; at least 1.
    pub num_envs: usize,
    /// Transitions kept; the oldest go first; at least `batch_size`. Default: all data of the default budget.
    pub buffer_size: usize,
    /// How gradients become steps. Default: AdamW, which the step sizes below are for.
    pub optimizer: Algorithm,
    /// Step size of the head at the start, falling linearly to 0 over the budget; above 0.
    pub learning_rate: f64,
    /// Step size of the text encoder where it is trained; above 0. Default: usual for fine-tuning small encoders.
    pub encoder_learning_rate: f64,
    /// Weight decay on the item projections; at least 0. Decoupled but for SGD, arXiv:1711.05101.
    pub weight_decay: f64,
    /// Largest norm of the whole gradient; above 0.
    pub max_grad_norm: f64,
    /// Share of the old average that stays at each update in the averaged parameters that are published; 0 publishes
    /// the last parameters; from 0 to below 1. Polyak averaging (Polyak and Juditsky 1992).
    pub average_decay: f64,
    /// Hidden units of each part of the scorer; at least 1.
    pub hidden: usize,
    /// Soft clusters that candidates are summarised by before scoring; 0 for none. Default: none, for short feature
    /// vectors; vectors of texts want several times the topics that one would guess.
    pub clusters: usize,
    /// Transitions per update whose texts are read with a gradient, where the encoder is trained; at least 1. The
    /// other transitions of the minibatch take their text vectors from the table.
    pub encoder_batch_size: usize,
    /// Updates of a trained encoder after which the table of text vectors is made anew; at least 1.
    pub table_refresh_updates: u64,
}

impl Default for LearningConfig {
    fn default() -> Self {
        Self {
            env_steps: 60_000,
            learning_starts: 2_000,
            env_steps_per_update: 40,
            batch_size: 256,
            num_envs: 50,
            buffer_size: 100_000,
            optimizer: Algorithm::default(),
            learning_rate: 5e-3,
            encoder_learning_rate: 2e-4,
            weight_decay: 0.2,
            max_grad_norm: 10.0,
            average_decay: 0.995,
            hidden: 32,
            clusters: 0,
            encoder_batch_size: 16,
            table_refresh_updates: 50,
        }
    }
}

impl LearningConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        at_least_one("learning.env_steps", self.env_steps)?;
        at_least_one("learning.env_steps_per_update", self.env_steps_per_update)?;
        at_least_one("learning.batch_size", self.batch_size as u64)?;
        at_least_one("learning.hidden", self.hidden as u64)?;
        at_least_one("learning.encoder_batch_size", self.encoder_batch_size as u64)?;
        at_least_one("learning.table_refresh_updates", self.table_refresh_updates)?;
        at_least_one("learning.num_envs", self.num_envs as u64)?;
        if self.learning_starts >= self.env_steps {
            let expected = format!("must be below learning.env_steps = {}", self.env_steps);
            return Err(Error::config("learning.learning_starts", self.learning_starts, expected));
        }
        if self.buffer_size < self.batch_size {
            let expected = format!("must be at least learning.batch_size = {}", self.batch_size);
            return Err(Error::config("learning.buffer_size", self.buffer_size, expected));
        }
        positive("learning.learning_rate", self.learning_rate)?;
        positive("learning.encoder_learning_rate", self.encoder_learning_rate)?;
        positive("learning.max_grad_norm", self.max_grad_norm)?;
        within("learning.weight_decay", self.weight_decay, 0.0, f64::MAX)?;
        share_below_one("learning.average_decay", self.average_decay)
    }

    /// Updates that `env_steps` steps of experience pay for.
    #[must_use]
    pub fn updates_after(&self, env_steps: u64) -> u64 {
        env_steps.min(self.env_steps).saturating_sub(self.learning_starts) / self.env_steps_per_update
    }

    /// Updates of the whole budget.
    #[must_use]
    pub fn total_updates(&self) -> u64 {
        self.updates_after(self.env_steps).max(1)
    }
}

/// Refuses 0.
pub(crate) fn at_least_one(key: &str, value: u64) -> Result<()> {
    if value == 0 { Err(Error::config(key, value, "must be at least 1")) } else { Ok(()) }
}

/// Refuses what is not above 0 and finite.
pub(crate) fn positive(key: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() { Ok(()) } else { Err(Error::config(key, value, "must be above 0 and finite")) }
}

/// Refuses what is outside `[low, high]`.
pub(crate) fn within(key: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if value >= low && value <= high {
        Ok(())
    } else if high == f64::MAX {
        Err(Error::config(key, value, format!("must be at least {low} and finite")))
    } else {
        Err(Error::config(key, value, format!("must be between {low} and {high}")))
    }
}

/// Refuses what is outside `[0, 1)`.
pub(crate) fn share_below_one(key: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) { Ok(()) } else { Err(Error::config(key, value, "must be at least 0 and below 1")) }
}
