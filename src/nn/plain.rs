//! The plain form of every operation in [`super::ops`]: compositions of candle operations that carry a gradient.
//!
//! They are the oracle that fused kernels are tested against, and what runs where no kernel exists. Contracts are
//! documented in [`super::ops`].

#![allow(missing_docs, clippy::missing_errors_doc, reason = "documented once, at the dispatch point")]

mod by_rule;

use super::ops::Activation;
use crate::rng::Seed;
use candle_core::{D, DType, Result, Tensor, bail};
use rand_chacha::rand_core::Rng;

pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let (out, inputs) = w.dims2()?;
    let mut shape = x.dims().to_vec();
    if shape.pop() != Some(inputs) {
        bail!("linear: the input has shape {:?}, the weight {:?}; the last axes must agree", x.dims(), w.dims());
    }
    shape.push(out);
    // One product over all leading axes: candle would run a batched product row block by row block.
    let y = x.reshape(((), inputs))?.matmul(&w.t()?)?;
    let y = match b {
        Some(b) => y.broadcast_add(b)?,
        None => y,
    };
    y.reshape(shape)
}

pub fn linear_act(x: &Tensor, w: &Tensor, b: Option<&Tensor>, act: Activation) -> Result<Tensor> {
    activation(&linear(x, w, b)?, act)
}

pub fn linear_lora(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    down: &Tensor,
    up: &Tensor,
    scaling: f64,
) -> Result<Tensor> {
    linear(x, w, b)?.add(&(linear(&linear(x, down, None)?, up, None)? * scaling)?)
}

pub fn activation(x: &Tensor, act: Activation) -> Result<Tensor> {
    match act {
        Activation::Gelu => gelu_erf(x),
        Activation::GeluTanh => gelu_tanh(x),
        Activation::Relu => x.relu(),
        Activation::Tanh => x.tanh(),
        Activation::Identity => Ok(x.clone()),
    }
}

/// Written out: the backward pass of candle's own `gelu_erf` has constants of six digits.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    let cdf = (((x / std::f64::consts::SQRT_2)?.erf()? + 1.0)? * 0.5)?;
    x.mul(&cdf)
}

/// Written out for the same reason as [`gelu_erf`].
fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    let inner = ((x.mul(&x.sqr()?)? * 0.044_715)?.add(x)? * (2.0 / std::f64::consts::PI).sqrt())?;
    x.mul(&((inner.tanh()? + 1.0)? * 0.5)?)
}

pub fn layer_norm(x: &Tensor, residual: Option<&Tensor>, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Tensor> {
    let x = match residual {
        Some(residual) => x.add(residual)?,
        None => x.clone(),
    };
    if !x.device().is_cpu() {
        return layer_norm_on_gpu(&x, gamma, beta, eps);
    }
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)?.broadcast_mul(gamma)?.broadcast_add(beta)
}

/// candle's kernel, which has no backward pass, and the derivative written out: z = (x − mean)/σ, and with h = γ·dy the
/// gradients are dx = (h − mean h − z·mean(h·z))/σ, dγ = Σ dy·z, dβ = Σ dy.
fn layer_norm_on_gpu(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Tensor> {
    let x = x.contiguous()?;
    #[allow(clippy::disallowed_methods, reason = "its backward pass is given below")]
    let value = candle_nn::ops::layer_norm(&x.detach(), &gamma.detach(), &beta.detach(), eps as f32)?;
    by_rule::of_three([&x, gamma, beta], value, LayerNorm { eps })
}

struct LayerNorm {
    eps: f64,
}

impl by_rule::Rule3 for LayerNorm {
    fn gradients(&self, [x, gamma, beta]: [&Tensor; 3], grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let rows = x.elem_count() / x.dim(D::Minus1)?;
        let flat = |t: &Tensor| t.detach().reshape((rows, ()));
        let (shape, grad) = (x.dims(), flat(grad)?);
        let centred = flat(x)?;
        let centred = centred.broadcast_sub(&centred.mean_keepdim(1)?)?;
        let inverse = (centred.sqr()?.mean_keepdim(1)? + self.eps)?.sqrt()?.recip()?;
        let z = centred.broadcast_mul(&inverse)?;
        let of_x = |h: Tensor| {
            let along = z.broadcast_mul(&h.mul(&z)?.mean_keepdim(1)?)?;
            h.broadcast_sub(&h.mean_keepdim(1)?)?.sub(&along)?.broadcast_mul(&inverse)?.reshape(shape)
        };
        let wanted = |t: &Tensor, of: &dyn Fn() -> Result<Tensor>| if t.track_op() { of().map(Some) } else { Ok(None) };
        Ok([
            wanted(x, &|| of_x(grad.broadcast_mul(&gamma.detach())?))?,
            wanted(gamma, &|| grad.mul(&z)?.sum(0))?,
            wanted(beta, &|| grad.sum(0))?,
        ])
    }
}

pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor, heads: usize) -> Result<Tensor> {
    attention_with(q, k, v, mask, heads, Ok)
}

