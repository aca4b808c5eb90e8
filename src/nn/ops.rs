//! The one place that decides which form of an operation runs.
//!
//! Callers never see whether a fused kernel or the plain form ([`super::plain`]) does the work. All operations are
//! differentiable in every floating-point input. Shapes are written in brackets; tensors are F32 unless said
//! otherwise, and results live on the device of the inputs.

use super::{fused, plain};
use crate::rng::Seed;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// Elementwise non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// z/2·(1 + erf(z/√2)).
    Gelu,
    /// z/2·(1 + tanh(√(2/π)·(z + 0.044715·z³))).
    GeluTanh,
    /// max(z, 0).
    Relu,
    /// tanh(z).
    Tanh,
    /// z.
    Identity,
}

/// x·Wᵀ + b with `x` `[.., in]`, `w` `[out, in]`, `b` `[out]`; gives `[.., out]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    if fused::supports(&[x, w]) { fused::linear(x, w, b) } else { plain::linear(x, w, b) }
}

/// [`linear`], then `act`.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear_act(x: &Tensor, w: &Tensor, b: Option<&Tensor>, act: Activation) -> Result<Tensor> {
    if fused::supports(&[x, w]) { fused::linear_act(x, w, b, act) } else { plain::linear_act(x, w, b, act) }
}

/// act(x·W₁ᵀ + b₁)·W₂ᵀ + b₂ with `x` `[.., in]` and the parameters W₁ `[hidden, in]`, b₁ `[hidden]`, W₂ `[out, hidden]`,
/// b₂ `[out]` in this order; gives `[.., out]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn feed_forward(x: &Tensor, params: [&Tensor; 4], act: Activation) -> Result<Tensor> {
    let [w1, b1, w2, b2] = params;
    // Where W₂ is not trained, nobody needs the hidden values again, and to keep the derivative alone is cheaper.
    if fused::supports(&[x, w1, b1, w2, b2]) && w2.track_op() {
        fused::feed_forward(x, params, act)
    } else {
        linear(&linear_act(x, w1, Some(b1), act)?, w2, Some(b2))
    }
}

/// x·Wᵀ + b + scaling·(x·Aᵀ)·Bᵀ with `x` `[.., in]`, `w` `[out, in]`, `b` `[out]`, `down` = A `[rank, in]` and `up` = B
/// `[out, rank]` (Hu et al., 2021); gives `[.., out]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear_lora(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    down: &Tensor,
    up: &Tensor,
    scaling: f64,
) -> Result<Tensor> {
    let base_trained = w.track_op() || b.is_some_and(Tensor::track_op);
    if fused::supports(&[x, w, down, up]) && !base_trained {
        fused::linear_lora(x, w, b, down, up, scaling)
    } else {
        plain::linear_lora(x, w, b, down, up, scaling)
    }
}

/// `act` alone.
///
/// # Errors
/// If the tensor operation fails.
pub fn activation(x: &Tensor, act: Activation) -> Result<Tensor> {
    if fused::supports(&[x]) { fused::activation(x, act) } else { plain::activation(x, act) }
}

/// GELU in its erf form, any shape.
///
/// # Errors
/// If the tensor operation fails.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    activation(x, Activation::Gelu)
}

/// (z − mean)/√(var + eps)·γ + β over the last axis with z = x (+ residual); biased variance. `x` `[.., width]`,
/// `residual` of the same shape, `gamma` and `beta` `[width]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn layer_norm(x: &Tensor, residual: Option<&Tensor>, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Tensor> {
    if fused::supports(&[x, gamma, beta]) {
        fused::layer_norm(x, residual, gamma, beta, eps)
    } else {
        plain::layer_norm(x, residual, gamma, beta, eps)
    }
}

/// Scaled dot-product attention, softmax(q·kᵀ/√d + (1 − mask)·`f32::MIN`)·v for each head; `q`, `k`, `v`
/// `[rows, tokens, width]`, `mask` `[rows, tokens]` over the keys (1 to attend, 0 not to); gives
/// `[rows, tokens, width]`. `heads` divides the width.
///
/// # Errors
/// If the shapes do not fit.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor, heads: usize) -> Result<Tensor> {
    if fused::supports(&[q, k, v, mask]) {
        fused::attention(q, k, v, mask, heads)
    } else {
        plain::attention(q, k, v, mask, heads)
    }
}

