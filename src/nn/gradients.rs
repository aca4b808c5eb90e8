//! Gradients by parameter name, and the rule that every trained parameter gets one.
//!
//! candle cuts graphs without a word (a `no_bwd` operation, a copy through the host), and training then goes on with
//! parts of the model as they were. [`Gradients::check_coverage`] turns that into an error on the first update,
//! [`Movement`] finds parameters that have stayed where they began.

mod rows;

use super::ParamStore;
use crate::{Error, Result};
use candle_core::{DType, Tensor, TensorId};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

pub use rows::RowGradient;

/// The gradient of one parameter, detached from the graph that made it.
#[derive(Clone, Debug)]
pub enum Gradient {
    /// In the shape of the parameter.
    Dense(Tensor),
    /// Rows of a table; the others are zero.
    Rows(RowGradient),
}

impl Gradient {
    /// Shape of the parameter.
    #[must_use]
    pub fn dims(&self) -> Vec<usize> {
        match self {
            Self::Dense(grad) => grad.dims().to_vec(),
            Self::Rows(rows) => rows.dims().to_vec(),
        }
    }

    /// As a tensor of the shape of the parameter.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub fn dense(&self) -> Result<Tensor> {
        match self {
            Self::Dense(grad) => Ok(grad.clone()),
            Self::Rows(rows) => rows.to_dense(),
        }
    }

    /// The largest magnitude, and whether there is a NaN.
    fn extremes(&self) -> Result<(f32, bool)> {
        let grad = match self {
            Self::Dense(grad) => grad.flatten_all()?,
            Self::Rows(rows) => Tensor::new(rows.values(), &candle_core::Device::Cpu)?,
        };
        if grad.elem_count() == 0 {
            return Ok((0.0, false));
        }
        // A maximum may skip NaN; the sum does not.
        Ok((grad.abs()?.max(0)?.to_scalar()?, grad.sum_all()?.to_scalar::<f32>()?.is_nan()))
    }
}

/// Gradients of a scalar loss, in name order, detached from the graph that made them.
#[derive(Clone, Debug)]
pub struct Gradients {
    by_name: BTreeMap<String, Gradient>,
    /// Where the graph ends: for messages about what has no gradient.
    deepest: Option<String>,
}

impl Gradients {
    /// Runs the backward pass of `loss` (one finite value) for the trained parameters of `store`. `update` counts
    /// from 0 and is only used in messages. The pass frees activations on its way: a loss has one such pass.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if the loss is not finite.
    pub fn of(loss: &Tensor, store: &ParamStore, update: u64) -> Result<Self> {
        let value = loss.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        if !value.is_finite() {
            return Err(Error::NonFinite { name: "loss".to_owned(), update, detail: format!("the loss is {value}") });
        }
        let mut grads = super::fused::backward_by_rows(loss)?;
        let mut by_name = BTreeMap::new();
        let mut complete = true;
        for (name, var) in store.trainable() {
            match grads.take(var)? {
                Some(grad) => {
                    by_name.insert(name.to_owned(), grad);
                }
                None => complete = false,
            }
        }
        let deepest = if complete { None } else { deepest_parameter(loss, store) };
        Ok(Self { by_name, deepest })
    }

    /// Gradients put together by hand, such as those of a closed form.
    #[must_use]
    pub fn from_map(by_name: BTreeMap<String, Tensor>) -> Self {
        let by_name = by_name.into_iter().map(|(name, grad)| (name, Gradient::Dense(grad))).collect();
        Self { by_name, deepest: None }
    }

