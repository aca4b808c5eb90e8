//! Training only the top: what lies below the first trained layer is computed once for each text.

use super::batching::{Batch, Plan, plan};
use super::cache::{FeatureCache, Stage};
use super::model::{in_order, unique};
use super::options::{TrainMode, layer_of};
use super::{Backbone, Tokens, table, version};
use crate::Result;
use crate::agent::{Ledger, Stop};
use crate::nn::ParamStore;
use candle_core::Tensor;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Backbone {
    /// [`Backbone::encode`], bit for bit, but what the frozen part of the encoder gives for a text is taken from the
    /// cache: the whole vector if nothing is trained, the hidden states below the first trained layer for `top-n`.
    /// The other modes have no part worth keeping.
    ///
    /// `ledger` is charged with the tokens that were read with a graph (`backward_tokens`), without one
    /// (`forward_tokens`: the frozen part, where it had to be computed), and with those for which the frozen part
    /// was found (`cached_tokens`). Repetitions of a text count once.
    ///
    /// # Errors
    /// As [`Backbone::encode`].
    pub fn encode_cached(
        &self,
        store: &ParamStore,
        texts: &[&Tokens],
        cache: &FeatureCache,
        ledger: &mut Ledger,
    ) -> Result<Tensor> {
        self.check(texts)?;
        let (unique, index) = unique(texts);
        match (self.options.mode, self.cut()) {
            (TrainMode::Frozen, _) => {
                let version = self.weight_version(store)?.into();
                let vectors = self.vectors(store, &version, &unique, cache, ledger, &Stop::new())?;
                let rows = Tensor::from_vec(vectors.concat(), (unique.len(), self.width()), store.device())?;
                in_order(&[rows], &(0..unique.len()).collect::<Vec<_>>(), &index)
            }
            (TrainMode::TopN, cut) if cut > 0 => {
                ledger.backward_tokens += self.tokens_read(texts);
                let states = self.states_below(cut, store, &unique, cache, ledger)?;
                self.encode_above(cut, store, &unique, &states, &index)
            }
            _ => {
                ledger.backward_tokens += self.tokens_read(texts);
                self.encode(store, texts)
            }
        }
    }

    /// The first layer that is trained.
    fn cut(&self) -> usize {
        match self.options.mode {
            TrainMode::TopN => self.config().num_hidden_layers - self.options.top_layers,
            TrainMode::Frozen => self.config().num_hidden_layers,
            TrainMode::Lora | TrainMode::Full => 0,
        }
    }

    /// Hidden states `[tokens, width]` of each text below layer `cut`, padding left out.
    fn states_below(
        &self,
        cut: usize,
        store: &ParamStore,
        texts: &[&Tokens],
        cache: &FeatureCache,
        ledger: &mut Ledger,
    ) -> Result<Vec<Arc<[f32]>>> {
        let version = self.version_below(cut).into();
        table::fill(&version, Stage::Below { layer: cut }, texts, cache, ledger, |missing, found| {
            let forward = self.forward(store, false);
            for plan in plan(missing, self.config().max_position_embeddings) {
                let batch = self.batch(store, missing, &plan)?;
                let x = forward.embed(&batch)?;
                let x = (0..cut).try_fold(x, |x, layer| forward.layer(layer, &x, &batch.mask))?;
                for (row, &text) in plan.rows.iter().enumerate() {
                    let states = x.get(row)?.narrow(0, 0, missing[text].len())?;
                    found(text, states.flatten_all()?.to_vec1::<f32>()?.into());
                }
            }
            Ok(())
        })
    }

    /// From the states below layer `cut` to vectors, with a graph.
    fn encode_above(
        &self,
        cut: usize,
        store: &ParamStore,
        texts: &[&Tokens],
        states: &[Arc<[f32]>],
        index: &[usize],
    ) -> Result<Tensor> {
        let forward = self.forward(store, true);
        let (mut parts, mut order) = (Vec::new(), Vec::new());
        for plan in plan(texts, self.config().max_position_embeddings) {
            let batch = self.batch(store, texts, &plan)?;
            let x = self.padded(&batch, &plan, states)?;
            let x = forward.layers(cut, x, &batch.mask)?;
            let rows = forward.pool(&x, &batch.mask, self.options.pooling, self.options.l2)?;
            parts.push(rows.narrow(0, 0, plan.rows.len())?);
            order.extend_from_slice(&plan.rows);
        }
        in_order(&parts, &order, index)
    }

    /// States of a batch, `[rows, width of the batch, width]`. Padding is zero here and something else where nothing
    /// was cached; no token sees it, so the bits of the vectors are the same.
    fn padded(&self, batch: &Batch, plan: &Plan, states: &[Arc<[f32]>]) -> Result<Tensor> {
        let rows = batch.ids.dim(0)?;
        let row_size = plan.width * self.width();
        let mut values = vec![0f32; rows * row_size];
        for (row, target) in values.chunks_mut(row_size).enumerate() {
            let state = &states[*plan.rows.get(row).unwrap_or(&plan.rows[0])];
            target[..state.len()].copy_from_slice(state);
        }
        Ok(Tensor::from_vec(values, (rows, plan.width, self.width()), batch.ids.device())?)
    }

    /// Version of the parameters below layer `cut`, which are frozen: they have the values of the file.
    fn version_below(&self, cut: usize) -> String {
        let covered = |name: &str| name.starts_with("embeddings.") || layer_of(name).is_some_and(|layer| layer < cut);
        let digests = self.weights.digests().iter().filter(|(name, _)| covered(name));
        let digests: BTreeMap<String, [u8; 32]> = digests.map(|(name, digest)| (name.clone(), *digest)).collect();
        version::combine(&digests)
    }
}