pub fn attention_dropout(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Tensor,
    heads: usize,
    p: f64,
    key: &Seed,
) -> Result<Tensor> {
    attention_with(q, k, v, mask, heads, |weights| dropout(&weights, p, key))
}

fn attention_with(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: &Tensor,
    heads: usize,
    on_weights: impl FnOnce(Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (rows, tokens, width) = q.dims3()?;
    if heads == 0 || !width.is_multiple_of(heads) {
        bail!("attention: {heads} heads do not divide a width of {width}");
    }
    let split = |x: &Tensor| x.reshape((rows, tokens, heads, width / heads))?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (split(q)?, split(k)?, split(v)?);
    let scores = (q.matmul(&k.t()?)? / ((width / heads) as f64).sqrt())?;
    // f32::MIN instead of −∞: the weight becomes exactly 0 and no NaN can arise.
    let bias = mask.detach().affine(-f64::from(f32::MIN), f64::from(f32::MIN))?.reshape((rows, 1, 1, tokens))?;
    let weights = on_weights(softmax(&scores.broadcast_add(&bias)?)?)?;
    weights.matmul(&v)?.transpose(1, 2)?.reshape((rows, tokens, width))
}

pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let mut shape = ids.dims().to_vec();
    shape.push(table.dim(1)?);
    table.index_select(&ids.flatten_all()?, 0)?.reshape(shape)
}

pub fn embedding_sum(
    words: &Tensor,
    positions: &Tensor,
    segments: &Tensor,
    ids: &Tensor,
    segment_ids: &Tensor,
) -> Result<Tensor> {
    let (_, tokens) = ids.dims2()?;
    let positions = positions.narrow(0, 0, tokens)?.unsqueeze(0)?;
    embedding(words, ids)?.broadcast_add(&positions)?.add(&embedding(segments, segment_ids)?)
}

pub fn masked_mean_pool(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let mask = mask.detach().unsqueeze(2)?;
    let totals = mask.sum(1)?;
    let counts = totals.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    // Without a token the mean would be 0/0.
    if let Some(number) = counts.iter().position(|total| total.is_nan() || *total <= 0.0) {
        bail!("masked_mean_pool: row {number} is all padding; every row needs at least one token");
    }
    x.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&totals)
}

pub fn softmax(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return softmax_on_gpu(x);
    }
    let exp = shifted(x)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// candle's kernel, which has no backward pass, and the derivative y·(dy − Σ dy·y).
fn softmax_on_gpu(x: &Tensor) -> Result<Tensor> {
    #[allow(clippy::disallowed_methods, reason = "its backward pass is given here")]
    let value = candle_nn::ops::softmax_last_dim(&x.detach().contiguous()?)?;
    by_rule::of_one(x, value, |y, grad| {
        let weighted = grad.mul(y)?;
        weighted.sub(&y.broadcast_mul(&weighted.sum_keepdim(D::Minus1)?)?)
    })
}

pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = shifted(x)?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// x minus its largest entry. The shift cancels in what follows, so no gradient passes through it.
fn shifted(x: &Tensor) -> Result<Tensor> {
    x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)
}

pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    log_softmax(logits)?.gather(&labels.unsqueeze(1)?, 1)?.mean_all()?.neg()
}

pub fn bce_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    // candle's relu'(0) = abs'(0) = 1 add up to the right derivative at 0, namely 1/2 − t.
    let soft = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    logits.relu()?.sub(&logits.mul(targets)?)?.add(&soft)
}

pub fn dropout(x: &Tensor, p: f64, key: &Seed) -> Result<Tensor> {
    if !(0.0..1.0).contains(&p) {
        bail!("dropout: a probability of {p} is not in [0, 1)");
    }
    let scale = (1.0 / (1.0 - p)) as f32;
    let dropped_below = (p * 2f64.powi(32)) as u64;
    // ChaCha is a counter generator: word i of the stream belongs to entry i.
    let mut rng = key.rng();
    let mask: Vec<f32> =
        (0..x.elem_count()).map(|_| if u64::from(rng.next_u32()) < dropped_below { 0.0 } else { scale }).collect();
    x.mul(&Tensor::from_vec(mask, x.dims(), x.device())?)
}

#[cfg(test)]
mod tests;