    /// The gradient of parameter `name`, if it has one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Gradient> {
        self.by_name.get(name)
    }

    /// In name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Gradient)> {
        self.by_name.iter().map(|(n, g)| (n.as_str(), g))
    }

    /// Adds the gradients of another micro-batch.
    ///
    /// # Errors
    /// If a tensor cannot be added.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        for (name, grad) in &other.by_name {
            match (self.by_name.get_mut(name), grad) {
                (Some(Gradient::Rows(own)), Gradient::Rows(grad)) if own.dims() == grad.dims() => own.add(grad),
                (Some(own), grad) => *own = Gradient::Dense(own.dense()?.add(&grad.dense()?)?.detach()),
                (None, grad) => {
                    self.by_name.insert(name.clone(), grad.clone());
                }
            }
        }
        Ok(())
    }

    /// Multiplies all gradients, for instance by 1 / number of micro-batches.
    ///
    /// # Errors
    /// If a tensor cannot be scaled.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        for grad in self.by_name.values_mut() {
            match grad {
                Gradient::Dense(grad) => *grad = (&*grad * factor)?.detach(),
                Gradient::Rows(rows) => rows.scale(factor as f32),
            }
        }
        Ok(())
    }

    /// On updates 0 and 1, checks that every trained parameter has a gradient that is present, finite and not all
    /// zero; later it does nothing. All zero is the right answer for
    /// * `*.attention.self.key.bias`: softmax ignores a constant added to all scores of a query;
    /// * `*.lora_a` while its `lora_b` is zero, hence on update 0;
    /// * whatever `zero_allowed` names, such as the last bias of a head that scores each candidate under a softmax.
    ///
    /// # Errors
    /// [`Error::Coverage`] naming all parameters without a gradient and where the graph ends, or the parameter whose
    /// gradient is zero; [`Error::NonFinite`] for one that is not finite.
    pub fn check_coverage(&self, store: &ParamStore, update: u64, zero_allowed: impl Fn(&str) -> bool) -> Result<()> {
        if update > 1 {
            return Ok(());
        }
        let missing: Vec<&str> =
            store.trainable().map(|(name, _)| name).filter(|n| !self.by_name.contains_key(*n)).collect();
        if !missing.is_empty() {
            return Err(self.missing_error(&missing, update));
        }
        for (name, _) in store.trainable() {
            let (largest, not_a_number) = self.by_name[name].extremes()?;
            if !largest.is_finite() || not_a_number {
                return Err(non_finite(name, update));
            }
            if largest == 0.0 && !zero_is_right(store, name)? && !zero_allowed(name) {
                return Err(Error::Coverage(format!(
                    "on update {update} the gradient of {name} is zero everywhere; it would never be trained"
                )));
            }
        }
        Ok(())
    }

    fn missing_error(&self, missing: &[&str], update: u64) -> Error {
        let end = match &self.deepest {
            Some(name) => format!("the last operation with a gradient uses {name}"),
            None => "no trained parameter has one: the loss is cut off from the model".to_owned(),
        };
        Error::Coverage(format!(
            "on update {update} no gradient reaches {}; {end}; look for an operation that cuts the graph before it",
            missing.join(", ")
        ))
    }
}

/// An [`Error::NonFinite`] for the gradient of a parameter.
pub(super) fn non_finite(name: &str, update: u64) -> Error {
    Error::NonFinite {
        name: format!("the gradient of {name}"),
        update,
        detail: "the loss and all earlier gradients were finite".to_owned(),
    }
}

fn zero_is_right(store: &ParamStore, name: &str) -> Result<bool> {
    if name.ends_with("attention.self.key.bias") {
        return Ok(true);
    }
    let Some(linear) = name.strip_suffix(".lora_a") else { return Ok(false) };
    let b = store.detached(&format!("{linear}.lora_b"))?;
    Ok(b.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()? == 0.0)
}

/// The trained parameter furthest from the loss that the graph still reaches.
fn deepest_parameter(loss: &Tensor, store: &ParamStore) -> Option<String> {
    let reached: Vec<TensorId> = loss.sorted_nodes().iter().filter(|n| n.is_variable()).map(|n| n.id()).collect();
    let name_of = |id: TensorId| store.trainable().find(|(_, var)| var.id() == id).map(|(name, _)| name.to_owned());
    reached.into_iter().rev().find_map(name_of)
}

/// Remembers where parameters began, to tell which have not moved.
#[derive(Clone, Debug)]
pub struct Movement {
    start: BTreeMap<String, [u8; 32]>,
}

impl Movement {
    /// Remembers the trained parameters as they are now.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn start(store: &ParamStore) -> Result<Self> {
        let start = store.trainable().map(|(n, v)| Ok((n.to_owned(), digest(v)?))).collect::<Result<_>>()?;
        Ok(Self { start })
    }

    /// Names of the trained parameters whose bits are those of the start, in name order.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn unmoved(&self, store: &ParamStore) -> Result<Vec<String>> {
        let mut unmoved = Vec::new();
        for (name, var) in store.trainable() {
            if self.start.get(name) == Some(&digest(var)?) {
                unmoved.push(name.to_owned());
            }
        }
        Ok(unmoved)
    }
}

fn digest(tensor: &Tensor) -> Result<[u8; 32]> {
    let values = tensor.detach().flatten_all()?.to_device(&candle_core::Device::Cpu)?.to_vec1::<f32>()?;
    let mut hash = Sha256::new();
    for chunk in values.chunks(4096) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
        hash.update(&bytes);
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests;
