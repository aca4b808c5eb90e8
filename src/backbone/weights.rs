//! Pretrained weights: read once, checked, shared by all trials.

use super::directory::{read_bounded, read_tokenizer, weight_files, write_atomically};
use super::load::{self, LoadReport};
use super::options::layer_of;
use super::weight_file::WeightFile;
use super::{BertConfig, config, tokenizer, version};
use crate::nn::Quantised;
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
    /// How the weights are kept in memory.
    pub form: WeightForm,
}

/// How weights are kept in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightForm {
    /// F32, for every use.
    #[default]
    F32,
    /// Matrices in 8 bits, a quarter of the memory, for encoders that are not trained. A file of 8-bit matrices is kept
    /// as it is and gives the vectors of its F32 form bit for bit; other matrices are rounded to 8 bits.
    U8,
}

/// Values of a matrix from which an 8-bit form is worth it.
const WORTH_QUANTISING: usize = 4096;

/// Parameters by canonical name, each in one of two forms.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) quantised: BTreeMap<String, Quantised>,
}

impl Params {
    /// The same with large matrices in 8 bits.
    fn in_8_bits(mut self) -> Result<Self> {
        let large = |tensor: &Tensor| tensor.rank() == 2 && tensor.elem_count() > WORTH_QUANTISING;
        let (matrices, rest): (BTreeMap<_, _>, _) = self.tensors.into_iter().partition(|(_, tensor)| large(tensor));
        self.tensors = rest;
        for (name, matrix) in matrices {
            self.quantised.insert(name, Quantised::from_f32(&matrix)?);
        }
        Ok(self)
    }
}

