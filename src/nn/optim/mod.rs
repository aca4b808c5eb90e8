//! Optimizers with a state that can be saved: AdamW, gradient descent with momentum, Adafactor.
//!
//! One update is: clip by the global norm, then for each parameter in name order decay and step. No pass makes a
//! temporary of the size of a parameter on the CPU, and no result depends on the number of threads.

use super::gradients::non_finite;
use super::{Gradient, Gradients, ParamStore};
use crate::persist::StateDict;
use crate::{Error, Result};
use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

mod adafactor;
mod adamw;
pub(super) mod buffer;
mod config;
mod sgd;

use adafactor::Factors;
use adamw::Moments;
use sgd::Velocity;

pub use config::{Adafactor, AdamW, Algorithm, Group, OptimizerConfig, Sgd};

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

/// What one update of one parameter depends on besides the algorithm.
#[derive(Clone, Copy, Debug)]
struct Rates {
    /// After the schedule.
    learning_rate: f64,
    weight_decay: f64,
    /// What the gradient is multiplied by.
    clip: f64,
    /// Updates of this parameter, this one included: 1 for the first.
    step: u64,
}

/// What the algorithm remembers of one parameter.
#[derive(Debug)]
enum Memory {
    AdamW(AdamW, Moments),
    Sgd(Sgd, Velocity),
    Adafactor(Adafactor, Factors),
}

impl Memory {
    fn new(algorithm: &Algorithm, var: &Var) -> Result<Self> {
        Ok(match *algorithm {
            Algorithm::AdamW(adam) => Self::AdamW(adam, Moments::zeros(var)?),
            Algorithm::Sgd(sgd) => Self::Sgd(sgd, Velocity::zeros(&sgd, var)?),
            Algorithm::Adafactor(ada) => Self::Adafactor(ada, Factors::zeros(&ada, var)?),
        })
    }

    fn load(algorithm: &Algorithm, state: &StateDict, name: &str, var: &Var) -> Result<Self> {
        Ok(match *algorithm {
            Algorithm::AdamW(adam) => Self::AdamW(adam, Moments::load(state, name, var)?),
            Algorithm::Sgd(sgd) => Self::Sgd(sgd, Velocity::load(&sgd, state, name, var)?),
            Algorithm::Adafactor(ada) => Self::Adafactor(ada, Factors::load(&ada, state, name, var)?),
        })
    }

    fn save(&self, state: &mut StateDict, name: &str) -> Result<()> {
        match self {
            Self::AdamW(_, moments) => moments.save(state, name),
            Self::Sgd(_, velocity) => velocity.save(state, name),
            Self::Adafactor(_, factors) => factors.save(state, name),
        }
    }

    fn apply(&mut self, var: &Var, grad: &Gradient, rates: &Rates) -> Result<()> {
        match self {
            Self::AdamW(adam, moments) => moments.apply(var, grad, adam, rates),
            Self::Sgd(sgd, velocity) => velocity.apply(var, grad, sgd, rates),
            Self::Adafactor(ada, factors) => factors.apply(var, grad, ada, rates),
        }
    }
}

/// A parameter's memory and its age.
#[derive(Debug)]
struct Slot {
    /// Updates that went into it.
    steps: u64,
    memory: Memory,
}

/// The optimizer. Frozen parameters have no state in it.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    updates: u64,
    slots: BTreeMap<String, Slot>,
}

/// What is saved besides the buffers.
#[derive(Serialize, Deserialize)]
struct Saved {
    algorithm: String,
    updates: u64,
    steps: BTreeMap<String, u64>,
}

