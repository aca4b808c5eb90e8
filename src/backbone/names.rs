//! Canonical parameter names, their shapes, and the spellings they appear under in files.

use super::BertConfig;
use std::collections::{BTreeMap, BTreeSet};

/// Prefixes under which files keep the canonical names, in the order they are tried.
const PREFIXES: [&str; 5] = ["", "bert.", "module.", "module.bert.", "0.auto_model."];

/// The six linear maps of a layer: name below `encoder.layer.N.` and (out, in) for a config.
pub(super) const LINEARS: [&str; 6] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
];

/// Rows and columns of a linear map of [`LINEARS`].
pub(super) fn linear_shape(config: &BertConfig, linear: &str) -> (usize, usize) {
    match linear {
        "intermediate.dense" => (config.intermediate_size, config.hidden_size),
        "output.dense" => (config.hidden_size, config.intermediate_size),
        _ => (config.hidden_size, config.hidden_size),
    }
}

/// All parameters of an encoder with their shapes, in name order.
pub(super) fn expected(config: &BertConfig, pooler: bool) -> BTreeMap<String, Vec<usize>> {
    let hidden = config.hidden_size;
    let mut shapes = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| {
        shapes.insert(name, shape.to_vec());
    };
    add("embeddings.word_embeddings.weight".to_owned(), &[config.vocab_size, hidden]);
    add("embeddings.position_embeddings.weight".to_owned(), &[config.max_position_embeddings, hidden]);
    add("embeddings.token_type_embeddings.weight".to_owned(), &[config.type_vocab_size, hidden]);
    add("embeddings.LayerNorm.weight".to_owned(), &[hidden]);
    add("embeddings.LayerNorm.bias".to_owned(), &[hidden]);
    for layer in 0..config.num_hidden_layers {
        for linear in LINEARS {
            let (out, inputs) = linear_shape(config, linear);
            add(format!("encoder.layer.{layer}.{linear}.weight"), &[out, inputs]);
            add(format!("encoder.layer.{layer}.{linear}.bias"), &[out]);
        }
        for norm in ["attention.output.LayerNorm", "output.LayerNorm"] {
            add(format!("encoder.layer.{layer}.{norm}.weight"), &[hidden]);
            add(format!("encoder.layer.{layer}.{norm}.bias"), &[hidden]);
        }
    }
    if pooler {
        add("pooler.dense.weight".to_owned(), &[hidden, hidden]);
        add("pooler.dense.bias".to_owned(), &[hidden]);
    }
    shapes
}

/// Whether a tensor that no parameter needs is nothing to wonder about.
pub(super) fn is_expected_unused(canonical: &str) -> bool {
    canonical == "embeddings.position_ids" || canonical.starts_with("pooler.") || canonical.starts_with("cls.")
}

/// The prefix under which most of the expected names are found; the first in order where several do equally well.
pub(super) fn choose_prefix<'a>(sources: impl Iterator<Item = &'a str>, expected: &BTreeSet<&str>) -> &'static str {
    let mut found = [0usize; PREFIXES.len()];
    for source in sources {
        for (count, prefix) in found.iter_mut().zip(PREFIXES) {
            let stripped = source.strip_prefix(prefix).map(modern_norm_name);
            *count += usize::from(stripped.is_some_and(|name| expected.contains(name.as_str())));
        }
    }
    let best = found.iter().copied().max().unwrap_or(0);
    PREFIXES.into_iter().zip(found).find(|(_, count)| *count == best).map_or("", |(prefix, _)| prefix)
}

/// The canonical form of a name in a file that uses `prefix`; names without the prefix only lose old spellings.
pub(super) fn canonical(source: &str, prefix: &str) -> String {
    modern_norm_name(source.strip_prefix(prefix).unwrap_or(source))
}

/// Checkpoints from before PyTorch 1.0 say gamma and beta.
fn modern_norm_name(name: &str) -> String {
    for (old, new) in [("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")] {
        if let Some(front) = name.strip_suffix(old) {
            return format!("{front}{new}");
        }
    }
    name.to_owned()
}
