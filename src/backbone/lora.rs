//! Low-rank adapters: made, saved alone, loaded onto their base only, merged and taken out again.

use super::encoder::Adapters;
use super::options::LoraOptions;
use super::weight_file::WeightFile;
use super::weights::{Weights, serialize};
use super::{Backbone, BertConfig, PREFIX, names};
use crate::nn::{Init, ParamStore};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Value of the metadata key `format` in an adapter file.
const FORMAT: &str = "retune-lora-v1";

/// Whether a canonical name is that of an adapter matrix.
pub(super) fn is_adapter(name: &str) -> bool {
    name.ends_with(".lora_a") || name.ends_with(".lora_b")
}

/// Puts adapters in their initial state into the store: A uniform in ±1/√in, B zero, so that nothing changes yet.
pub(super) fn init(config: &BertConfig, options: &LoraOptions, store: &mut ParamStore) -> Result<Adapters> {
    let linears: Vec<&'static str> = options.linears().collect();
    for layer in 0..config.num_hidden_layers {
        for linear in &linears {
            let (out, inputs) = names::linear_shape(config, linear);
            let full = format!("{PREFIX}encoder.layer.{layer}.{linear}");
            let bound = 1.0 / (inputs as f32).sqrt();
            store.init(&format!("{full}.lora_a"), &[options.rank, inputs], Init::Uniform(bound))?;
            store.init(&format!("{full}.lora_b"), &[out, options.rank], Init::Const(0.0))?;
        }
    }
    Ok(Adapters { scaling: options.alpha / options.rank as f64, linears })
}

impl Backbone {
    /// The adapters alone, as a safetensors file; its metadata names rank, alpha, targets and the base version.
    ///
    /// # Errors
    /// [`Error::State`] if the mode is not LoRA.
    pub fn save_adapters(&self, store: &ParamStore) -> Result<Vec<u8>> {
        self.adapters()?;
        let tensors = self.adapter_tensors(store)?;
        let metadata: HashMap<String, String> = self.adapter_metadata().into_iter().collect();
        serialize(tensors.iter().map(|(n, t)| (n.as_str(), t)), Some(metadata))
    }

    /// Takes adapters from a file of [`Backbone::save_adapters`]; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Invalid`] if they were trained on another base or with other settings, or if anything is missing;
    /// nothing is then changed. [`Error::State`] if the mode is not LoRA or the adapters are merged.
    pub fn load_adapters(&self, store: &ParamStore, path: &Path, bytes: &[u8]) -> Result<()> {
        self.adapters()?;
        if !self.kept.is_empty() {
            return Err(Error::State("the adapters are merged; unmerge them before loading others".to_owned()));
        }
        let file = WeightFile::from_bytes(path, bytes)?;
        for (key, own) in self.adapter_metadata() {
            let given = file.metadata(&key).unwrap_or("absent");
            if given != own {
                return Err(file.invalid(format!("adapter {key} is {given}, this backbone has {own}")));
            }
        }
        let mut loaded = Vec::new();
        for (name, tensor) in self.adapter_tensors(store)? {
            match file.info(&name) {
                Some(info) if info.shape == tensor.dims() => {
                    loaded.push((name.clone(), Tensor::from_vec(file.floats(&name)?, tensor.dims(), &Device::Cpu)?));
                }
                Some(info) => {
                    return Err(file.invalid(format!("{name} is {:?}, expected {:?}", info.shape, tensor.dims())));
                }
                None => return Err(file.invalid(format!("missing: {name} {:?}", tensor.dims()))),
            }
        }
        loaded.iter().try_for_each(|(name, tensor)| store.set(&format!("{PREFIX}{name}"), tensor))
    }

