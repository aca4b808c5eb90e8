//! Vectors of the texts of an environment.

use super::batching::plan;
use super::cache::{FeatureCache, Key};
use super::{Backbone, Tokens};
use crate::agent::{FeatureTable, Ledger, Stop};
use crate::env::TextId;
use crate::nn::ParamStore;
use crate::{Error, Result};
use candle_core::Tensor;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Backbone {
    /// Vectors of the `wanted` texts under the current parameters, without a graph; the other rows are NaN. What the
    /// cache holds is not computed again, with the same bits either way. `ledger` is charged with the tokens that
    /// were read (`forward_tokens`) and those that the cache saved (`cached_tokens`).
    ///
    /// # Errors
    /// [`Error::Config`] for a text outside `texts`; [`Error::Interrupted`] between two batches if asked to stop.
    pub fn encode_table(
        &self,
        store: &ParamStore,
        texts: &[Tokens],
        wanted: &[TextId],
        cache: &FeatureCache,
        ledger: &mut Ledger,
        stop: &Stop,
    ) -> Result<FeatureTable> {
        let version: Arc<str> = self.weight_version(store)?.into();
        let width = self.width();
        let mut table = vec![f32::NAN; texts.len() * width];
        let mut missing: Vec<usize> = Vec::new();
        for row in rows(texts, wanted)? {
            match cache.get(&self.key(&version, &texts[row])) {
                Some(vector) => {
                    table[row * width..][..width].copy_from_slice(&vector);
                    ledger.cached_tokens += texts[row].len() as u64;
                }
                None => missing.push(row),
            }
        }
        let tokens: Vec<&Tokens> = missing.iter().map(|&row| &texts[row]).collect();
        if !tokens.is_empty() {
            self.check(&tokens)?;
        }
        for plan in plan(&tokens, self.config().max_position_embeddings) {
            stop.check()?;
            let vectors = self.run(store, &tokens, &plan, false, None)?.to_vec2::<f32>()?;
            for (&text, vector) in plan.rows.iter().zip(vectors) {
                table[missing[text] * width..][..width].copy_from_slice(&vector);
                cache.insert(self.key(&version, tokens[text]), vector.into());
                ledger.forward_tokens += tokens[text].len() as u64;
            }
        }
        let table = Tensor::from_vec(table, (texts.len(), width), store.device())?;
        Ok(FeatureTable { table, weight_version: version.to_string() })
    }

    fn key(&self, version: &Arc<str>, tokens: &Tokens) -> Key {
        Key { version: version.clone(), pooling: self.options.pooling, l2: self.options.l2, tokens: tokens.clone() }
    }
}

/// The wanted rows in order, each once.
fn rows(texts: &[Tokens], wanted: &[TextId]) -> Result<BTreeSet<usize>> {
    wanted
        .iter()
        .map(|&TextId(id)| match (id as usize) < texts.len() {
            true => Ok(id as usize),
            false => Err(Error::config("text", id, format!("there are {} texts", texts.len()))),
        })
        .collect()
}
