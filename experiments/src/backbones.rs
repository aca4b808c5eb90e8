//! Text encoders of a study: read once, shared by all trials.

use crate::arms::{Arm, ArmBackbone};
use crate::failure::bad_input;
use crate::threads::cores;
use anyhow::Result;
use candle_core::Device;
use retune::agent::{Ledger, Stop};
use retune::backbone::{Backbone, BackboneOptions, FeatureCache, LoadOptions, TrainMode, WeightForm, Weights};
use retune::env::{TextId, TextTable};
use retune::nn::ParamStore;
use retune::nn::fused::threads::with_threads;
use retune::rng::Seed;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Most that the shared cache of text vectors may hold. The embedded catalogue takes 5 MB per encoder.
const CACHE_BYTES: usize = 256 << 20;

/// Reads a backbone: `embedded`, `random` (the embedded network before any training) or a folder. `form` says how its
/// weights are kept in memory.
///
/// # Errors
/// If the folder does not hold a usable BERT; a tensor that is missing, superfluous or misshapen is named.
pub fn load(name: &str, form: WeightForm, seed: Seed) -> Result<Weights> {
    // A tensor that nothing needs is refused: the folder may hold another model than its owner thinks.
    let options = LoadOptions { strict: true, form, ..LoadOptions::default() };
    match name {
        "embedded" => embedded(&options),
        "random" => Ok(Weights::random(&embedded(&options)?, seed)?),
        folder => {
            let path = Path::new(folder);
            if !path.is_dir() {
                return Err(bad_input(format!(
                    "backbone = {folder}: there is no such folder; expected `embedded`, `random`, or a folder with \
                     config.json, tokenizer.json and model.safetensors"
                )));
            }
            Ok(Weights::from_dir(path, &options)?)
        }
    }
}

fn embedded(options: &LoadOptions) -> Result<Weights> {
    use retune_assets::minilm_l3::{CONFIG, NAME, TOKENIZER, WEIGHTS};
    Ok(Weights::from_bytes(NAME, CONFIG, TOKENIZER, WEIGHTS, options)?)
}

/// Longest text in tokens. Ten times the longest of the embedded cards; a model that takes fewer sets the limit.
const MAX_TOKENS: usize = 128;

/// Settings of an encoder with these weights.
#[must_use]
pub fn options(weights: &Weights, mode: TrainMode) -> BackboneOptions {
    let max_length = MAX_TOKENS.min(weights.config().max_position_embeddings);
    BackboneOptions { mode, max_length, ..BackboneOptions::default() }
}

/// A backbone that is only read from, with its parameters.
///
/// # Errors
/// If the weights do not fit their own settings.
pub fn frozen(weights: &Weights, device: &Device) -> retune::Result<(Backbone, ParamStore)> {
    let mut store = ParamStore::new(device, Seed::root(0));
    Ok((Backbone::new(weights, &options(weights, TrainMode::Frozen), &mut store)?, store))
}

/// That no text is cut: what stands behind the longest that the encoder reads would be lost without a word.
///
/// # Errors
/// [`crate::failure::BadInput`] quoting the first text that is too long; whatever the tokenizer fails on.
pub fn check_lengths(weights: &Weights, texts: &TextTable, device: &Device) -> Result<()> {
    let (backbone, most) = (frozen(weights, device)?.0, options(weights, TrainMode::Frozen).max_length);
    for text in texts.as_slice() {
        // One that fills the room exactly cannot be told from one that was cut.
        if backbone.tokenize(&[text])?[0].ids().len() >= most {
            let begin: String = text.chars().take(60).collect();
            return Err(bad_input(format!("text `{begin}…`: too long to be read, expected fewer than {most} tokens")));
        }
    }
    Ok(())
}

/// Vectors `[texts, width]`, row by row, and the width.
///
/// # Errors
/// If a text cannot be encoded.
pub fn embed(weights: &Weights, texts: &[String], device: &Device) -> Result<(Vec<f32>, usize)> {
    let (backbone, store) = frozen(weights, device)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens = backbone.tokenize(&texts)?;
    let vectors = backbone.encode_detached(&store, &tokens.iter().collect::<Vec<_>>())?;
    Ok((vectors.flatten_all()?.to_vec1()?, backbone.width()))
}