    /// Adds (alpha/rank)·B·A to the frozen matrices and stops using the adapters: same vectors, less work. Their
    /// later changes have no effect until [`Backbone::unmerge`].
    ///
    /// # Errors
    /// [`Error::State`] if the mode is not LoRA or they are merged already.
    pub fn merge(&mut self, store: &mut ParamStore) -> Result<()> {
        self.adapters()?;
        if !self.kept.is_empty() {
            return Err(Error::State("the adapters are merged already".to_owned()));
        }
        for (name, merged) in self.merged_matrices(store)? {
            let old = store.replace_frozen(&format!("{PREFIX}{name}"), &merged)?;
            self.kept.insert(name, old);
        }
        Ok(())
    }

    /// Puts back the matrices from before [`Backbone::merge`]: the kept ones, so the bits are the same.
    ///
    /// # Errors
    /// [`Error::State`] if nothing is merged.
    pub fn unmerge(&mut self, store: &mut ParamStore) -> Result<()> {
        if self.kept.is_empty() {
            return Err(Error::State("no adapters are merged".to_owned()));
        }
        for (name, old) in std::mem::take(&mut self.kept) {
            store.replace_frozen(&format!("{PREFIX}{name}"), &old)?;
        }
        Ok(())
    }

    /// The encoder as it is now, adapters merged, as weights of their own that can be saved or built upon.
    ///
    /// # Errors
    /// If a tensor cannot be copied.
    pub fn to_weights(&self, store: &ParamStore) -> Result<Weights> {
        let mut tensors = BTreeMap::new();
        // What the store leaves out (an unused pooler) comes from the weights it was built from.
        for name in self.weights.digests().keys() {
            let full = format!("{PREFIX}{name}");
            let tensor = if store.contains(&full) { store.detached(&full)? } else { self.weights.tensor(name)? };
            tensors.insert(name.to_owned(), tensor.to_device(&Device::Cpu)?.copy()?);
        }
        if self.adapters.is_some() && self.kept.is_empty() {
            for (name, merged) in self.merged_matrices(store)? {
                tensors.insert(name, merged.to_device(&Device::Cpu)?);
            }
        }
        self.weights.with_tensors(format!("trained from {}", self.weights.name()), tensors)
    }

    /// W + (alpha/rank)·B·A of every adapted matrix, by canonical name.
    fn merged_matrices(&self, store: &ParamStore) -> Result<BTreeMap<String, Tensor>> {
        let adapters = self.adapters()?;
        let mut merged = BTreeMap::new();
        for linear in self.adapted() {
            let get = |part: &str| store.detached(&format!("{PREFIX}{linear}.{part}"));
            let product = (get("lora_b")?.matmul(&get("lora_a")?)? * adapters.scaling)?;
            merged.insert(format!("{linear}.weight"), get("weight")?.add(&product)?);
        }
        Ok(merged)
    }

    /// Canonical names of the adapted linear maps.
    fn adapted(&self) -> impl Iterator<Item = String> {
        let linears = self.adapters.iter().flat_map(|a| a.linears.iter());
        linears.flat_map(|linear| {
            (0..self.config().num_hidden_layers).map(move |layer| format!("encoder.layer.{layer}.{linear}"))
        })
    }

    fn adapter_tensors(&self, store: &ParamStore) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::new();
        for name in self.adapted().flat_map(|linear| [format!("{linear}.lora_a"), format!("{linear}.lora_b")]) {
            let tensor = store.detached(&format!("{PREFIX}{name}"))?;
            tensors.insert(name, tensor);
        }
        Ok(tensors)
    }

    fn adapter_metadata(&self) -> BTreeMap<String, String> {
        let lora = &self.options.lora;
        let targets: Vec<&str> = lora.linears().collect();
        [
            ("format", FORMAT.to_owned()),
            ("rank", lora.rank.to_string()),
            ("alpha", lora.alpha.to_string()),
            ("targets", targets.join(",")),
            ("base_version", self.weights.version().to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    fn adapters(&self) -> Result<&Adapters> {
        self.adapters
            .as_ref()
            .ok_or_else(|| Error::State("this backbone has no adapters: its mode is not lora".to_owned()))
    }
}
