//! Parameters by name, in name order.
//!
//! candle's own `VarMap` iterates in hash order; sums over parameters (gradient norms, checksums) must not.

use crate::rng::Seed;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor, Var};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// How a parameter that no file supplies begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All entries equal.
    Const(f32),
    /// N(0, std).
    Normal(f32),
    /// U(−bound, bound).
    Uniform(f32),
}

#[derive(Clone, Debug)]
struct Param {
    var: Var,
    trainable: bool,
}

/// F32 parameters of a model, ordered by name.
#[derive(Clone, Debug)]
pub struct ParamStore {
    device: Device,
    seed: Seed,
    params: BTreeMap<String, Param>,
}

impl ParamStore {
    /// An empty store. A new parameter `name` begins from the stream `seed / name`, so adding one changes no other.
    #[must_use]
    pub fn new(device: &Device, seed: Seed) -> Self {
        Self { device: device.clone(), seed, params: BTreeMap::new() }
    }

    /// Where the parameters live.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Adds a trainable parameter that begins as `init` says.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn init(&mut self, name: &str, shape: &[usize], init: Init) -> Result<()> {
        let count = shape.iter().product();
        let mut rng = self.seed.child(name).rng();
        let values: Vec<f32> = match init {
            Init::Const(value) => vec![value; count],
            Init::Normal(std) => (0..count).map(|_| (rng.normal() * f64::from(std)) as f32).collect(),
            Init::Uniform(bound) => {
                (0..count).map(|_| ((2.0 * rng.uniform() - 1.0) * f64::from(bound)) as f32).collect()
            }
        };
        self.insert(name, &Tensor::from_vec(values, shape, &self.device)?)
    }

    /// Adds a trainable parameter with these values (copied, as F32).
    ///
    /// # Errors
    /// If the name is taken.
    pub fn insert(&mut self, name: &str, values: &Tensor) -> Result<()> {
        if self.params.contains_key(name) {
            return Err(Error::State(format!("parameter {name} is defined twice")));
        }
        let var = Var::from_tensor(&values.to_device(&self.device)?.to_dtype(DType::F32)?.contiguous()?)?;
        self.params.insert(name.to_owned(), Param { var, trainable: true });
        Ok(())
    }

    /// The tensor to compute with: part of the graph if the parameter is trained, a plain tensor that shares its
    /// storage if it is frozen (so no gradient is computed for it).
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let param = self.param(name)?;
        Ok(if param.trainable { param.var.as_tensor().clone() } else { param.var.as_detached_tensor() })
    }

    /// The tensor for computing without a graph; sees later updates.
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn detached(&self, name: &str) -> Result<Tensor> {
        Ok(self.param(name)?.var.as_detached_tensor())
    }

    /// Whether there is a parameter of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.params.contains_key(name)
    }

    /// All names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.params.keys().map(String::as_str)
    }

    /// Trains exactly the parameters for which `rule` holds.
    pub fn set_trainable(&mut self, rule: impl Fn(&str) -> bool) {
        for (name, param) in &mut self.params {
            param.trainable = rule(name);
        }
    }

    /// The trained parameters in name order.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.params.iter().filter(|(_, p)| p.trainable).map(|(n, p)| (n.as_str(), &p.var))
    }

    /// Number of trained values.
    #[must_use]
    pub fn trainable_count(&self) -> usize {
        self.trainable().map(|(_, v)| v.elem_count()).sum()
    }

    /// Overwrites the values of a parameter.
    ///
    /// # Errors
    /// If there is no such parameter or the shape differs.
    pub fn set(&self, name: &str, values: &Tensor) -> Result<()> {
        let var = &self.param(name)?.var;
        if var.dims() != values.dims() {
            return Err(Error::State(format!(
                "parameter {name} has shape {:?}, the given values {:?}",
                var.dims(),
                values.dims()
            )));
        }
        // A real copy: the store must never share memory with what it was set from.
        Ok(var.set(&values.to_device(&self.device)?.copy()?)?)
    }

    /// Real copies of all parameters for which `rule` holds.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn copies(&self, rule: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Tensor>> {
        self.params
            .iter()
            .filter(|(name, _)| rule(name))
            .map(|(name, p)| Ok((name.clone(), p.var.as_detached_tensor().copy()?)))
            .collect()
    }

    /// SHA-256 over names, shapes and bits of the parameters for which `rule` holds, as hex.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn checksum(&self, rule: impl Fn(&str) -> bool) -> Result<String> {
        let chosen = self.params.iter().filter(|(name, _)| rule(name));
        checksum(chosen.map(|(name, p)| (name.as_str(), p.var.as_tensor())))
    }

    fn param(&self, name: &str) -> Result<&Param> {
        self.params.get(name).ok_or_else(|| Error::State(format!("there is no parameter {name}")))
    }
}

/// SHA-256 over names, shapes and F32 bits, in the given order, as hex.
///
/// # Errors
/// If a tensor cannot be read.
pub fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<String> {
    let mut hash = Sha256::new();
    for (name, tensor) in tensors {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        for &dim in tensor.dims() {
            hash.update((dim as u64).to_le_bytes());
        }
        let values = tensor.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        hash.update(&bytes);
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
