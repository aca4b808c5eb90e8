//! Parameters by name, in name order.
//!
//! candle's own `VarMap` iterates in hash order; sums over parameters (gradient norms, checksums) must not.

use super::Quantised;
use crate::persist::StateDict;
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

/// Where the values of a parameter are kept.
#[derive(Clone, Debug)]
enum Value {
    /// In the store, so that they can change.
    Own(Var),
    /// In memory shared with other stores (frozen pretrained weights): never written to.
    Shared(Tensor),
    /// The same in 8 bits, widened whenever it is asked for.
    Quantised(Quantised),
}

impl Value {
    fn dims(&self) -> &[usize] {
        match self {
            Self::Own(var) => var.dims(),
            Self::Shared(tensor) => tensor.dims(),
            Self::Quantised(matrix) => matrix.dims(),
        }
    }

    fn detached(&self) -> Result<Tensor> {
        Ok(match self {
            Self::Own(var) => var.as_detached_tensor(),
            Self::Shared(tensor) => tensor.detach(),
            Self::Quantised(matrix) => matrix.to_f32()?,
        })
    }
}

#[derive(Clone, Debug)]
struct Param {
    value: Value,
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
        self.check_new(name)?;
        let var = own(&values.to_device(&self.device)?.to_dtype(DType::F32)?)?;
        self.params.insert(name.to_owned(), Param { value: Value::Own(var), trainable: true });
        Ok(())
    }

    /// Adds a frozen parameter that shares the memory of `values` where it can (F32 on the same device), so that any
    /// number of stores hold the same pretrained weights once.
    ///
    /// # Errors
    /// If the name is taken or the values cannot be moved to the device.
    pub fn insert_frozen(&mut self, name: &str, values: &Tensor) -> Result<()> {
        self.check_new(name)?;
        let value = Value::Shared(self.shareable(values)?);
        self.params.insert(name.to_owned(), Param { value, trainable: false });
        Ok(())
    }

    /// Adds a frozen matrix that stays in 8 bits and shares its memory as [`ParamStore::insert_frozen`] does. Whoever
    /// asks for its tensor gets it widened, in memory that lives as long as that tensor.
    ///
    /// # Errors
    /// If the name is taken or the values cannot be moved to the device.
    pub fn insert_quantised(&mut self, name: &str, values: &Quantised) -> Result<()> {
        self.check_new(name)?;
        let value = Value::Quantised(values.to_device(&self.device)?);
        self.params.insert(name.to_owned(), Param { value, trainable: false });
        Ok(())
    }

    /// The parameter `name` if it is kept in 8 bits.
    #[must_use]
    pub fn quantised(&self, name: &str) -> Option<&Quantised> {
        match self.params.get(name).map(|p| &p.value) {
            Some(Value::Quantised(matrix)) => Some(matrix),
            _ => None,
        }
    }

    /// Puts other frozen values of the same shape in the place of a frozen parameter and returns the old ones.
    ///
    /// # Errors
    /// If there is no such parameter, it is trained, or the shape differs.
    pub fn replace_frozen(&mut self, name: &str, values: &Tensor) -> Result<Tensor> {
        let new = self.shareable(values)?;
        let param = self.params.get_mut(name).ok_or_else(|| unknown(name))?;
        if param.trainable {
            return Err(Error::State(format!("parameter {name} is trained; only frozen values can be replaced")));
        }
        check_shape(name, param.value.dims(), values)?;
        let old = param.value.detached()?;
        param.value = Value::Shared(new);
        Ok(old)
    }

    /// The tensor to compute with: part of the graph if the parameter is trained, a plain tensor that shares its
    /// storage if it is frozen (so no gradient is computed for it).
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let param = self.param(name)?;
        match &param.value {
            Value::Own(var) if param.trainable => Ok(var.as_tensor().clone()),
            value => value.detached(),
        }
    }

    /// The tensor for computing without a graph; sees later updates.
    ///
    /// # Errors
    /// If there is no such parameter.
    pub fn detached(&self, name: &str) -> Result<Tensor> {
        self.param(name)?.value.detached()
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

    /// Trains exactly the parameters for which `rule` holds. A shared parameter that becomes trained is copied first, in
    /// F32.
    ///
    /// # Errors
    /// If a shared parameter cannot be copied.
    pub fn set_trainable(&mut self, rule: impl Fn(&str) -> bool) -> Result<()> {
        for (name, param) in &mut self.params {
            param.trainable = rule(name);
            if param.trainable && !matches!(param.value, Value::Own(_)) {
                param.value = Value::Own(own(&param.value.detached()?)?);
            }
        }
        Ok(())
    }

    /// The trained parameters in name order.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.params.iter().filter_map(|(name, param)| match &param.value {
            Value::Own(var) if param.trainable => Some((name.as_str(), var)),
            _ => None,
        })
    }

    /// Whether the parameter of this name is trained.
    #[must_use]
    pub fn is_trainable(&self, name: &str) -> bool {
        self.params.get(name).is_some_and(|p| p.trainable)
    }

    /// Number of trained values.
    #[must_use]
    pub fn trainable_count(&self) -> usize {
        self.trainable().map(|(_, v)| v.elem_count()).sum()
    }

    /// Whether the parameter is frozen in memory that other stores may share: its values cannot change in place.
    #[must_use]
    pub fn is_shared(&self, name: &str) -> bool {
        self.params.get(name).is_some_and(|p| !matches!(p.value, Value::Own(_)))
    }

    /// Overwrites the values of a parameter.
    ///
    /// # Errors
    /// If there is no such parameter, the shape differs, or the parameter is frozen in shared memory.
    pub fn set(&self, name: &str, values: &Tensor) -> Result<()> {
        let value = &self.param(name)?.value;
        check_shape(name, value.dims(), values)?;
        match value {
            // A real copy: the store must never share memory with what it was set from.
            Value::Own(var) => Ok(var.set(&values.to_device(&self.device)?.copy()?)?),
            Value::Shared(_) | Value::Quantised(_) => {
                Err(Error::State(format!("parameter {name} is frozen in shared memory")))
            }
        }
    }

    /// Puts the trained parameters into `state` under `prefix`. Frozen ones are not saved: whoever made the store
    /// supplies them again.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.trainable().try_for_each(|(name, var)| state.put_tensor(format!("{prefix}{name}"), var))
    }

    /// Takes the trained parameters back from `state`, bit for bit.
    ///
    /// # Errors
    /// [`Error::State`] if one is missing or has another shape; nothing is then changed.
    pub fn load(&self, state: &StateDict, prefix: &str) -> Result<()> {
        let mut values = Vec::new();
        for (name, var) in self.trainable() {
            let tensor = state.tensor(&format!("{prefix}{name}"), &self.device)?;
            check_shape(name, var.dims(), &tensor)?;
            values.push((var, tensor));
        }
        values.iter().try_for_each(|(var, tensor)| Ok(var.set(tensor)?))
    }

    /// Real copies of all parameters for which `rule` holds.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn copies(&self, rule: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Tensor>> {
        self.params
            .iter()
            .filter(|(name, _)| rule(name))
            .map(|(name, p)| Ok((name.clone(), p.value.detached()?.copy()?)))
            .collect()
    }

    /// SHA-256 over names, shapes and bits of the parameters for which `rule` holds, as hex.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn checksum(&self, rule: impl Fn(&str) -> bool) -> Result<String> {
        let mut hash = Sha256::new();
        for (name, param) in self.params.iter().filter(|(name, _)| rule(name)) {
            hash_tensor(&mut hash, name, &param.value.detached()?)?;
        }
        Ok(hex(hash))
    }

    fn param(&self, name: &str) -> Result<&Param> {
        self.params.get(name).ok_or_else(|| unknown(name))
    }

    fn check_new(&self, name: &str) -> Result<()> {
        if self.params.contains_key(name) {
            return Err(Error::State(format!("parameter {name} is defined twice")));
        }
        Ok(())
    }

    fn shareable(&self, values: &Tensor) -> Result<Tensor> {
        Ok(values.detach().to_device(&self.device)?.to_dtype(DType::F32)?.contiguous()?)
    }
}

