//! The equations of a post-norm BERT encoder (Devlin et al., 2019).
//!
//! Shapes: B rows, T tokens, H width. Every function takes the parameters it needs by canonical name and records a
//! graph exactly where a trained parameter takes part, so what lies below the lowest trained layer runs without one.

use super::batching::Batch;
use super::options::Pooling;
use super::{BertConfig, PREFIX};
use crate::Result;
use crate::nn::ops::{self, Activation};
use crate::nn::{ParamStore, Quantised};
use crate::rng::Seed;
use candle_core::{D, Tensor};
use std::sync::Arc;

/// Dropout of one forward pass. Probabilities are run settings; those of `config.json` are not used.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Probability after the embeddings and after each block, in [0, 1).
    pub hidden: f64,
    /// Probability on attention weights, in [0, 1).
    pub attention: f64,
    /// Stream of this forward pass, such as root / dropout / trial / update / micro-batch. Every site inside the
    /// encoder has a child of its own, so neither threads nor other sites can change a mask.
    pub key: Seed,
}

/// Scaling and names of the adapters in use.
#[derive(Clone, Debug)]
pub(super) struct Adapters {
    /// alpha / rank.
    pub(super) scaling: f64,
    /// Linear maps below `encoder.layer.N.` that have one.
    pub(super) linears: Vec<&'static str>,
}

/// One forward pass: where the parameters are and how they are used.
pub(super) struct Forward<'a> {
    pub(super) config: &'a BertConfig,
    pub(super) store: &'a ParamStore,
    /// Whether trained parameters are part of a graph.
    pub(super) graph: bool,
    pub(super) adapters: Option<&'a Adapters>,
    pub(super) dropout: Option<&'a Dropout>,
    /// Whether layers in the graph keep their input alone.
    pub(super) recompute: bool,
}

/// What a [`Forward`] points to, for parts of it that are computed later.
struct Owned {
    config: BertConfig,
    store: ParamStore,
    adapters: Option<Adapters>,
    dropout: Option<Dropout>,
}

impl Owned {
    fn forward(&self) -> Forward<'_> {
        Forward {
            config: &self.config,
            store: &self.store,
            graph: true,
            adapters: self.adapters.as_ref(),
            dropout: self.dropout.as_ref(),
            recompute: false,
        }
    }
}

