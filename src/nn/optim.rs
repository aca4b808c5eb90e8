//! AdamW with moments that can be saved.
//!
//! Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019), in the order of operations of
//! PyTorch: clip by the global norm, decay, moments, step.

use super::gradients::non_finite;
use super::{Gradients, ParamStore, Schedule};
use crate::persist::StateDict;
use crate::{Error, Result};
use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::nn) mod step;

use step::{Constants, Moments};

/// Settings of their own for the parameters whose name begins with `prefix`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Beginning of the names; of several that fit, the longest decides.
    pub prefix: String,
    /// Learning rate before the schedule's factor; `None` for that of all.
    pub learning_rate: Option<f64>,
    /// Decoupled weight decay, with the same exceptions; `None` for that of all.
    pub weight_decay: Option<f64>,
}

/// Settings of [`AdamW`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Learning rate before the schedule's factor, for parameters of no group.
    pub learning_rate: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay; not applied to names that end in `bias` or contain `LayerNorm`.
    pub weight_decay: f64,
    /// Global gradient norm above which all gradients are scaled down; `None` for no limit.
    pub max_grad_norm: Option<f64>,
    /// Factor on all learning rates as a function of the update.
    pub schedule: Schedule,
    /// Learning rates of their own.
    pub groups: Vec<Group>,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            max_grad_norm: Some(1.0),
            schedule: Schedule::default(),
            groups: Vec::new(),
        }
    }
}

impl AdamWConfig {
    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let positive = |key: &str, value: f64| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Error::config(key, value, "must be positive and finite")),
        };
        let not_negative = |key: &str, value: f64| match value >= 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(Error::config(key, value, "must be 0 or positive, and finite")),
        };
        positive("learning_rate", self.learning_rate)?;
        positive("eps", self.eps)?;
        for group in &self.groups {
            if let Some(rate) = group.learning_rate {
                positive(&format!("groups.{}.learning_rate", group.prefix), rate)?;
            }
            if let Some(decay) = group.weight_decay {
                not_negative(&format!("groups.{}.weight_decay", group.prefix), decay)?;
            }
        }
        if let Some(norm) = self.max_grad_norm {
            positive("max_grad_norm", norm)?;
        }
        for (key, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::config(key, beta, "must be at least 0 and less than 1"));
            }
        }
        not_negative("weight_decay", self.weight_decay)?;
        self.schedule.validate()
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().filter(|g| name.starts_with(&g.prefix)).max_by_key(|g| g.prefix.len())
    }

    fn learning_rate_of(&self, name: &str) -> f64 {
        self.group(name).and_then(|g| g.learning_rate).unwrap_or(self.learning_rate)
    }

    fn weight_decay_of(&self, name: &str) -> f64 {
        if name.ends_with("bias") || name.contains("LayerNorm") {
            return 0.0;
        }
        self.group(name).and_then(|g| g.weight_decay).unwrap_or(self.weight_decay)
    }
}

/// What one update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Global L2 norm of the gradients before clipping.
    pub grad_norm: f64,
    /// What the gradients were multiplied by: 1 if the norm was within the limit.
    pub clip_factor: f64,
    /// Factor of the schedule on the learning rates.
    pub schedule_factor: f64,
}

/// The optimizer. Frozen parameters have no state in it.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    updates: u64,
    moments: BTreeMap<String, Moments>,
}

/// What is saved besides the moments.
#[derive(Serialize, Deserialize)]
struct Saved {
    updates: u64,
    steps: BTreeMap<String, u64>,
}

impl AdamW {
    /// An optimizer before its first update.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range.
    pub fn new(config: AdamWConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { config, updates: 0, moments: BTreeMap::new() })
    }

    /// Updates made so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &AdamWConfig {
        &self.config
    }

    /// Changes the trained parameters of `store` by one update, as the schedule says. A parameter without a gradient
    /// stays as it is and its moments do not age.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the first gradient, in name order, that is not finite; nothing is then changed.
    pub fn step(&mut self, store: &ParamStore, grads: &Gradients) -> Result<StepReport> {
        self.step_at(store, grads, self.config.schedule.factor(self.updates))
    }

    /// [`AdamW::step`] at `schedule_factor` times the learning rates, for a schedule that the caller keeps.
    ///
    /// # Errors
    /// As [`AdamW::step`].
    pub fn step_at(&mut self, store: &ParamStore, grads: &Gradients, schedule_factor: f64) -> Result<StepReport> {
        let pairs: Vec<(&str, &Var, Tensor)> = store
            .trainable()
            .filter_map(|(name, var)| grads.get(name).map(|grad| (name, var, grad)))
            .map(|(name, var, grad)| Ok((name, var, grad.contiguous()?)))
            .collect::<Result<_>>()?;
        let grad_norm = self.global_norm(&pairs)?;
        let clip_factor = self.config.max_grad_norm.map_or(1.0, |limit| (limit / (grad_norm + 1e-6)).min(1.0));
        for (name, var, grad) in &pairs {
            let learning_rate = self.config.learning_rate_of(name) * schedule_factor;
            let weight_decay = self.config.weight_decay_of(name);
            let moments = match self.moments.entry((*name).to_owned()) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Moments::zeros(var)?),
            };
            let constants = Constants::new(&self.config, learning_rate, weight_decay, clip_factor, moments.steps + 1);
            moments.apply(var, grad, &constants)?;
        }
        self.updates += 1;
        Ok(StepReport { grad_norm, clip_factor, schedule_factor })
    }

    /// Root of the sum of squares over all gradients, in name order and in F64.
    fn global_norm(&self, pairs: &[(&str, &Var, Tensor)]) -> Result<f64> {
        let mut total = 0.0;
        for (name, _, grad) in pairs {
            let square = step::sum_of_squares(grad)?;
            if !square.is_finite() {
                return Err(non_finite(name, self.updates));
            }
            total += square;
        }
        Ok(total.sqrt())
    }

    /// Puts everything that later updates depend on into `state`.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        let steps = self.moments.iter().map(|(name, m)| (name.clone(), m.steps)).collect();
        state.put(format!("{prefix}adamw"), &Saved { updates: self.updates, steps })?;
        for (name, moments) in &self.moments {
            moments.save(state, &format!("{prefix}{name}"))?;
        }
        Ok(())
    }

    /// Takes everything back, bit for bit. `store` holds the parameters the state belongs to.
    ///
    /// # Errors
    /// [`Error::State`] if a saved parameter is not trained in `store` or has another shape; nothing is then changed.
    pub fn load(&mut self, state: &StateDict, prefix: &str, store: &ParamStore) -> Result<()> {
        let saved: Saved = state.get(&format!("{prefix}adamw"))?;
        let vars: BTreeMap<&str, &Var> = store.trainable().collect();
        let mut moments = BTreeMap::new();
        for (name, steps) in saved.steps {
            let var = vars.get(name.as_str()).ok_or_else(|| {
                Error::State(format!("the optimizer state has moments of {name}, which is not trained here"))
            })?;
            let loaded = Moments::load(state, &format!("{prefix}{name}"), var, steps)?;
            moments.insert(name, loaded);
        }
        self.updates = saved.updates;
        self.moments = moments;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
