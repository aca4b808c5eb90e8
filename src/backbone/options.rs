//! What is trained and how texts become vectors.

use super::{BertConfig, names};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What of the backbone is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainMode {
    /// Nothing: only the head that others put on it.
    #[default]
    Frozen,
    /// Low-rank adapters beside the frozen weights (Hu et al., "LoRA", 2021).
    Lora,
    /// The last [`BackboneOptions::top_layers`] layers, and the pooler if it is used.
    TopN,
    /// Everything, with or without the embedding tables.
    Full,
}

/// How the hidden states of a text become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over all tokens, `[CLS]` and `[SEP]` included.
    #[default]
    Mean,
    /// Token 0.
    Cls,
    /// tanh(W·t + b) of token 0.
    Pooler,
}

/// Low-rank adapters: y = x·Wᵀ + b + (alpha/rank)·(x·Aᵀ)·Bᵀ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraOptions {
    /// Rows of A and columns of B.
    pub rank: usize,
    /// Numerator of the scaling.
    pub alpha: f64,
    /// Linear maps that get an adapter in every layer: `query`, `key`, `value`, `attention.output`, `intermediate`,
    /// `output`.
    pub targets: Vec<String>,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, targets: vec!["query".to_owned(), "value".to_owned()] }
    }
}

/// Names that [`LoraOptions::targets`] takes, in the order of [`names::LINEARS`].
const TARGETS: [&str; 6] = ["query", "key", "value", "attention.output", "intermediate", "output"];

impl LoraOptions {
    /// The named linear maps below `encoder.layer.N.`, in model order.
    pub(super) fn linears(&self) -> impl Iterator<Item = &'static str> {
        let chosen = |(target, _): &(&str, &str)| self.targets.iter().any(|t| t == target);
        TARGETS.into_iter().zip(names::LINEARS).filter(chosen).map(|(_, linear)| linear)
    }

    fn validate(&self, config: &BertConfig) -> Result<()> {
        let most = config.hidden_size.min(config.intermediate_size);
        if !(1..=most).contains(&self.rank) {
            return Err(Error::config("lora.rank", self.rank, format!("must be between 1 and {most}")));
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return Err(Error::config("lora.alpha", self.alpha, "must be positive and finite"));
        }
        if self.targets.is_empty() {
            return Err(Error::config("lora.targets", "[]", format!("at least one of {}", TARGETS.join(", "))));
        }
        match self.targets.iter().find(|t| !TARGETS.contains(&t.as_str())) {
            Some(unknown) => Err(Error::config("lora.targets", unknown, format!("must be of {}", TARGETS.join(", ")))),
            None => Ok(()),
        }
    }
}

/// Settings of a [`super::Backbone`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackboneOptions {
    /// What is trained.
    pub mode: TrainMode,
    /// Layers that [`TrainMode::TopN`] trains.
    pub top_layers: usize,
    /// Whether [`TrainMode::Full`] trains the embedding tables and their layer norm too. Leaving them frozen saves
    /// most of the optimizer's time and memory.
    pub train_embeddings: bool,
    /// Adapters of [`TrainMode::Lora`].
    pub lora: LoraOptions,
    /// How hidden states become a vector.
    pub pooling: Pooling,
    /// Whether vectors are scaled to length 1.
    pub l2: bool,
    /// Longest text in tokens, `[CLS]` and `[SEP]` included; what is longer is cut off.
    pub max_length: usize,
    /// Whether the backward pass computes the activations of each layer again instead of keeping them: about a third
    /// more time for a fraction of the memory, the same bits.
    pub recompute: bool,
}

impl Default for BackboneOptions {
    fn default() -> Self {
        Self {
            mode: TrainMode::Frozen,
            top_layers: 1,
            train_embeddings: true,
            lora: LoraOptions::default(),
            pooling: Pooling::Mean,
            l2: false,
            max_length: 128,
            recompute: false,
        }
    }
}

impl BackboneOptions {
    pub(super) fn validate(&self, config: &BertConfig, has_pooler: bool) -> Result<()> {
        let longest = config.max_position_embeddings;
        if !(2..=longest).contains(&self.max_length) {
            let expected = format!("must be between 2 and max_position_embeddings = {longest}");
            return Err(Error::config("max_length", self.max_length, expected));
        }
        if self.mode == TrainMode::TopN && !(1..=config.num_hidden_layers).contains(&self.top_layers) {
            let expected = format!("must be between 1 and num_hidden_layers = {}", config.num_hidden_layers);
            return Err(Error::config("top_layers", self.top_layers, expected));
        }
        if self.pooling == Pooling::Pooler && !has_pooler {
            return Err(Error::config(
                "pooling",
                "pooler",
                "the weights were loaded without a pooler; use mean or cls",
            ));
        }
        if self.mode == TrainMode::Lora { self.lora.validate(config) } else { Ok(()) }
    }

    /// Whether the parameter with this canonical name is trained.
    pub(super) fn trains(&self, name: &str, config: &BertConfig) -> bool {
        let pooler = name.starts_with("pooler.");
        match self.mode {
            TrainMode::Frozen | TrainMode::Lora => false,
            TrainMode::TopN => {
                let first = config.num_hidden_layers - self.top_layers;
                pooler || layer_of(name).is_some_and(|layer| layer >= first)
            }
            TrainMode::Full => self.train_embeddings || pooler || layer_of(name).is_some(),
        }
    }
}

/// Number of the layer that a canonical name belongs to.
pub(super) fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("encoder.layer.")?.split('.').next()?.parse().ok()
}
