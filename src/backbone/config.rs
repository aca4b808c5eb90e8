//! `config.json` of a BERT model.

use crate::nn::ops::Activation;
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// The largest `config.json` that is read, in bytes.
pub(super) const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Sizes and constants of a BERT encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    /// Rows of the word table.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads; they divide the width.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Non-linearity of the feed-forward block.
    pub hidden_act: Activation,
    /// Rows of the position table: the longest text in tokens.
    pub max_position_embeddings: usize,
    /// Rows of the segment table.
    pub type_vocab_size: usize,
    /// Added to the variance inside the root of a layer norm.
    pub layer_norm_eps: f64,
    /// Standard deviation of random initial matrices.
    pub initializer_range: f32,
    /// Row of the word table that random initialisation leaves at zero.
    pub pad_token_id: usize,
}

impl BertConfig {
    /// Reads a `config.json`. Unknown keys are allowed, for the file is somebody else's; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming key, value and what would be right.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| Error::invalid(path, format!("not JSON: {e}")))?;
        let file = File { path, value: &value };
        file.check_kind()?;
        let config = Self {
            vocab_size: file.size("vocab_size")?,
            hidden_size: file.size("hidden_size")?,
            num_hidden_layers: file.size("num_hidden_layers")?,
            num_attention_heads: file.size("num_attention_heads")?,
            intermediate_size: file.size("intermediate_size")?,
            hidden_act: file.activation()?,
            max_position_embeddings: file.size("max_position_embeddings")?,
            type_vocab_size: file.size_or("type_vocab_size", 2)?,
            layer_norm_eps: file.positive_or("layer_norm_eps", 1e-12)?,
            initializer_range: file.positive_or("initializer_range", 0.02)? as f32,
            pad_token_id: file.index_or("pad_token_id", 0)?,
        };
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(file.wrong("num_attention_heads", format!("must divide hidden_size = {}", config.hidden_size)));
        }
        if config.pad_token_id >= config.vocab_size {
            return Err(file.wrong("pad_token_id", format!("must be below vocab_size = {}", config.vocab_size)));
        }
        Ok(config)
    }
}

struct File<'a> {
    path: &'a Path,
    value: &'a Value,
}

impl File<'_> {
    fn check_kind(&self) -> Result<()> {
        match self.value.get("model_type").and_then(Value::as_str) {
            Some("bert") => {}
            // Other types share tensor names with BERT but not its equations, so they would load and be wrong.
            _ => return Err(self.wrong("model_type", "only \"bert\" is supported")),
        }
        match self.value.get("position_embedding_type") {
            None | Some(Value::Null) => Ok(()),
            Some(kind) if kind == "absolute" => Ok(()),
            Some(_) => Err(self.wrong("position_embedding_type", "only \"absolute\" is supported")),
        }
    }

    fn activation(&self) -> Result<Activation> {
        match self.value.get("hidden_act").and_then(Value::as_str) {
            Some("gelu") => Ok(Activation::Gelu),
            Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
            Some("relu") => Ok(Activation::Relu),
            _ => Err(self.wrong("hidden_act", "must be gelu, gelu_new, gelu_pytorch_tanh or relu")),
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        match self.value.get(key).and_then(Value::as_u64).map(usize::try_from) {
            Some(Ok(size)) if size > 0 => Ok(size),
            _ => Err(self.wrong(key, "must be a positive integer")),
        }
    }

    fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.is_absent(key) { Ok(default) } else { self.size(key) }
    }

    fn index_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.is_absent(key) {
            return Ok(default);
        }
        match self.value.get(key).and_then(Value::as_u64).map(usize::try_from) {
            Some(Ok(index)) => Ok(index),
            _ => Err(self.wrong(key, "must be 0 or a positive integer")),
        }
    }

    fn positive_or(&self, key: &str, default: f64) -> Result<f64> {
        if self.is_absent(key) {
            return Ok(default);
        }
        match self.value.get(key).and_then(Value::as_f64) {
            // The upper bound keeps out what would not be finite, or zero, in F32.
            Some(number) if number > 1e-30 && number < 1e30 => Ok(number),
            _ => Err(self.wrong(key, "must be a positive number")),
        }
    }

    fn is_absent(&self, key: &str) -> bool {
        matches!(self.value.get(key), None | Some(Value::Null))
    }

    fn wrong(&self, key: &str, expected: impl std::fmt::Display) -> Error {
        let given = self.value.get(key).map_or_else(|| "absent".to_owned(), |v| format!("= {v}"));
        Error::invalid(self.path, format!("{key} {given}: {expected}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        json!({
            "model_type": "bert", "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 16, "hidden_act": "gelu",
            "max_position_embeddings": 12, "type_vocab_size": 2, "somebody_elses_key": [1, 2]
        })
    }

    fn parse(value: &Value) -> Result<BertConfig> {
        BertConfig::parse(Path::new("m/config.json"), value.to_string().as_bytes())
    }

    #[test]
    fn defaults_and_unknown_keys() {
        let config = parse(&base()).expect("valid");
        assert_eq!(config.layer_norm_eps, 1e-12);
        assert_eq!(config.hidden_act, Activation::Gelu);
        assert_eq!((config.pad_token_id, config.initializer_range), (0, 0.02));
    }

    #[test]
    fn the_two_forms_of_gelu_are_told_apart() {
        for (name, act) in [
            ("gelu", Activation::Gelu),
            ("gelu_new", Activation::GeluTanh),
            ("gelu_pytorch_tanh", Activation::GeluTanh),
            ("relu", Activation::Relu),
        ] {
            let mut value = base();
            value["hidden_act"] = json!(name);
            assert_eq!(parse(&value).expect("valid").hidden_act, act);
        }
    }

    #[test]
    fn refusals_name_file_key_value_and_what_would_be_right() {
        let cases = [
            ("model_type", json!("roberta"), "m/config.json: model_type = \"roberta\": only \"bert\" is supported"),
            ("model_type", Value::Null, "m/config.json: model_type = null: only \"bert\" is supported"),
            ("num_attention_heads", json!(3), "m/config.json: num_attention_heads = 3: must divide hidden_size = 8"),
            ("hidden_size", json!(0), "m/config.json: hidden_size = 0: must be a positive integer"),
            ("vocab_size", json!("30"), "m/config.json: vocab_size = \"30\": must be a positive integer"),
            (
                "position_embedding_type",
                json!("relative_key"),
                "m/config.json: position_embedding_type = \"relative_key\": only \"absolute\" is supported",
            ),
            (
                "hidden_act",
                json!("silu"),
                "m/config.json: hidden_act = \"silu\": must be gelu, gelu_new, gelu_pytorch_tanh or relu",
            ),
            ("layer_norm_eps", json!(-1.0), "m/config.json: layer_norm_eps = -1.0: must be a positive number"),
            ("pad_token_id", json!(30), "m/config.json: pad_token_id = 30: must be below vocab_size = 30"),
        ];
        for (key, value, message) in cases {
            let mut config = base();
            config[key] = value;
            assert_eq!(parse(&config).expect_err(key).to_string(), message);
        }
        let mut config = base();
        config.as_object_mut().expect("an object").remove("vocab_size");
        let message = parse(&config).expect_err("missing").to_string();
        assert_eq!(message, "m/config.json: vocab_size absent: must be a positive integer");
        let broken = BertConfig::parse(Path::new("c"), b"{").expect_err("broken").to_string();
        assert!(broken.starts_with("c: not JSON"), "{broken}");
    }
}
