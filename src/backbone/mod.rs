//! Pretrained text encoders: BERT, read from safetensors, trained in whole, in part, or through adapters.
//!
//! [`Weights`] are read and checked once and shared by all trials. A [`Backbone`] puts them into a
//! [`crate::nn::ParamStore`] under the prefix `backbone.`, turns texts into [`Tokens`], and tokens into vectors:
//! [`Backbone::encode`] with a graph, [`Backbone::encode_cached`] with a [`FeatureCache`] for the frozen part,
//! [`Backbone::encode_table`] for all texts of an environment at once.
//!
//! The vector of a text depends on its tokens and the parameters alone, bit for bit. A model whose `config.json` does
//! not say `bert` is refused: relatives share the names of tensors, but not the equations.

mod batching;
mod cache;
mod config;
mod directory;
mod encoder;
mod load;
mod lora;
mod model;
mod names;
mod options;
mod prefix;
mod table;
mod tokenizer;
mod version;
mod weight_file;
mod weights;

pub use cache::{CacheStats, FeatureCache};
pub use config::BertConfig;
pub use encoder::Dropout;
pub use load::LoadReport;
pub use model::Backbone;
pub use options::{BackboneOptions, LoraOptions, Pooling, TrainMode};
pub use tokenizer::Tokens;
pub use weights::{LoadOptions, WeightForm, Weights};

/// What the names of all parameters of a backbone begin with in a store.
pub const PREFIX: &str = "backbone.";

#[cfg(test)]
mod tests;