fn unknown(name: &str) -> Error {
    Error::State(format!("there is no parameter {name}"))
}

fn check_shape(name: &str, own: &[usize], given: &Tensor) -> Result<()> {
    if own == given.dims() {
        return Ok(());
    }
    Err(Error::State(format!("parameter {name} has shape {own:?}, the given values {:?}", given.dims())))
}

/// A variable with its own copy of the values.
fn own(values: &Tensor) -> Result<Var> {
    // `detach`: a variable given as values would otherwise come back as it is, sharing its memory.
    Ok(Var::from_tensor(&values.detach().contiguous()?)?)
}

/// SHA-256 over names, shapes and F32 bits, in the given order, as hex.
///
/// # Errors
/// If a tensor cannot be read.
pub fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, &'a Tensor)>) -> Result<String> {
    let mut hash = Sha256::new();
    for (name, tensor) in tensors {
        hash_tensor(&mut hash, name, tensor)?;
    }
    Ok(hex(hash))
}

fn hash_tensor(hash: &mut Sha256, name: &str, tensor: &Tensor) -> Result<()> {
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name.as_bytes());
    for &dim in tensor.dims() {
        hash.update((dim as u64).to_le_bytes());
    }
    let values = tensor.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    hash.update(&bytes);
    Ok(())
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> ParamStore {
        let mut store = ParamStore::new(&Device::Cpu, Seed::root(1));
        store.init("own", &[2], Init::Normal(1.0)).unwrap();
        store.insert_frozen("shared", &Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap()).unwrap();
        store
    }

    fn values(store: &ParamStore, name: &str) -> Vec<f32> {
        store.detached(name).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_new_parameter_changes_no_other() {
        let mut other = ParamStore::new(&Device::Cpu, Seed::root(1));
        other.init("another", &[2], Init::Normal(1.0)).unwrap();
        other.init("own", &[2], Init::Normal(1.0)).unwrap();
        assert_eq!(values(&store(), "own"), values(&other, "own"));
        assert!(other.init("own", &[2], Init::Const(0.0)).is_err());
    }

    #[test]
    fn a_shared_parameter_is_never_written_to() {
        let mut store = store();
        let original = store.detached("shared").unwrap();
        let other = Tensor::new(&[5f32, 6.0], &Device::Cpu).unwrap();
        assert!(store.set("shared", &other).unwrap_err().to_string().contains("frozen in shared memory"));
        let old = store.replace_frozen("shared", &other).unwrap();
        assert_eq!((old.to_vec1::<f32>().unwrap(), values(&store, "shared")), (vec![1.0, 2.0], vec![5.0, 6.0]));
        store.set_trainable(|_| true).unwrap();
        assert!(!store.is_shared("shared") && store.is_trainable("shared"));
        store.set("shared", &Tensor::new(&[7f32, 8.0], &Device::Cpu).unwrap()).unwrap();
        assert_eq!(other.to_vec1::<f32>().unwrap(), [5.0, 6.0], "training works on a copy");
        assert_eq!(original.to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        assert!(store.replace_frozen("shared", &other).is_err(), "it is trained now");
    }

    #[test]
    fn only_trained_parameters_are_part_of_a_graph() {
        let store = store();
        assert!(store.tensor("own").unwrap().track_op());
        assert!(!store.tensor("shared").unwrap().track_op() && !store.detached("own").unwrap().track_op());
        assert_eq!(store.trainable().map(|(name, _)| name).collect::<Vec<_>>(), ["own"]);
        assert_eq!(store.trainable_count(), 2);
    }

    #[test]
    fn loading_checks_everything_before_it_changes_anything() {
        let store = store();
        let mut state = StateDict::default();
        store.save(&mut state, "x/").unwrap();
        assert_eq!(state.tensors.keys().collect::<Vec<_>>(), ["x/own"]);
        let saved = values(&store, "own");
        store.set("own", &Tensor::zeros(2, DType::F32, &Device::Cpu).unwrap()).unwrap();
        assert!(store.load(&state, "y/").is_err());
        let mut wrong = StateDict::default();
        wrong.put_f32s("x/own", &[1.0, 2.0, 3.0]);
        let message = store.load(&wrong, "x/").unwrap_err().to_string();
        assert!(message.contains("parameter own has shape [2], the given values [3]"), "{message}");
        assert_eq!(values(&store, "own"), [0.0, 0.0]);
        store.load(&state, "x/").unwrap();
        assert_eq!(values(&store, "own"), saved);
    }
}
