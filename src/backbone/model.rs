//! The trainable encoder.

use super::batching::{Batch, Plan, min_rows, plan};
use super::encoder::{Adapters, Dropout, Forward};
use super::options::{BackboneOptions, Pooling, TrainMode};
use super::weights::{WeightForm, Weights};
use super::{BertConfig, PREFIX, Tokens, tokenizer, version};
use crate::nn::ParamStore;
use crate::nn::fused::threads;
use crate::{Error, Result};
use candle_core::Tensor;
use std::collections::BTreeMap;
use tokenizers::Tokenizer;

/// A text encoder whose parameters live in a [`ParamStore`] under `backbone.` and their canonical names.
///
/// Frozen parameters share the memory of the [`Weights`]; trained ones are copies. The vector of a text depends on
/// its tokens and the parameters alone, bit for bit: not on the other texts of a call, their order, or threads.
#[derive(Clone, Debug)]
pub struct Backbone {
    pub(super) weights: Weights,
    pub(super) options: BackboneOptions,
    pub(super) tokenizer: Tokenizer,
    /// `None` unless the mode is LoRA.
    pub(super) adapters: Option<Adapters>,
    /// The weights that merged adapters were added to, by canonical name; empty while adapters work beside them.
    pub(super) kept: BTreeMap<String, Tensor>,
}

impl Backbone {
    /// Puts the parameters of `weights` into `store`: trained or frozen as the mode says, adapters in their initial
    /// state (A uniform in ±1/√in, B zero).
    ///
    /// # Errors
    /// [`Error::Config`] if an option contradicts the config, [`Error::State`] if the store has a backbone already.
    pub fn new(weights: &Weights, options: &BackboneOptions, store: &mut ParamStore) -> Result<Self> {
        let config = weights.config();
        options.validate(config, weights.has_pooler())?;
        if weights.form() == WeightForm::U8 && options.mode != TrainMode::Frozen {
            let expected = "8-bit weights cannot be trained; load them as f32, or use the mode frozen";
            return Err(Error::config("weights", "u8", expected));
        }
        for (name, tensor) in weights.tensors() {
            // An unused pooler would be trained without ever getting a gradient.
            if name.starts_with("pooler.") && options.pooling != Pooling::Pooler {
                continue;
            }
            let full = format!("{PREFIX}{name}");
            if options.trains(name, config) {
                store.insert(&full, tensor)?
            } else {
                store.insert_frozen(&full, tensor)?
            }
        }
        for (name, matrix) in weights.quantised() {
            if !name.starts_with("pooler.") || options.pooling == Pooling::Pooler {
                store.insert_quantised(&format!("{PREFIX}{name}"), matrix)?;
            }
        }
        let adapters =
            if options.mode == TrainMode::Lora { Some(super::lora::init(config, &options.lora, store)?) } else { None };
        let tokenizer = tokenizer::with_max_length(weights.tokenizer(), options.max_length)?;
        // Trained parameters are copies in the store. Their first values would be a second model in memory.
        let trains = |name: &str| options.trains(name, config) && store.contains(&format!("{PREFIX}{name}"));
        let any = weights.tensors().any(|(name, _)| trains(name));
        let weights = if any { weights.without(trains) } else { weights.clone() };
        Ok(Self { weights, options: options.clone(), tokenizer, adapters, kept: BTreeMap::new() })
    }

    /// Sizes and constants.
    #[must_use]
    pub fn config(&self) -> &BertConfig {
        self.weights.config()
    }

    /// The settings.
    #[must_use]
    pub fn options(&self) -> &BackboneOptions {
        &self.options
    }