/// An encoder as one arm uses it.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// Where its parameters begin.
    pub weights: Weights,
    /// Vectors under those parameters. Arms that train the encoder have a cache of their own: what one trial finds in
    /// a shared one would depend on what others did before.
    pub cache: FeatureCache,
    /// Tokens that an arm with a frozen encoder would have had to read by itself.
    pub shared_tokens: u64,
}

/// All encoders of a study.
#[derive(Debug)]
pub struct Backbones {
    study: Weights,
    embedded: Option<Weights>,
    /// Untrained weights by seed number.
    random: Mutex<BTreeMap<u64, Weights>>,
    /// Frozen encoders with all texts read, by weight version.
    frozen: Mutex<BTreeMap<String, Encoder>>,
    texts: TextTable,
    pool: Vec<TextId>,
    device: Device,
    root: Seed,
}

impl Backbones {
    /// The encoders that `arms` need. `pool` are the texts that trials will ask for.
    ///
    /// # Errors
    /// If a backbone cannot be read.
    pub fn new(
        study: Weights,
        arms: &[Arm],
        texts: &TextTable,
        pool: Vec<TextId>,
        device: &Device,
        root: Seed,
    ) -> Result<Self> {
        let embedded = arms.iter().any(|arm| arm.backbone == Some(ArmBackbone::Embedded));
        let embedded = if embedded { Some(load("embedded", study.form(), root)?) } else { None };
        Ok(Self {
            study,
            embedded,
            random: Mutex::default(),
            frozen: Mutex::default(),
            texts: texts.clone(),
            pool,
            device: device.clone(),
            root,
        })
    }

    /// The encoder of one trial.
    ///
    /// # Errors
    /// If the texts cannot be encoded; [`retune::Error::Interrupted`] if asked to stop.
    pub fn encoder(&self, arm: &Arm, seed: u64, stop: &Stop) -> retune::Result<Encoder> {
        let weights = match arm.backbone {
            None => self.study.clone(),
            Some(ArmBackbone::Embedded) => self.embedded.clone().unwrap_or_else(|| self.study.clone()),
            Some(ArmBackbone::Random) => self.random(seed)?,
        };
        if arm.mode.of_backbone() != TrainMode::Frozen {
            return Ok(Encoder { weights, cache: FeatureCache::new(CACHE_BYTES), shared_tokens: 0 });
        }
        self.warm(weights, stop)
    }

    /// An untrained network of the study's form, another one for each seed: its luck is part of what seeds measure.
    fn random(&self, seed: u64) -> retune::Result<Weights> {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(weights) = random.get(&seed) {
            return Ok(weights.clone());
        }
        let weights = Weights::random(&self.study, self.root.child("random backbone").index(seed))?;
        random.insert(seed, weights.clone());
        Ok(weights)
    }

    /// Reads all texts once for all trials with these frozen weights. Trials that ask meanwhile wait: reading twice
    /// would take as long.
    fn warm(&self, weights: Weights, stop: &Stop) -> retune::Result<Encoder> {
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = frozen.get(weights.version()) {
            return Ok(encoder.clone());
        }
        let (backbone, store) = self::frozen(&weights, &self.device)?;
        let texts: Vec<&str> = self.texts.as_slice().iter().map(String::as_str).collect();
        let (tokens, cache) = (backbone.tokenize(&texts)?, FeatureCache::new(CACHE_BYTES));
        let mut ledger = Ledger::default();
        // The other trials wait for this one, so it may use their cores; the vectors do not depend on it.
        with_threads(cores(), || backbone.encode_table(&store, &tokens, &self.pool, &cache, &mut ledger, stop))?;
        let encoder = Encoder { weights, cache, shared_tokens: ledger.forward_tokens };
        frozen.insert(encoder.weights.version().to_owned(), encoder.clone());
        Ok(encoder)
    }
}
