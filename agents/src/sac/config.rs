//! Settings.

use crate::learning::{at_least_one, positive, within};
use crate::net::{NetConfig, NetInit};
use retune::nn::mlp::{Activation, AdamConfig};
use retune::{Error, Result};
use serde::{Deserialize, Serialize};

/// `sac`: defaults of CleanRL's `sac_atari.py` where a task of numbers does not ask for others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SacConfig {
    /// Network and optimizer. Policy and critics have layers of their own unless `shared`.
    pub net: NetConfig,
    /// Discount per env step.
    pub gamma: f64,
    /// Share of the online critics that goes into the targets at each update, in (0, 1].
    pub tau: f64,
    /// Transitions kept.
    pub buffer_size: usize,
    /// Transitions in memory before the first update; at least `batch_size`.
    pub learning_starts: usize,
    /// Transitions per update.
    pub batch_size: usize,
    /// Env steps per update.
    pub env_steps_per_update: u64,
    /// Temperature; the start of it where it is tuned.
    pub alpha: f64,
    /// Whether the temperature is tuned so that the entropy stays near its target.
    pub autotune: bool,
    /// Target entropy as a share of that of the uniform policy over the legal candidates; CleanRL: 0.89.
    pub target_entropy_scale: f64,
    /// Learning rate of the temperature.
    pub alpha_learning_rate: f64,
}

impl Default for SacConfig {
    fn default() -> Self {
        Self {
            net: NetConfig {
                activation: Activation::Relu,
                init: NetInit::Torch,
                optimizer: AdamConfig { learning_rate: 3e-4, eps: 1e-4, max_grad_norm: None, ..AdamConfig::default() },
                ..NetConfig::default()
            },
            gamma: 0.99,
            tau: 0.005,
            buffer_size: 100_000,
            learning_starts: 1_000,
            batch_size: 64,
            env_steps_per_update: 4,
            alpha: 0.2,
            autotune: true,
            target_entropy_scale: 0.89,
            alpha_learning_rate: 3e-4,
        }
    }
}

impl SacConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        within("sac.gamma", self.gamma, 0.0, 1.0)?;
        positive("sac.tau", self.tau)?;
        within("sac.tau", self.tau, 0.0, 1.0)?;
        at_least_one("sac.batch_size", self.batch_size as u64)?;
        at_least_one("sac.env_steps_per_update", self.env_steps_per_update)?;
        positive("sac.alpha", self.alpha)?;
        within("sac.target_entropy_scale", self.target_entropy_scale, 0.0, 1.0)?;
        positive("sac.alpha_learning_rate", self.alpha_learning_rate)?;
        if self.learning_starts < self.batch_size {
            let expected = format!("at least sac.batch_size = {}", self.batch_size);
            return Err(Error::config("sac.learning_starts", self.learning_starts, expected));
        }
        if self.buffer_size < self.learning_starts {
            let expected = format!("at least sac.learning_starts = {}", self.learning_starts);
            return Err(Error::config("sac.buffer_size", self.buffer_size, expected));
        }
        Ok(())
    }
}