    /// What it was built from, without the values of trained parameters: those are in the store.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Length of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.config().hidden_size
    }

    /// Whether nothing of the encoder is trained, so that vectors can be made once and kept.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.options.mode == TrainMode::Frozen
    }

    /// Tokens of each text. An empty text is `[CLS] [SEP]`.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn tokenize(&self, texts: &[&str]) -> Result<Vec<Tokens>> {
        texts.iter().map(|&text| self.tokens_of(tokenizers::EncodeInput::Single(text.into()))).collect()
    }

    /// Tokens of pairs, the second text with segment 1. Two-tower models encode each text alone instead.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn tokenize_pairs(&self, pairs: &[(&str, &str)]) -> Result<Vec<Tokens>> {
        pairs.iter().map(|&(a, b)| self.tokens_of(tokenizers::EncodeInput::Dual(a.into(), b.into()))).collect()
    }

    fn tokens_of(&self, input: tokenizers::EncodeInput<'_>) -> Result<Tokens> {
        let encoding = self.tokenizer.encode_fast(input, true).map_err(|e| Error::State(format!("tokenizer: {e}")))?;
        tokenizer::tokens(&encoding)
    }

    /// Vectors `[texts, width]` in the given order, part of a graph if anything of the encoder is trained. Equal
    /// texts are computed once.
    ///
    /// # Errors
    /// [`Error::Config`] for tokens that the model has no row for, or if there are no texts.
    pub fn encode(&self, store: &ParamStore, texts: &[&Tokens]) -> Result<Tensor> {
        self.encode_unique(store, texts, true)
    }

    /// [`Backbone::encode`] without a graph.
    ///
    /// # Errors
    /// As [`Backbone::encode`].
    pub fn encode_detached(&self, store: &ParamStore, texts: &[&Tokens]) -> Result<Tensor> {
        // Nothing of a graph that belongs to this thread is made, so the pool may do it all without hand-overs.
        threads::run(|| self.encode_unique(store, texts, false))
    }

    /// [`Backbone::encode`] with dropout. Equal texts get masks of their own.
    ///
    /// # Errors
    /// As [`Backbone::encode`], and if a probability is not in [0, 1).
    pub fn encode_with_dropout(&self, store: &ParamStore, texts: &[&Tokens], dropout: &Dropout) -> Result<Tensor> {
        self.check(texts)?;
        let mut parts = Vec::new();
        let mut order = Vec::new();
        for (number, plan) in plan(texts, self.config().max_position_embeddings).iter().enumerate() {
            let dropout = Dropout { key: dropout.key.index(number as u64), ..dropout.clone() };
            parts.push(self.run(store, texts, plan, true, Some(&dropout))?);
            order.extend_from_slice(&plan.rows);
        }
        in_order(&parts, &order, &(0..texts.len()).collect::<Vec<_>>())
    }

    /// Hidden states `[tokens, width]` of one text after the embeddings and after each layer, without a graph: where
    /// to look first when a vector is off.
    ///
    /// # Errors
    /// As [`Backbone::encode`].
    pub fn hidden_states(&self, store: &ParamStore, text: &Tokens) -> Result<Vec<Tensor>> {
        self.check(&[text])?;
        let batch = Batch::new(&[text], &Plan { width: text.len(), rows: vec![0] }, 1, store.device())?;
        let forward = self.forward(store, false);
        let mut states = vec![forward.embed(&batch)?];
        for layer in 0..self.config().num_hidden_layers {
            let next = forward.layer(layer, &states[layer], &batch.mask)?;
            states.push(next);
        }
        states.iter().map(|state| Ok(state.squeeze(0)?)).collect()
    }

    /// Tokens that [`Backbone::encode`] reads for these texts, padding and repetitions not counted.
    #[must_use]
    pub fn tokens_read(&self, texts: &[&Tokens]) -> u64 {
        unique(texts).0.iter().map(|t| t.len() as u64).sum()
    }

    fn encode_unique(&self, store: &ParamStore, texts: &[&Tokens], graph: bool) -> Result<Tensor> {
        self.check(texts)?;
        let (unique, index) = unique(texts);
        let mut parts = Vec::new();
        let mut order = Vec::new();
        for plan in plan(&unique, self.config().max_position_embeddings) {
            parts.push(self.run(store, &unique, &plan, graph, None)?);
            order.extend_from_slice(&plan.rows);
        }
        in_order(&parts, &order, &index)
    }

    /// Vectors of one batch, in the order of the plan.
    pub(super) fn run(
        &self,
        store: &ParamStore,
        texts: &[&Tokens],
        plan: &Plan,
        graph: bool,
        dropout: Option<&Dropout>,
    ) -> Result<Tensor> {
        let batch = self.batch(store, texts, plan)?;
        let forward = Forward { dropout, ..self.forward(store, graph) };
        let rows = forward.pool(&forward.hidden(&batch)?, &batch.mask, self.options.pooling, self.options.l2)?;
        if rows.dim(0)? == plan.rows.len() { Ok(rows) } else { Ok(rows.narrow(0, 0, plan.rows.len())?) }
    }

    pub(super) fn batch(&self, store: &ParamStore, texts: &[&Tokens], plan: &Plan) -> Result<Batch> {
        let config = self.config();
        let rank = self.adapters.as_ref().map_or(usize::MAX, |_| self.options.lora.rank);
        let narrowest = config.hidden_size.min(config.intermediate_size).min(rank);
        let pooled = (self.options.pooling == Pooling::Pooler).then_some(config.hidden_size);
        Batch::new(texts, plan, min_rows(plan.width, narrowest, pooled), store.device())
    }

    pub(super) fn forward<'a>(&'a self, store: &'a ParamStore, graph: bool) -> Forward<'a> {
        let adapters = self.adapters.as_ref().filter(|_| self.kept.is_empty());
        Forward { config: self.config(), store, graph, adapters, dropout: None, recompute: self.options.recompute }
    }

    /// Refuses tokens that would read outside a table.
    pub(super) fn check(&self, texts: &[&Tokens]) -> Result<()> {
        let config = self.config();
        if texts.is_empty() {
            return Err(Error::config("texts", "[]", "at least one text to encode"));
        }
        let below = |key: &str, values: &[u32], limit: usize| match values.iter().find(|&&v| v as usize >= limit) {
            Some(value) => Err(Error::config(key, value, format!("must be below {limit}"))),
            None => Ok(()),
        };
        for text in texts {
            let longest = config.max_position_embeddings;
            if text.len() > longest {
                return Err(Error::config(
                    "tokens",
                    text.len(),
                    format!("at most max_position_embeddings = {longest}"),
                ));
            }
            below("tokens.ids", text.ids(), config.vocab_size)?;
            below("tokens.segments", text.segments(), config.type_vocab_size)?;
        }
        Ok(())
    }

    /// Checksum of everything a vector depends on, as hex: equal for equal parameters, whether loaded, trained or
    /// restored. For untouched weights it is [`Weights::version`].
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn weight_version(&self, store: &ParamStore) -> Result<String> {
        let mut digests = self.weights.digests().clone();
        for name in store.names() {
            let Some(canonical) = name.strip_prefix(PREFIX) else { continue };
            let merged = self.kept.contains_key(canonical);
            let idle_adapter = super::lora::is_adapter(canonical) && !self.kept.is_empty();
            // Shared parameters have the values of the file, whose digests are known.
            if idle_adapter || (store.is_shared(name) && !merged) {
                continue;
            }
            digests.insert(canonical.to_owned(), version::digest(canonical, &store.detached(name)?)?);
        }
        Ok(version::combine(&digests))
    }
}

