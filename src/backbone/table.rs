//! Vectors of the texts of an environment.

use super::batching::plan;
use super::cache::{FeatureCache, Key, Stage};
use super::{Backbone, Tokens};
use crate::agent::{FeatureTable, Ledger, Stop};
use crate::env::TextId;
use crate::nn::ParamStore;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Backbone {
    /// Vectors of the `wanted` texts under the current parameters, on the CPU, without a graph; the other rows are NaN. What the
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
        let rows: Vec<usize> = rows(texts, wanted)?.into_iter().collect();
        let tokens: Vec<&Tokens> = rows.iter().map(|&row| &texts[row]).collect();
        for (row, vector) in rows.iter().zip(self.vectors(store, &version, &tokens, cache, ledger, stop)?) {
            table[row * width..][..width].copy_from_slice(&vector);
        }
        let table = Tensor::from_vec(table, (texts.len(), width), &Device::Cpu)?;
        Ok(FeatureTable { table, weight_version: version.to_string() })
    }

    /// One vector for each text, from the cache or computed and put there.
    pub(super) fn vectors(
        &self,
        store: &ParamStore,
        version: &Arc<str>,
        texts: &[&Tokens],
        cache: &FeatureCache,
        ledger: &mut Ledger,
        stop: &Stop,
    ) -> Result<Vec<Arc<[f32]>>> {
        let stage = Stage::Pooled { pooling: self.options.pooling, l2: self.options.l2 };
        fill(version, stage, texts, cache, ledger, |missing, found| {
            if !missing.is_empty() {
                self.check(missing)?;
            }
            for plan in plan(missing, self.config().max_position_embeddings) {
                stop.check()?;
                let vectors = self.run(store, missing, &plan, false, None)?.to_vec2::<f32>()?;
                plan.rows.iter().zip(vectors).for_each(|(&text, vector)| found(text, vector.into()));
            }
            Ok(())
        })
    }
}

/// Takes what the cache holds, has `compute` make the rest (it hands each value over with its index among the missing
/// texts), and counts the tokens of both.
pub(super) fn fill(
    version: &Arc<str>,
    stage: Stage,
    texts: &[&Tokens],
    cache: &FeatureCache,
    ledger: &mut Ledger,
    compute: impl FnOnce(&[&Tokens], &mut dyn FnMut(usize, Arc<[f32]>)) -> Result<()>,
) -> Result<Vec<Arc<[f32]>>> {
    let key = |tokens: &Tokens| Key { version: version.clone(), stage, tokens: tokens.clone() };
    let mut values: Vec<Arc<[f32]>> = vec![Arc::default(); texts.len()];
    let mut missing = Vec::new();
    for (i, &text) in texts.iter().enumerate() {
        match cache.get(&key(text)) {
            Some(value) => {
                values[i] = value;
                ledger.cached_tokens += text.len() as u64;
            }
            None => missing.push(i),
        }
    }
    let tokens: Vec<&Tokens> = missing.iter().map(|&i| texts[i]).collect();
    compute(&tokens, &mut |text, value| {
        cache.insert(key(tokens[text]), value.clone());
        ledger.forward_tokens += tokens[text].len() as u64;
        values[missing[text]] = value;
    })?;
    Ok(values)
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