impl Forward<'_> {
    /// Hidden states after the last layer, `[B, T, H]`.
    pub(super) fn hidden(&self, batch: &Batch) -> Result<Tensor> {
        let x = self.embed(batch)?;
        self.layers(0, x, &batch.mask)
    }

    /// The layers from `first` on.
    pub(super) fn layers(&self, first: usize, x: Tensor, mask: &Tensor) -> Result<Tensor> {
        let layers = first..self.config.num_hidden_layers;
        if !(self.graph && self.recompute) {
            return layers.into_iter().try_fold(x, |x, layer| self.layer(layer, &x, mask));
        }
        let owned = Arc::new(Owned {
            config: self.config.clone(),
            store: self.store.clone(),
            adapters: self.adapters.cloned(),
            dropout: self.dropout.cloned(),
        });
        layers.into_iter().try_fold(x, |x, layer| {
            let prefix = format!("{PREFIX}encoder.layer.{layer}.");
            let trained = self.store.trainable().filter(|(name, _)| name.starts_with(&prefix));
            let params: Vec<Tensor> = trained.map(|(_, var)| var.as_tensor().clone()).collect();
            let (owned, mask) = (owned.clone(), mask.clone());
            let part = move |x: &Tensor| owned.forward().layer(layer, x, &mask).map_err(candle_core::Error::wrap);
            Ok(ops::recompute(&x, &params, Box::new(part))?)
        })
    }

    /// x₀ = Drop(LN(word + position + segment)), `[B, T, H]`.
    pub(super) fn embed(&self, batch: &Batch) -> Result<Tensor> {
        let (rows, tokens) = batch.ids.dims2()?;
        let places = |count: usize| Tensor::arange(0, count as u32, batch.ids.device());
        let (words, ids) = match self.quantised_table("word") {
            Some(table) => (table.rows(&batch.ids)?, places(rows * tokens)?.reshape((rows, tokens))?),
            None => (self.table("word")?, batch.ids.clone()),
        };
        let positions = match self.quantised_table("position") {
            Some(table) => table.rows(&places(tokens.min(table.dims()[0]))?)?,
            None => self.table("position")?,
        };
        let sum = ops::embedding_sum(&words, &positions, &self.table("token_type")?, &ids, &batch.segments)?;
        self.drop(&self.norm(&sum, None, "embeddings.LayerNorm")?, &["embeddings"], None)
    }

    fn table(&self, name: &str) -> Result<Tensor> {
        self.param(&format!("embeddings.{name}_embeddings.weight"))
    }

    /// A table in 8 bits, of which only the rows in use are widened.
    fn quantised_table(&self, name: &str) -> Option<&Quantised> {
        self.store.quantised(&format!("{PREFIX}embeddings.{name}_embeddings.weight"))
    }

    /// One layer on `x` `[B, T, H]` with `mask` `[B, T]`.
    pub(super) fn layer(&self, layer: usize, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let linear = |name: &str, x: &Tensor, act| self.linear(layer, name, x, act);
        let norm =
            |x: &Tensor, residual, name: &str| self.norm(x, Some(residual), &format!("encoder.layer.{layer}.{name}"));
        let q = linear("attention.self.query", x, Activation::Identity)?;
        let k = linear("attention.self.key", x, Activation::Identity)?;
        let v = linear("attention.self.value", x, Activation::Identity)?;
        let mixed = self.attention(layer, &q, &k, &v, mask)?;
        let mixed =
            self.drop(&linear("attention.output.dense", &mixed, Activation::Identity)?, &["attention"], Some(layer))?;
        let a = norm(&mixed, x, "attention.output.LayerNorm")?;
        let f = self.drop(&self.feed_forward(layer, &a)?, &["output"], Some(layer))?;
        norm(&f, &a, "output.LayerNorm")
    }

    /// One vector for each row, `[B, H]`.
    pub(super) fn pool(&self, x: &Tensor, mask: &Tensor, pooling: Pooling, l2: bool) -> Result<Tensor> {
        let first = || x.narrow(1, 0, 1)?.squeeze(1);
        let pooled = match pooling {
            Pooling::Mean => ops::masked_mean_pool(x, mask)?,
            Pooling::Cls => first()?.contiguous()?,
            Pooling::Pooler => {
                let (w, b) = (self.param("pooler.dense.weight")?, self.param("pooler.dense.bias")?);
                ops::linear_act(&first()?.contiguous()?, &w, Some(&b), Activation::Tanh)?
            }
        };
        if !l2 {
            return Ok(pooled);
        }
        // The small term only matters for a zero vector, which it keeps at zero.
        let norm = (pooled.sqr()?.sum_keepdim(D::Minus1)? + 1e-24)?.sqrt()?;
        Ok(pooled.broadcast_div(&norm)?)
    }

    fn attention(&self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let heads = self.config.num_attention_heads;
        Ok(match self.dropout {
            Some(dropout) => {
                let key = site(&dropout.key, &["weights"], Some(layer));
                ops::attention_dropout(q, k, v, mask, heads, dropout.attention, &key)?
            }
            None => ops::attention(q, k, v, mask, heads)?,
        })
    }

    /// act(x·Wᵀ + b), or with an adapter act(x·Wᵀ + b + scaling·(x·Aᵀ)·Bᵀ).
    fn linear(&self, layer: usize, name: &str, x: &Tensor, act: Activation) -> Result<Tensor> {
        let full = format!("encoder.layer.{layer}.{name}");
        let (w, b) = (self.param(&format!("{full}.weight"))?, self.param(&format!("{full}.bias"))?);
        match self.adapters {
            Some(adapters) if adapters.linears.contains(&name) => {
                let (a, up) = (self.param(&format!("{full}.lora_a"))?, self.param(&format!("{full}.lora_b"))?);
                let y = ops::linear_lora(x, &w, Some(&b), &a, &up, adapters.scaling)?;
                Ok(ops::activation(&y, act)?)
            }
            _ => Ok(ops::linear_act(x, &w, Some(&b), act)?),
        }
    }

    fn feed_forward(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        const LINEARS: [&str; 2] = ["intermediate.dense", "output.dense"];
        let act = self.config.hidden_act;
        if self.adapters.is_some_and(|adapters| LINEARS.iter().any(|linear| adapters.linears.contains(linear))) {
            let hidden = self.linear(layer, LINEARS[0], x, act)?;
            return self.linear(layer, LINEARS[1], &hidden, Activation::Identity);
        }
        let param = |linear: &str, part: &str| self.param(&format!("encoder.layer.{layer}.{linear}.{part}"));
        let (w1, b1) = (param(LINEARS[0], "weight")?, param(LINEARS[0], "bias")?);
        let (w2, b2) = (param(LINEARS[1], "weight")?, param(LINEARS[1], "bias")?);
        Ok(ops::feed_forward(x, [&w1, &b1, &w2, &b2], act)?)
    }

    fn norm(&self, x: &Tensor, residual: Option<&Tensor>, name: &str) -> Result<Tensor> {
        let (gamma, beta) = (self.param(&format!("{name}.weight"))?, self.param(&format!("{name}.bias"))?);
        Ok(ops::layer_norm(x, residual, &gamma, &beta, self.config.layer_norm_eps)?)
    }

    fn drop(&self, x: &Tensor, path: &[&str], layer: Option<usize>) -> Result<Tensor> {
        match self.dropout {
            Some(dropout) => Ok(ops::dropout(x, dropout.hidden, &site(&dropout.key, path, layer))?),
            None => Ok(x.clone()),
        }
    }

    fn param(&self, canonical: &str) -> Result<Tensor> {
        let name = format!("{PREFIX}{canonical}");
        if self.graph { self.store.tensor(&name) } else { self.store.detached(&name) }
    }
}

/// Stream of one place in the equations.
fn site(key: &Seed, path: &[&str], layer: Option<usize>) -> Seed {
    let key = path.iter().fold(*key, |key, name| key.child(name));
    layer.map_or(key, |layer| key.index(layer as u64))
}