/// The distinct texts in order of first appearance, and for each text the index of its equal among them.
pub(super) fn unique<'a>(texts: &[&'a Tokens]) -> (Vec<&'a Tokens>, Vec<usize>) {
    let mut seen: BTreeMap<&Tokens, usize> = BTreeMap::new();
    let mut unique = Vec::new();
    let index = texts
        .iter()
        .map(|&text| {
            *seen.entry(text).or_insert_with(|| {
                unique.push(text);
                unique.len() - 1
            })
        })
        .collect();
    (unique, index)
}

/// Rows of the parts, which hold texts `order` one after the other, rearranged so that row i is text `index[i]`.
pub(super) fn in_order(parts: &[Tensor], order: &[usize], index: &[usize]) -> Result<Tensor> {
    let rows = if let [only] = parts { only.clone() } else { Tensor::cat(parts, 0)? };
    let mut place = vec![0u32; order.len()];
    for (row, &text) in order.iter().enumerate() {
        place[text] = row as u32;
    }
    let wanted: Vec<u32> = index.iter().map(|&text| place[text]).collect();
    if wanted.iter().enumerate().all(|(i, &row)| i == row as usize) && wanted.len() == order.len() {
        return Ok(rows);
    }
    let count = wanted.len();
    Ok(rows.index_select(&Tensor::from_vec(wanted, count, rows.device())?, 0)?)
}
