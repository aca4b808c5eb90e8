//! Running average of parameters.

use candle_core::Tensor;
use retune::nn::ParamStore;
use retune::persist::StateDict;
use retune::{Error, Result};
use std::collections::BTreeMap;

/// Exponentially weighted averages of some parameters (Polyak and Juditsky 1992). Noisy one-step targets make the
/// last parameters jitter; their average is what is published. Target networks are the same thing.
#[derive(Clone, Debug)]
pub struct Average {
    values: BTreeMap<String, Tensor>,
}

impl Average {
    /// Begins at the current parameters for which `rule` holds.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn new(store: &ParamStore, rule: impl Fn(&str) -> bool) -> Result<Self> {
        Ok(Self { values: store.copies(rule)? })
    }

    /// The averages by name.
    #[must_use]
    pub fn values(&self) -> &BTreeMap<String, Tensor> {
        &self.values
    }

    /// Moves to `keep * average + (1 − keep) * parameter`; 0 copies the parameters.
    ///
    /// # Errors
    /// If the store has lost a parameter.
    pub fn update(&mut self, store: &ParamStore, keep: f64) -> Result<()> {
        for (name, value) in &mut self.values {
            let now = store.detached(name)?;
            *value =
                if keep == 0.0 { now.copy()? } else { (value.affine(keep, 0.0)? + now.affine(1.0 - keep, 0.0)?)? };
        }
        Ok(())
    }

    /// Puts the averages into `state` under `prefix`.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.values.iter().try_for_each(|(name, value)| state.put_tensor(format!("{prefix}{name}"), value))
    }

    /// The averages in `state` under `prefix`, which must have the names and shapes of `self`.
    ///
    /// # Errors
    /// [`Error::State`] if one is missing or misshapen.
    pub fn restored(&self, state: &StateDict, prefix: &str) -> Result<Self> {
        let one = |(name, old): (&String, &Tensor)| -> Result<(String, Tensor)> {
            let value = state.tensor(&format!("{prefix}{name}"), old.device())?;
            if value.dims() != old.dims() {
                let message = format!("{prefix}{name} has shape {:?}, expected {:?}", value.dims(), old.dims());
                return Err(Error::State(message));
            }
            Ok((name.clone(), value))
        };
        Ok(Self { values: self.values.iter().map(one).collect::<Result<_>>()? })
    }
}
