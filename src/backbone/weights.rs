//! Pretrained weights: read once, checked, shared by all trials.

use super::directory::{read_bounded, read_tokenizer, weight_files, write_atomically};
use super::load::{self, LoadReport};
use super::weight_file::WeightFile;
use super::{BertConfig, config, tokenizer, version};
use crate::rng::Seed;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use tokenizers::Tokenizer;

/// How weights are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoadOptions {
    /// Whether a tensor that nothing needs is an error.
    pub strict: bool,
    /// Whether the pooler is wanted, for [`super::Pooling::Pooler`]; it is then an error if it is missing.
    pub pooler: bool,
}

/// Checked, canonical F32 parameters on the CPU with their config and tokenizer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Weights(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    config: BertConfig,
    config_json: Vec<u8>,
    tokenizer: Tokenizer,
    tokenizer_json: Vec<u8>,
    tensors: BTreeMap<String, Tensor>,
    digests: BTreeMap<String, [u8; 32]>,
    version: String,
    report: LoadReport,
}

impl Weights {
    /// Reads a Hugging Face model directory: `config.json`, `tokenizer.json` or `vocab.txt`, and `model.safetensors`
    /// or `model.safetensors.index.json` with its shards.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Invalid`]; everything that is missing or misshapen is listed at once. Pickles are
    /// refused without being opened.
    pub fn from_dir(dir: &Path, options: &LoadOptions) -> Result<Self> {
        let config_path = dir.join("config.json");
        let config_json = read_bounded(&config_path, config::MAX_CONFIG_BYTES)?;
        let config = BertConfig::parse(&config_path, &config_json)?;
        let files = weight_files(dir)?;
        let (tensors, report) = load::load(&files, &config, options, files.first().map_or(dir, WeightFile::path))?;
        let (tokenizer_path, tokenizer_json) = read_tokenizer(dir)?;
        let tokenizer = tokenizer::parse(&tokenizer_path, &tokenizer_json, &config)?;
        let name = dir.display().to_string();
        Self::new(Parts { name, config, config_json, tokenizer, tokenizer_json, report }, tensors)
    }

    /// Reads a model from memory; `name` stands for the directory in messages.
    ///
    /// # Errors
    /// As [`Weights::from_dir`].
    pub fn from_bytes(
        name: &str,
        config: &[u8],
        tokenizer: &[u8],
        weights: &[u8],
        options: &LoadOptions,
    ) -> Result<Self> {
        let dir = Path::new(name);
        let parsed = BertConfig::parse(&dir.join("config.json"), config)?;
        let path = dir.join("model.safetensors");
        let (tensors, report) = load::load(&[WeightFile::from_bytes(&path, weights)?], &parsed, options, &path)?;
        let parts = Parts {
            name: name.to_owned(),
            tokenizer: tokenizer::parse(&dir.join("tokenizer.json"), tokenizer, &parsed)?,
            config: parsed,
            config_json: config.to_vec(),
            tokenizer_json: tokenizer.to_vec(),
            report,
        };
        Self::new(parts, tensors)
    }

    /// The same config and tokenizer with parameters as before any pretraining: matrices and tables
    /// N(0, `initializer_range`) with row `[PAD]` zero, biases 0, layer norms 1 and 0. A parameter comes from the
    /// stream `seed / init / canonical name`.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn random(like: &Self, seed: Seed) -> Result<Self> {
        let seed = seed.child("init");
        let config = &like.0.config;
        let tensors = like
            .0
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let values = random_values(name, tensor.dims(), config, &seed);
                Ok((name.clone(), Tensor::from_vec(values, tensor.dims(), &Device::Cpu)?))
            })
            .collect::<Result<_>>()?;
        like.with_tensors(format!("random weights in the form of {}", like.0.name), tensors)
    }

    /// The same config and tokenizer with other tensors of the same names and shapes.
    pub(super) fn with_tensors(&self, name: String, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let parts = Parts {
            name,
            config: self.0.config.clone(),
            config_json: self.0.config_json.clone(),
            tokenizer: self.0.tokenizer.clone(),
            tokenizer_json: self.0.tokenizer_json.clone(),
            report: LoadReport::default(),
        };
        Self::new(parts, tensors)
    }

    fn new(parts: Parts, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let digests: BTreeMap<_, _> = tensors
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), version::digest(name, tensor)?)))
            .collect::<Result<_>>()?;
        let version = version::combine(&digests);
        let Parts { name, config, config_json, tokenizer, tokenizer_json, report } = parts;
        let inner = Inner { name, config, config_json, tokenizer, tokenizer_json, tensors, digests, version, report };
        Ok(Self(Arc::new(inner)))
    }

    /// Writes `config.json`, `tokenizer.json` and `model.safetensors` (F32, canonical names), each atomically.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save_dir(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        write_atomically(&dir.join("config.json"), &self.0.config_json)?;
        write_atomically(&dir.join("tokenizer.json"), &self.0.tokenizer_json)?;
        write_atomically(&dir.join("model.safetensors"), &self.to_safetensors()?)
    }

    /// The parameters as a safetensors file, F32 under their canonical names.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        serialize(self.0.tensors.iter().map(|(n, t)| (n.as_str(), t)), None)
    }

    /// Where the weights come from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Sizes and constants.
    #[must_use]
    pub fn config(&self) -> &BertConfig {
        &self.0.config
    }

    /// What the files held beyond the parameters.
    #[must_use]
    pub fn report(&self) -> &LoadReport {
        &self.0.report
    }

    /// Weight version 0: checksum of the canonical F32 parameters, as hex.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// The parameters by canonical name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.tensors.iter().map(|(n, t)| (n.as_str(), t))
    }

    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }

    pub(super) fn digests(&self) -> &BTreeMap<String, [u8; 32]> {
        &self.0.digests
    }

    pub(super) fn has_pooler(&self) -> bool {
        self.0.tensors.contains_key("pooler.dense.weight")
    }
}

/// All of a model but its parameters.
struct Parts {
    name: String,
    config: BertConfig,
    config_json: Vec<u8>,
    tokenizer: Tokenizer,
    tokenizer_json: Vec<u8>,
    report: LoadReport,
}

fn random_values(name: &str, shape: &[usize], config: &BertConfig, seed: &Seed) -> Vec<f32> {
    let count = shape.iter().product();
    if name.ends_with("LayerNorm.weight") {
        return vec![1.0; count];
    }
    if name.ends_with("bias") {
        return vec![0.0; count];
    }
    let mut rng = seed.child(name).rng();
    let std = f64::from(config.initializer_range);
    let mut values: Vec<f32> = (0..count).map(|_| (rng.normal() * std) as f32).collect();
    if name == "embeddings.word_embeddings.weight" {
        let width = config.hidden_size;
        values[config.pad_token_id * width..][..width].fill(0.0);
    }
    values
}

/// A safetensors file of F32 tensors.
pub(super) fn serialize<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let values = tensor.detach().flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        data.push((name, tensor.dims().to_vec(), bytes));
    }
    let failed = |e: safetensors::SafeTensorError| Error::State(format!("cannot write safetensors: {e}"));
    let views: Vec<(&str, TensorView<'_>)> = data
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    safetensors::serialize(views, metadata).map_err(failed)
}
