//! Adam and AdamW on a flat array.

use super::Layout;
use crate::nn::fused::exp::vectorized;
use crate::nn::optim::buffer::{CHUNK, chunk_sum_of_squares};
use crate::nn::{AdamW, Algorithm, OptimizerConfig, StepReport};
use crate::persist::StateDict;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of [`Adam`]. The defaults are those of CleanRL and Stable-Baselines3, apart from the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Learning rate before any schedule.
    pub learning_rate: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay (AdamW); not applied to names that end in `bias`.
    pub weight_decay: f64,
    /// Global gradient norm above which all gradients are scaled down; `None` for no limit.
    pub max_grad_norm: Option<f64>,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { learning_rate: 3e-4, beta1: 0.9, beta2: 0.999, eps: 1e-5, weight_decay: 0.0, max_grad_norm: Some(0.5) }
    }
}

impl AdamConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        self.general().validate()
    }

    /// The same as settings of the optimizer for tensors, so that rules and arithmetic stand once.
    #[must_use]
    pub fn general(&self) -> OptimizerConfig {
        OptimizerConfig {
            algorithm: Algorithm::AdamW(AdamW { beta1: self.beta1, beta2: self.beta2, eps: self.eps }),
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            ..OptimizerConfig::default()
        }
    }
}

/// The numbers that all values share in one update.
#[derive(Clone, Copy, Debug)]
struct Constants {
    clip: f32,
    keep: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step_size: f32,
    inverse_root_correction2: f32,
    eps: f32,
}

impl Constants {
    fn new(config: &AdamConfig, learning_rate: f64, clip: f64, step: u64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            clip: clip as f32,
            keep: (1.0 - learning_rate * config.weight_decay) as f32,
            beta1: config.beta1 as f32,
            one_minus_beta1: (1.0 - config.beta1) as f32,
            beta2: config.beta2 as f32,
            one_minus_beta2: (1.0 - config.beta2) as f32,
            step_size: (learning_rate / correction(config.beta1)) as f32,
            inverse_root_correction2: (1.0 / correction(config.beta2).sqrt()) as f32,
            eps: config.eps as f32,
        }
    }
}

vectorized! {
    /// One update; gradients are zero afterwards. The arithmetic of [`crate::nn::AdamW`], with a product in the place of
    /// one of its two quotients, which halves the time, and the clearing in the same pass.
    fn update<'a>(
        params: &'a mut [f32],
        grads: &'a mut [f32],
        m: &'a mut [f32],
        v: &'a mut [f32],
        c: Constants,
    ) {
        for (((p, grad), m), v) in params.iter_mut().zip(grads).zip(m).zip(v) {
            let g = *grad * c.clip;
            *grad = 0.0;
            *m = c.beta1 * *m + c.one_minus_beta1 * g;
            *v = c.beta2 * *v + c.one_minus_beta2 * (g * g);
            *p = *p * c.keep - c.step_size * (*m / (v.sqrt() * c.inverse_root_correction2 + c.eps));
        }
    }
}

/// The optimizer: the arithmetic of [`crate::nn::AdamW`] in one pass over all parameters of a [`Layout`].
#[derive(Clone, Debug)]
pub struct Adam {
    config: AdamConfig,
    updates: u64,
    m: Vec<f32>,
    v: Vec<f32>,
}

impl Adam {
    /// An optimizer for `len` values, padding included, before its first update.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range.
    pub fn new(config: AdamConfig, len: usize) -> Result<Self> {
        config.validate()?;
        Ok(Self { config, updates: 0, m: vec![0.0; len], v: vec![0.0; len] })
    }

    /// Updates made so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &AdamConfig {
        &self.config
    }

    /// One update: clips by the global norm, takes a step at `factor` times the learning rate, and sets `grads` back
    /// to zero for the next accumulation.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the first parameter, in name order, whose gradient is not finite; nothing is then
    /// changed.
    pub fn step(&mut self, layout: &Layout, params: &mut [f32], grads: &mut [f32], factor: f64) -> Result<StepReport> {
        let square: f64 = grads.chunks(CHUNK).map(chunk_sum_of_squares).sum();
        if !square.is_finite() {
            let name = layout.non_finite(grads).map_or("the global norm", |b| &b.name);
            let detail = "its gradient is not finite".to_owned();
            return Err(Error::NonFinite { name: name.to_owned(), update: self.updates, detail });
        }
        let grad_norm = square.sqrt();
        let clip_factor = self.config.max_grad_norm.map_or(1.0, |limit| (limit / (grad_norm + 1e-6)).min(1.0));
        let rate = self.config.learning_rate * factor;
        let decayed = Constants::new(&self.config, rate, clip_factor, self.updates + 1);
        if self.config.weight_decay == 0.0 {
            update(params, grads, &mut self.m, &mut self.v, decayed);
        } else {
            for block in layout.blocks() {
                let kept = if block.name.ends_with("bias") { 1.0 } else { decayed.keep };
                let (m, v) = (block.of_mut(&mut self.m), block.of_mut(&mut self.v));
                let constants = Constants { keep: kept, ..decayed };
                update(block.of_mut(params), block.of_mut(grads), m, v, constants);
            }
        }
        self.updates += 1;
        Ok(StepReport { grad_norm, clip_factor, schedule_factor: factor })
    }

    /// Puts everything that later updates depend on into `state`.
    ///
    /// # Errors
    /// If the count cannot be expressed as JSON.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        state.put(format!("{prefix}adam"), &self.updates)?;
        state.put_f32s(format!("{prefix}adam.m"), &self.m);
        state.put_f32s(format!("{prefix}adam.v"), &self.v);
        Ok(())
    }

    /// Takes everything back, bit for bit.
    ///
    /// # Errors
    /// [`Error::State`] if something is missing or belongs to another number of parameters; nothing is then changed.
    pub fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        let updates = state.get(&format!("{prefix}adam"))?;
        let moment = |name: &str| {
            let values = state.f32s(&format!("{prefix}{name}"))?;
            if values.len() != self.m.len() {
                let (saved, own) = (values.len(), self.m.len());
                return Err(Error::State(format!("{prefix}{name} has {saved} values, expected {own}")));
            }
            Ok(values)
        };
        let (m, v) = (moment("adam.m")?, moment("adam.v")?);
        (self.updates, self.m, self.v) = (updates, m, v);
        Ok(())
    }
}
