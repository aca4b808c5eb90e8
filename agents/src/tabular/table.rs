//! One value per state and action.

use super::policy::max;
use candle_core::{DType, Device, Tensor};
use retune::persist::StateDict;
use retune::{Error, Result};
use std::borrow::Cow;

/// Values `[num_states, num_actions]`, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct QTable {
    values: Vec<f64>,
    num_actions: usize,
}

impl QTable {
    /// The same value everywhere. `shape` is states by actions, both at least 1.
    #[must_use]
    pub fn new((num_states, num_actions): (usize, usize), value: f64) -> Self {
        Self { values: vec![value; num_states * num_actions], num_actions }
    }

    /// States and actions.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.values.len() / self.num_actions, self.num_actions)
    }

    /// Values of the actions in `state`, `[num_actions]`.
    ///
    /// # Panics
    /// If there is no such state.
    #[must_use]
    pub fn row(&self, state: u32) -> &[f64] {
        let first = state as usize * self.num_actions;
        &self.values[first..first + self.num_actions]
    }

    /// The same with −∞ for what is not legal; `legal` is empty where everything is.
    ///
    /// # Panics
    /// If there is no such state.
    #[must_use]
    pub fn legal_row(&self, state: u32, legal: &[bool]) -> Cow<'_, [f64]> {
        let row = self.row(state);
        if legal.is_empty() {
            return Cow::Borrowed(row);
        }
        let value = |(&q, &legal): (&f64, &bool)| if legal { q } else { f64::NEG_INFINITY };
        Cow::Owned(row.iter().zip(legal).map(value).collect())
    }

    /// Value of `action` in `state`.
    ///
    /// # Panics
    /// If there is no such state or action.
    #[must_use]
    pub fn get(&self, state: u32, action: u32) -> f64 {
        self.row(state)[action as usize]
    }

    /// Number of the pair in [`QTable::values`].
    pub(super) fn cell(&self, state: u32, action: u32) -> usize {
        state as usize * self.num_actions + action as usize
    }

    /// All values, row by row.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    pub(super) fn add(&mut self, cell: usize, by: f64) {
        self.values[cell] += by;
    }

    /// Element-wise mean of two tables of one shape.
    pub(super) fn mean(&self, other: &Self) -> Self {
        let mean = |(a, b): (&f64, &f64)| 0.5 * (a + b);
        Self { values: self.values.iter().zip(&other.values).map(mean).collect(), num_actions: self.num_actions }
    }

    /// As parameters are published, in single precision. Actors see these values, so what is the best action for an
    /// actor is decided in single precision too ([`QTable::is_greedy`]).
    pub(super) fn published(&self) -> Result<Tensor> {
        let values: Vec<f32> = self.values.iter().map(|&v| v as f32).collect();
        Ok(Tensor::from_vec(values, self.shape(), &Device::Cpu)?)
    }

    /// The table that was published, which must have this shape.
    pub(super) fn from_published(tensor: &Tensor, shape: (usize, usize)) -> Result<Self> {
        if tensor.dtype() != DType::F32 || tensor.dims() != [shape.0, shape.1] {
            let (found, dtype) = (tensor.dims(), tensor.dtype());
            return Err(Error::State(format!("q is {dtype:?} {found:?}, expected F32 {shape:?} (states, actions)")));
        }
        let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
        Ok(Self { values: values.into_iter().map(f64::from).collect(), num_actions: shape.1 })
    }

    /// Whether an actor would count `action` among the best of the legal ones in `state`.
    pub(super) fn is_greedy(&self, state: u32, legal: &[bool], action: u32) -> bool {
        self.get(state, action) as f32 == max(&self.legal_row(state, legal)) as f32
    }

    pub(super) fn save(&self, state: &mut StateDict, name: String) -> Result<()> {
        state.put_tensor(name, &Tensor::from_slice(&self.values, self.shape(), &Device::Cpu)?)
    }

    /// The table saved under `name`, which must have the form in which this one would be saved.
    pub(super) fn restored(&self, state: &StateDict, name: &str) -> Result<Self> {
        let raw = state.tensors.get(name).ok_or_else(|| Error::State(format!("tensor {name} is missing")))?;
        let mut own = StateDict::default();
        self.save(&mut own, name.to_owned())?;
        let own = &own.tensors[name];
        if (raw.dtype, &raw.shape, raw.data.len()) != (own.dtype, &own.shape, own.data.len()) {
            return Err(Error::State(format!(
                "tensor {name} is {:?} {:?}, expected {:?} {:?} (states, actions)",
                raw.dtype, raw.shape, own.dtype, own.shape
            )));
        }
        let values = raw.data.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        Ok(Self { values, num_actions: self.num_actions })
    }
}