/// [`attention`] with inverted dropout of probability `p` on the attention weights; see [`dropout`].
///
/// # Errors
/// If the shapes do not fit or `p` is not in [0, 1).
pub fn attention_dropout(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Tensor,
    heads: usize,
    p: f64,
    key: &Seed,
) -> Result<Tensor> {
    if p == 0.0 {
        attention(q, k, v, mask, heads)
    } else if fused::supports(&[q, k, v, mask]) {
        fused::attention_dropout(q, k, v, mask, heads, p, key)
    } else {
        plain::attention_dropout(q, k, v, mask, heads, p, key)
    }
}

/// Rows of `table` `[rows, width]` by `ids` (U32, any shape `[..]`); gives `[.., width]`.
///
/// # Errors
/// If an id is outside the table.
pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    if fused::supports(&[table]) { fused::embedding(table, ids) } else { plain::embedding(table, ids) }
}

/// Σ of three embeddings for each token: `words` `[vocabulary, width]` by `ids`, `positions` `[places, width]` by the
/// place in the row, counted from 0, `segments` `[kinds, width]` by `segment_ids`. Both id tensors are U32
/// `[rows, tokens]`; gives `[rows, tokens, width]`.
///
/// # Errors
/// If the shapes do not fit or an id is outside its table.
pub fn embedding_sum(
    words: &Tensor,
    positions: &Tensor,
    segments: &Tensor,
    ids: &Tensor,
    segment_ids: &Tensor,
) -> Result<Tensor> {
    if fused::supports(&[words, positions, segments]) {
        fused::embedding_sum(words, positions, segments, ids, segment_ids)
    } else {
        plain::embedding_sum(words, positions, segments, ids, segment_ids)
    }
}

/// Σ mask·x / Σ mask over the tokens; `x` `[rows, tokens, width]`, `mask` `[rows, tokens]` of 1 and 0 with at least
/// one 1 in a row; gives `[rows, width]`.
///
/// # Errors
/// If the shapes do not fit.
pub fn masked_mean_pool(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    if fused::supports(&[x, mask]) { fused::masked_mean_pool(x, mask) } else { plain::masked_mean_pool(x, mask) }
}

/// x − ln Σ exp x over the last axis, for any finite or `f32::MIN` entries.
///
/// # Errors
/// If the tensor operation fails.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    if fused::supports(&[x]) { fused::log_softmax(x) } else { plain::log_softmax(x) }
}

/// exp of [`log_softmax`], differentiable (candle's `softmax_last_dim` is not).
///
/// # Errors
/// If the tensor operation fails.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if fused::supports(&[x]) { fused::softmax(x) } else { plain::softmax(x) }
}

/// Mean over the rows of −log softmax(logits) at the label; `logits` `[rows, classes]`, `labels` `[rows]` U32; a scalar.
///
/// # Errors
/// If the shapes do not fit or a label is outside the classes.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    if fused::supports(&[logits]) { fused::cross_entropy(logits, labels) } else { plain::cross_entropy(logits, labels) }
}

/// Elementwise binary cross entropy, max(x, 0) − x·t + ln(1 + exp(−|x|)), finite for any finite logit. The caller
/// reduces it. `targets` has the shape of `logits`.
///
/// # Errors
/// If the shapes do not fit.
pub fn bce_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if fused::supports(&[logits, targets]) {
        fused::bce_with_logits(logits, targets)
    } else {
        plain::bce_with_logits(logits, targets)
    }
}

/// `part(x)`, whose activations are computed again in the backward pass instead of being kept: memory for time. `params`
/// are the variables that `part` uses. Values and gradients have the bits of `part` itself. Elsewhere than on the CPU
/// the activations are kept.
///
/// # Errors
/// If `part` fails.
pub fn recompute(x: &Tensor, params: &[Tensor], part: fused::Part) -> Result<Tensor> {
    if fused::supports(&[x]) { fused::recompute(x, params, part) } else { part(x) }
}

/// Inverted dropout: each entry is zero with probability `p`, else scaled by 1/(1 − p). The mask is a function of
/// `key` and the position alone, so the same key gives the same mask in any thread, now and later.
///
/// # Errors
/// If `p` is not in [0, 1).
pub fn dropout(x: &Tensor, p: f64, key: &Seed) -> Result<Tensor> {
    if p == 0.0 {
        Ok(x.clone())
    } else if fused::supports(&[x]) {
        fused::dropout(x, p, key)
    } else {
        plain::dropout(x, p, key)
    }
}
