//! A BERT small enough for every test, as the files it would come in.

use crate::backbone::{Backbone, BackboneOptions, LoadOptions, Tokens, Weights};
use crate::nn::ParamStore;
use crate::rng::Seed;
use crate::{Error, Result};
use candle_core::Device;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

pub(super) const LAYERS: usize = 3;
pub(super) const WIDTH: usize = 16;
pub(super) const WORDS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "was", "good", "bad", "##ly", "!"];

pub(super) fn config() -> Value {
    json!({
        "model_type": "bert", "vocab_size": WORDS.len(), "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
        "num_attention_heads": 2, "intermediate_size": 32, "hidden_act": "gelu", "max_position_embeddings": 40,
        "type_vocab_size": 2, "initializer_range": 0.4, "layer_norm_eps": 1e-12,
    })
}

pub(super) fn vocab() -> String {
    WORDS.map(|word| format!("{word}\n")).concat()
}

/// The `tokenizer.json` of [`vocab`].
pub(super) fn tokenizer() -> Vec<u8> {
    crate::backbone::tokenizer::from_vocab(Path::new("vocab.txt"), &vocab(), &Value::Null).unwrap()
}

/// One tensor of a file.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<u8>,
}

impl Raw {
    pub(super) fn f32(shape: &[usize], values: &[f32]) -> Self {
        Self { dtype: Dtype::F32, shape: shape.to_vec(), data: values.iter().flat_map(|v| v.to_le_bytes()).collect() }
    }

    pub(super) fn values(&self) -> Vec<f32> {
        assert_eq!(self.dtype, Dtype::F32);
        self.data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }
}

/// A model as files, to be changed by a test before it is read.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) config: Value,
    pub(super) tokenizer: Vec<u8>,
    pub(super) tensors: BTreeMap<String, Raw>,
    pub(super) metadata: HashMap<String, String>,
}

impl Files {
    pub(super) fn new() -> Self {
        let parsed = crate::backbone::BertConfig::parse(Path::new("config.json"), config().to_string().as_bytes());
        let shapes = crate::backbone::names::expected(&parsed.unwrap(), false);
        let seed = Seed::root(11).child("tiny");
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let mut rng = seed.child(&name).rng();
            let centre = if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| (centre + 0.3 * rng.normal()) as f32).collect();
            (name, Raw::f32(&shape, &values))
        });
        Self { config: config(), tokenizer: tokenizer(), tensors: tensors.collect(), metadata: HashMap::new() }
    }

    /// The same tensors under other names.
    pub(super) fn renamed(&self, rename: impl Fn(&str) -> String) -> Self {
        let tensors = self.tensors.iter().map(|(name, raw)| (rename(name), raw.clone())).collect();
        Self { tensors, ..self.clone() }
    }

    pub(super) fn weights(&self) -> Vec<u8> {
        serialize(self.tensors.iter(), &self.metadata)
    }

    pub(super) fn load(&self, options: &LoadOptions) -> Result<Weights> {
        let config = self.config.to_string();
        Weights::from_bytes("tiny", config.as_bytes(), &self.tokenizer, &self.weights(), options)
    }

    pub(super) fn refusal(&self) -> String {
        refused(self.load(&LoadOptions::default()))
    }

    /// Writes config and tokenizer, but no weights.
    pub(super) fn write_rest(&self, dir: &Path) {
        std::fs::write(dir.join("config.json"), self.config.to_string()).unwrap();
        std::fs::write(dir.join("tokenizer.json"), &self.tokenizer).unwrap();
    }
}

pub(super) fn serialize<'a>(
    tensors: impl Iterator<Item = (&'a String, &'a Raw)>,
    metadata: &HashMap<String, String>,
) -> Vec<u8> {
    let views = tensors.map(|(name, raw)| (name, TensorView::new(raw.dtype, raw.shape.clone(), &raw.data).unwrap()));
    safetensors::serialize(views, Some(metadata.clone())).unwrap()
}

pub(super) fn refused<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("accepted what must be refused"),
        Err(error @ (Error::Invalid { .. } | Error::Config { .. } | Error::Io { .. } | Error::State(_))) => {
            error.to_string()
        }
        Err(other) => panic!("another kind of error: {other:?}"),
    }
}

pub(super) fn weights() -> Weights {
    Files::new().load(&LoadOptions { strict: true, ..LoadOptions::default() }).unwrap()
}

pub(super) fn options() -> BackboneOptions {
    BackboneOptions { max_length: 40, ..BackboneOptions::default() }
}

/// A backbone in a store of its own.
pub(super) fn backbone(options: &BackboneOptions) -> (Backbone, ParamStore) {
    backbone_on(&Device::Cpu, options)
}

pub(super) fn backbone_on(device: &Device, options: &BackboneOptions) -> (Backbone, ParamStore) {
    let mut store = ParamStore::new(device, Seed::root(5));
    let backbone = Backbone::new(&weights(), options, &mut store).unwrap();
    (backbone, store)
}

/// Texts of several lengths, in no order.
pub(super) fn texts(backbone: &Backbone) -> Vec<Tokens> {
    let long = "the film was good ! ".repeat(6);
    backbone.tokenize(&["the film was good", "", "bad", &long, "the film was bad ! bad ! bad !", "goodly"]).unwrap()
}

pub(super) fn refs(texts: &[Tokens]) -> Vec<&Tokens> {
    texts.iter().collect()
}

pub(super) fn bits(tensor: &candle_core::Tensor) -> Vec<u32> {
    let values = tensor.detach().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.iter().map(|v| v.to_bits()).collect()
}