/// Checked, canonical parameters on the CPU with their config and tokenizer, F32 or with matrices in 8 bits. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Weights(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    config: BertConfig,
    config_json: Vec<u8>,
    tokenizer: Tokenizer,
    tokenizer_json: Vec<u8>,
    params: Params,
    form: WeightForm,
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
        let (params, report) = load::load(&files, &config, options, files.first().map_or(dir, WeightFile::path))?;
        let (tokenizer_path, tokenizer_json) = read_tokenizer(dir)?;
        let tokenizer = tokenizer::parse(&tokenizer_path, &tokenizer_json, &config)?;
        let name = dir.display().to_string();
        Self::new(Parts { name, config, config_json, tokenizer, tokenizer_json, report }, params, options.form)
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
        let (params, report) = load::load(&[WeightFile::from_bytes(&path, weights)?], &parsed, options, &path)?;
        let parts = Parts {
            name: name.to_owned(),
            tokenizer: tokenizer::parse(&dir.join("tokenizer.json"), tokenizer, &parsed)?,
            config: parsed,
            config_json: config.to_vec(),
            tokenizer_json: tokenizer.to_vec(),
            report,
        };
        Self::new(parts, params, options.form)
    }

    /// The same config and tokenizer with parameters as before any pretraining: matrices and tables
    /// N(0, `initializer_range`) with row `[PAD]` zero, biases 0, layer norms 1 and 0. A parameter comes from the
    /// stream `seed / init / canonical name`. The form is that of `like`.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn random(like: &Self, seed: Seed) -> Result<Self> {
        let seed = seed.child("init");
        let config = &like.0.config;
        let tensors = like
            .shapes()
            .map(|(name, shape)| {
                let values = random_values(name, shape, config, &seed);
                Ok((name.to_owned(), Tensor::from_vec(values, shape, &Device::Cpu)?))
            })
            .collect::<Result<_>>()?;
        like.with_tensors(format!("random weights in the form of {}", like.0.name), tensors)
    }

    /// The same model with another number of layers: layer i has the weights of layer i mod n of this one, which has n.
    /// For measurements of other depths.
    ///
    /// # Errors
    /// [`Error::Config`] for no layers.
    pub fn with_layers(&self, layers: usize) -> Result<Self> {
        let own = self.0.config.num_hidden_layers;
        if layers == 0 || own == 0 {
            return Err(Error::config("layers", layers, "must be at least 1"));
        }
        if layers == own {
            return Ok(self.clone());
        }
        let mut parts = self.parts(format!("{} with {layers} layers", self.0.name));
        let mut json: serde_json::Value = serde_json::from_slice(&parts.config_json)
            .map_err(|e| Error::State(format!("{}: config.json: {e}", self.0.name)))?;
        json["num_hidden_layers"] = layers.into();
        parts.config_json = json.to_string().into_bytes();
        parts.config.num_hidden_layers = layers;
        let names = |name: &str| -> Vec<String> {
            match layer_of(name) {
                None => vec![name.to_owned()],
                Some(layer) => {
                    let rest = name.splitn(4, '.').last().unwrap_or_default();
                    (layer..layers).step_by(own).map(|n| format!("encoder.layer.{n}.{rest}")).collect()
                }
            }
        };
        let mut params = Params::default();
        for (name, tensor) in self.tensors() {
            params.tensors.extend(names(name).into_iter().map(|name| (name, tensor.clone())));
        }
        for (name, matrix) in self.quantised() {
            params.quantised.extend(names(name).into_iter().map(|name| (name, matrix.clone())));
        }
        Self::new(parts, params, self.form())
    }

    /// The same weights kept in another way: rounded to 8 bits, or widened.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn in_form(&self, form: WeightForm) -> Result<Self> {
        let mut params = Params { tensors: self.0.params.tensors.clone(), ..Params::default() };
        for (name, matrix) in self.quantised() {
            match form {
                WeightForm::F32 => params.tensors.insert(name.to_owned(), matrix.to_f32()?).is_some(),
                WeightForm::U8 => params.quantised.insert(name.to_owned(), matrix.clone()).is_some(),
            };
        }
        Self::new(self.parts(self.0.name.clone()), params, form)
    }

    /// The same config and tokenizer with other tensors of the same names and shapes.
    pub(super) fn with_tensors(&self, name: String, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        Self::new(self.parts(name), Params { tensors, ..Params::default() }, self.form())
    }

    /// The values of one parameter in F32.
    ///
    /// # Errors
    /// [`Error::State`] if it is not among those that this has values of.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor> {
        let params = &self.0.params;
        match (params.tensors.get(name), params.quantised.get(name)) {
            (Some(tensor), _) => Ok(tensor.clone()),
            (None, Some(matrix)) => matrix.to_f32(),
            (None, None) => Err(Error::State(format!("{}: no values of {name}", self.0.name))),
        }
    }

    /// The same without the values of some parameters; names, digests and version stay.
    pub(super) fn without(&self, dropped: impl Fn(&str) -> bool) -> Self {
        let inner = &self.0;
        let kept = inner.params.tensors.iter().filter(|(name, _)| !dropped(name));
        let tensors = kept.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        let Parts { name, config, config_json, tokenizer, tokenizer_json, .. } = self.parts(inner.name.clone());
        Self(Arc::new(Inner {
            name,
            config,
            config_json,
            tokenizer,
            tokenizer_json,
            params: Params { tensors, quantised: inner.params.quantised.clone() },
            form: inner.form,
            digests: inner.digests.clone(),
            version: inner.version.clone(),
            report: inner.report.clone(),
        }))
    }

    /// Everything but the parameters, under another name.
    fn parts(&self, name: String) -> Parts {
        Parts {
            name,
            config: self.0.config.clone(),
            config_json: self.0.config_json.clone(),
            tokenizer: self.0.tokenizer.clone(),
            tokenizer_json: self.0.tokenizer_json.clone(),
            report: LoadReport::default(),
        }
    }

    fn new(parts: Parts, params: Params, form: WeightForm) -> Result<Self> {
        let params = if form == WeightForm::U8 { params.in_8_bits()? } else { params };
        let mut digests = BTreeMap::new();
        for (name, tensor) in &params.tensors {
            digests.insert(name.clone(), version::digest(name, tensor)?);
        }
        // Of the values that are computed with, so that both forms of one file have one version.
        for (name, matrix) in &params.quantised {
            digests.insert(name.clone(), version::digest_quantised(name, matrix)?);
        }
        let version = version::combine(&digests);
        let Parts { name, config, config_json, tokenizer, tokenizer_json, report } = parts;
        let inner =
            Inner { name, config, config_json, tokenizer, tokenizer_json, params, form, digests, version, report };
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
        let widened: BTreeMap<&str, Tensor> =
            self.quantised().map(|(name, matrix)| Ok((name, matrix.to_f32()?))).collect::<Result<_>>()?;
        let all: BTreeMap<&str, &Tensor> = self.tensors().chain(widened.iter().map(|(n, t)| (*n, t))).collect();
        serialize(all.into_iter(), None)
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

    /// How the weights are kept.
    #[must_use]
    pub fn form(&self) -> WeightForm {
        self.0.form
    }

    /// The parameters in F32, by canonical name: all of them in the form [`WeightForm::F32`].
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.params.tensors.iter().map(|(n, t)| (n.as_str(), t))
    }

    /// The matrices in 8 bits, by canonical name.
    pub fn quantised(&self) -> impl Iterator<Item = (&str, &Quantised)> {
        self.0.params.quantised.iter().map(|(n, q)| (n.as_str(), q))
    }

    /// Canonical names and shapes of all parameters.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors().map(|(n, t)| (n, t.dims())).chain(self.quantised().map(|(n, q)| (n, q.dims())))
    }

    /// Number of all values.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.shapes().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Bytes that the parameters take in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tensors().map(|(_, t)| 4 * t.elem_count()).sum::<usize>()
            + self.quantised().map(|(_, q)| q.bytes()).sum::<usize>()
    }

    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }

    pub(super) fn digests(&self) -> &BTreeMap<String, [u8; 32]> {
        &self.0.digests
    }

    pub(super) fn has_pooler(&self) -> bool {
        self.0.digests.contains_key("pooler.dense.weight")
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