impl Optimizer {
    /// An optimizer before its first update.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range.
    pub fn new(config: OptimizerConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { config, updates: 0, slots: BTreeMap::new() })
    }

    /// Updates made so far.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Changes the trained parameters of `store` by one update. A parameter without a gradient stays as it is and
    /// its state does not age.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the first gradient, in name order, that is not finite; nothing is then changed.
    /// [`Error::State`] for a gradient that does not have the shape of its parameter.
    pub fn step(&mut self, store: &ParamStore, grads: &Gradients) -> Result<StepReport> {
        self.step_at(store, grads, self.config.schedule.factor(self.updates))
    }

    /// [`Optimizer::step`] at `schedule_factor` times the learning rates, for a schedule that the caller keeps.
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    pub fn step_at(&mut self, store: &ParamStore, grads: &Gradients, schedule_factor: f64) -> Result<StepReport> {
        let mut pairs: Vec<(&str, &Var, Cow<'_, Gradient>)> = Vec::new();
        for (name, var) in store.trainable() {
            let Some(grad) = grads.get(name) else { continue };
            if grad.dims() != var.dims() {
                let (grad, own) = (grad.dims(), var.dims());
                return Err(Error::State(format!("the gradient of {name} has shape {grad:?}, the parameter {own:?}")));
            }
            pairs.push((name, var, contiguous(grad)?));
        }
        let grad_norm = self.global_norm(&pairs)?;
        let clip = self.config.max_grad_norm.map_or(1.0, |limit| (limit / (grad_norm + 1e-6)).min(1.0));
        for (name, var, grad) in &pairs {
            let slot = match self.slots.entry((*name).to_owned()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    entry.insert(Slot { steps: 0, memory: Memory::new(&self.config.algorithm, var)? })
                }
            };
            let rates = Rates {
                learning_rate: self.config.learning_rate_of(name) * schedule_factor,
                weight_decay: self.config.weight_decay_of(name),
                clip,
                step: slot.steps + 1,
            };
            slot.memory.apply(var, grad, &rates)?;
            slot.steps += 1;
        }
        self.updates += 1;
        Ok(StepReport { grad_norm, clip_factor: clip, schedule_factor })
    }

    /// Root of the sum of squares over all gradients, in name order and in F64.
    fn global_norm(&self, pairs: &[(&str, &Var, Cow<'_, Gradient>)]) -> Result<f64> {
        let dense = |grad: &Gradient| if let Gradient::Dense(tensor) = grad { Some(tensor.clone()) } else { None };
        let tensors: Vec<Tensor> = pairs.iter().filter_map(|(_, _, grad)| dense(grad)).collect();
        let mut of_dense = buffer::sums_of_squares(&tensors.iter().collect::<Vec<_>>())?.into_iter();
        let mut total = 0.0;
        for (name, _, grad) in pairs {
            let square = match &**grad {
                Gradient::Dense(_) => of_dense.next().unwrap_or(f64::NAN),
                Gradient::Rows(rows) => rows.sum_of_squares(),
            };
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
        let steps = self.slots.iter().map(|(name, slot)| (name.clone(), slot.steps)).collect();
        let algorithm = self.config.algorithm.name().to_owned();
        state.put(format!("{prefix}optimizer"), &Saved { algorithm, updates: self.updates, steps })?;
        self.slots.iter().try_for_each(|(name, slot)| slot.memory.save(state, &format!("{prefix}{name}")))
    }

    /// Takes everything back, bit for bit. `store` holds the parameters the state belongs to.
    ///
    /// # Errors
    /// [`Error::State`] if it is the state of another algorithm, or a saved parameter is not trained in `store` or has
    /// another shape; nothing is then changed.
    pub fn load(&mut self, state: &StateDict, prefix: &str, store: &ParamStore) -> Result<()> {
        let saved: Saved = state.get(&format!("{prefix}optimizer"))?;
        let own = self.config.algorithm.name();
        if saved.algorithm != own {
            let message = format!("the optimizer state is of {}, this optimizer is {own}", saved.algorithm);
            return Err(Error::State(message));
        }
        let vars: BTreeMap<&str, &Var> = store.trainable().collect();
        let mut slots = BTreeMap::new();
        for (name, steps) in saved.steps {
            let var = vars.get(name.as_str()).ok_or_else(|| {
                Error::State(format!("the optimizer state is of {name} too, which is not trained here"))
            })?;
            let memory = Memory::load(&self.config.algorithm, state, &format!("{prefix}{name}"), var)?;
            slots.insert(name, Slot { steps, memory });
        }
        self.updates = saved.updates;
        self.slots = slots;
        Ok(())
    }
}

/// A gradient as the passes over it want it.
fn contiguous(grad: &Gradient) -> Result<Cow<'_, Gradient>> {
    Ok(match grad {
        Gradient::Dense(grad) if !grad.is_contiguous() => Cow::Owned(Gradient::Dense(grad.contiguous()?)),
        _ => Cow::Borrowed(grad),
    })
}

#[cfg(test)]
mod tests;
