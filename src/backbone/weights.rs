//! Pretrained weights: read once, checked, shared by all trials.

use super::load::{self, LoadReport};
use super::weight_file::WeightFile;
use super::{BertConfig, config, tokenizer, version};
use crate::rng::Seed;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tokenizers::Tokenizer;

/// File endings under which pickles travel.
const PICKLES: [&str; 5] = ["bin", "pt", "pth", "ckpt", "pkl"];

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

/// Writes a file so that at any moment either the old or the new content is there.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e| Error::io(path, e);
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| Error::io(path, e.error))?;
    Ok(())
}

/// Reads a file that must not be larger than `limit` bytes.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut bytes = Vec::new();
    // One byte more than allowed: the length that the system reports may be wrong, or change.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::invalid(path, format!("larger than {limit} bytes, the most that is read")));
    }
    Ok(bytes)
}

fn read_tokenizer(dir: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let path = dir.join("tokenizer.json");
    let vocab_path = dir.join("vocab.txt");
    if path.exists() {
        let bytes = read_bounded(&path, tokenizer::MAX_TOKENIZER_BYTES)?;
        return Ok((path, bytes));
    }
    if !vocab_path.exists() {
        return Err(Error::invalid(dir, "holds neither tokenizer.json nor vocab.txt"));
    }
    let vocab = String::from_utf8(read_bounded(&vocab_path, tokenizer::MAX_TOKENIZER_BYTES)?)
        .map_err(|e| Error::invalid(&vocab_path, format!("not UTF-8: {e}")))?;
    let settings_path = dir.join("tokenizer_config.json");
    let settings = if settings_path.exists() {
        let bytes = read_bounded(&settings_path, config::MAX_CONFIG_BYTES)?;
        serde_json::from_slice(&bytes).map_err(|e| Error::invalid(&settings_path, format!("not JSON: {e}")))?
    } else {
        serde_json::Value::Null
    };
    let json = tokenizer::from_vocab(&vocab_path, &vocab, &settings)?;
    Ok((vocab_path, json))
}

/// Opens the weight files of a directory, in order of preference.
fn weight_files(dir: &Path) -> Result<Vec<WeightFile<'static>>> {
    let (single, index) = (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
    if single.exists() {
        return Ok(vec![WeightFile::open(&single)?]);
    }
    if index.exists() {
        return shards(dir, &index);
    }
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    paths.sort_unstable();
    let is_pickle = |p: &&PathBuf| p.extension().and_then(|e| e.to_str()).is_some_and(|e| PICKLES.contains(&e));
    match paths.iter().find(is_pickle) {
        Some(pickle) => Err(Error::invalid(
            pickle,
            "a pickle can run code when it is read, so it was not opened; convert it to safetensors where you trust \
             it (in Python: safetensors.torch.save_file(torch.load(FILE, weights_only=True), \"model.safetensors\"))",
        )),
        None => Err(Error::invalid(dir, "holds neither model.safetensors nor model.safetensors.index.json")),
    }
}

fn shards(dir: &Path, index: &Path) -> Result<Vec<WeightFile<'static>>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bytes = read_bounded(index, tokenizer::MAX_TOKENIZER_BYTES)?;
    let parsed: Index = serde_json::from_slice(&bytes)
        .map_err(|e| Error::invalid(index, format!("not an index with a weight_map: {e}")))?;
    let names: BTreeSet<&String> = parsed.weight_map.values().collect();
    let mut files = BTreeMap::new();
    for name in names {
        if !Path::new(name).components().all(|c| matches!(c, Component::Normal(_))) || name.is_empty() {
            return Err(Error::invalid(index, format!("the shard {name:?} lies outside the directory")));
        }
        if !name.ends_with(".safetensors") {
            return Err(Error::invalid(index, format!("the shard {name:?} is no safetensors file")));
        }
        files.insert(name.as_str(), WeightFile::open(&dir.join(name))?);
    }
    for (tensor, file) in &parsed.weight_map {
        if files[file.as_str()].info(tensor).is_none() {
            return Err(Error::invalid(index, format!("says that {file} holds {tensor}, but it does not")));
        }
    }
    Ok(files.into_values().collect())
}
