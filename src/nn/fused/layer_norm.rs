//! Layer normalisation with the residual addition before it, and its backward pass.

use super::buffer::{Held, assume_init, hold, uninit};
use super::exp::{sum, sum2, vectorized};
use super::graph::{Backward, Grad, record};
use super::threads::for_each_chunk;
use candle_core::{Result, Tensor, bail};
use std::mem::MaybeUninit;

/// Fused form of [`crate::nn::ops::layer_norm`].
///
/// # Errors
/// If the shapes do not fit or a tensor is not F32 on the CPU.
pub fn layer_norm(x: &Tensor, residual: Option<&Tensor>, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(0);
    if width == 0 || gamma.dims() != [width] || beta.dims() != [width] {
        let (gamma, beta) = (gamma.dims(), beta.dims());
        bail!("layer_norm: input {:?}, gamma {gamma:?}, beta {beta:?}; all must end in the same width", x.dims());
    }
    if let Some(r) = residual
        && r.dims() != x.dims()
    {
        bail!("layer_norm: the input has shape {:?}, the residual {:?}", x.dims(), r.dims());
    }
    let (x, gamma, beta) = (x.contiguous()?, gamma.contiguous()?, beta.contiguous()?);
    let residual = residual.map(Tensor::contiguous).transpose()?;
    let (x_held, gamma_held, beta_held) = (hold(&x), hold(&gamma), hold(&beta));
    let residual_held = residual.as_ref().map(hold);
    let residual_values = residual_held.as_ref().map(Held::get).transpose()?;
    let (values, affine) = (x_held.get()?, [gamma_held.get()?, beta_held.get()?]);

    let mut y = uninit(values.len());
    let mut statistics = vec![[0.0; 2]; values.len() / width];
    let mut blocks: Vec<_> = y.chunks_mut(ROWS * width).zip(statistics.chunks_mut(ROWS)).collect();
    for_each_chunk(&mut blocks, 1, COST * values.len(), |i, block| {
        for (y, statistics) in block {
            let range = i * ROWS * width..i * ROWS * width + y.len();
            let residual = residual_values.map(|r| &r[range.clone()]);
            normalise(&values[range], residual, affine, eps as f32, y, statistics);
        }
    });
    // SAFETY: the blocks cover `y` in whole rows, and `normalise` writes every row.
    let y = unsafe { assume_init(y) };
    let inputs: Vec<&Tensor> = [Some(&x), Some(&gamma), Some(&beta), residual.as_ref()].into_iter().flatten().collect();
    record(LayerNorm { statistics }, &inputs, y, x.shape())
}

/// Rows per task. The gradients of gamma and beta are sums over such blocks, added in order.
const ROWS: usize = 32;
/// Scalar operations per value, for the decision to use several threads.
const COST: usize = 4;

struct LayerNorm {
    /// Mean and 1/√(variance + eps) of every row.
    statistics: Vec<[f32; 2]>,
}

impl Backward for LayerNorm {
    fn name(&self) -> &'static str {
        "fused-layer-norm"
    }

    fn backward(&self, inputs: &[Tensor], wanted: &[bool], mut grad: Vec<f32>) -> Result<Vec<Grad>> {
        let statistics = &self.statistics;
        let (x, gamma, residual) = (hold(&inputs[0]), hold(&inputs[1]), inputs.get(3).map(hold));
        let (x, gamma) = (x.get()?, gamma.get()?);
        let residual = residual.as_ref().map(Held::get).transpose()?;
        let width = gamma.len();
        let want_x = wanted[0] || wanted.get(3).is_some_and(|&wanted| wanted);
        let want_affine = wanted[1] || wanted[2];

        let mut partial = vec![0.0; if want_affine { statistics.len().div_ceil(ROWS) * 2 * width } else { 0 }];
        let mut partial_parts = partial.chunks_mut(2 * width);
        let mut parts: Vec<_> =
            grad.chunks_mut(ROWS * width).map(|grad| (grad, partial_parts.next().unwrap_or_default())).collect();
        let work = 2 * COST * x.len();
        for_each_chunk(&mut parts, 1, work, |i, part| {
            for (grad, partial) in part {
                let range = i * ROWS * width..i * ROWS * width + grad.len();
                let residual = residual.map(|r| &r[range.clone()]);
                block_backward(&x[range], residual, gamma, &statistics[i * ROWS..], grad, want_x, partial);
            }
        });
        let mut sums = super::linear::column_sums(&partial, 2 * width);
        let d_beta = sums.split_off(width);
        let own = |wanted: bool, grad| if wanted { Grad::Own(grad) } else { Grad::None };
        let mut grads = vec![own(want_x, grad), own(wanted[1], sums), own(wanted[2], d_beta)];
        if let Some(&wanted) = wanted.get(3) {
            // The sum gives both its terms the same gradient.
            grads.push(if wanted { Grad::SameAs(0) } else { Grad::None });
        }
        Ok(grads)
    }
}

vectorized! {
    /// Normalises whole rows; `statistics` has one entry a row.
    fn normalise<'a>(
        x: &'a [f32],
        residual: Option<&'a [f32]>,
        affine: [&'a [f32]; 2],
        eps: f32,
        y: &'a mut [MaybeUninit<f32>],
        statistics: &'a mut [[f32; 2]],
    ) {
        let [gamma, beta] = affine;
        let width = gamma.len();
        let mut row = vec![0.0f32; width];
        for (i, ((x, y), statistics)) in
            x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(statistics).enumerate()
        {
            match residual {
                Some(residual) => {
                    let residual = &residual[i * width..][..width];
                    for ((row, &x), &r) in row.iter_mut().zip(x).zip(residual) {
                        *row = x + r;
                    }
                }
                None => row.copy_from_slice(x),
            }
            let mean = sum(&row, |v| v) / width as f32;
            let variance = sum(&row, |v| (v - mean) * (v - mean)) / width as f32;
            let scale = 1.0 / (variance + eps).sqrt();
            for (((y, &v), &gamma), &beta) in y.iter_mut().zip(&row).zip(gamma).zip(beta) {
                y.write(((v - mean) * scale).mul_add(gamma, beta));
            }
            *statistics = [mean, scale];
        }
    }
}

vectorized! {
    /// Backward pass of whole rows. `grad` becomes the gradient of the sum before the normalisation if `want_x`;
    /// `d_affine` gets d gamma, then d beta, unless it is empty.
    fn block_backward<'a>(
        x: &'a [f32],
        residual: Option<&'a [f32]>,
        gamma: &'a [f32],
        statistics: &'a [[f32; 2]],
        grad: &'a mut [f32],
        want_x: bool,
        d_affine: &'a mut [f32],
    ) {
        let width = gamma.len();
        let mut normal = vec![0.0f32; width];
        for (i, (grad, &[mean, scale])) in grad.chunks_exact_mut(width).zip(statistics).enumerate() {
            let x = &x[i * width..][..width];
            match residual {
                Some(residual) => {
                    let residual = &residual[i * width..][..width];
                    for ((normal, &x), &r) in normal.iter_mut().zip(x).zip(residual) {
                        *normal = (x + r - mean) * scale;
                    }
                }
                None => {
                    for (normal, &x) in normal.iter_mut().zip(x) {
                        *normal = (x - mean) * scale;
                    }
                }
            }
            if !d_affine.is_empty() {
                let (d_gamma, d_beta) = d_affine.split_at_mut(width);
                for (((d_gamma, d_beta), &n), &grad) in d_gamma.iter_mut().zip(d_beta).zip(&normal).zip(&*grad) {
                    *d_gamma += grad * n;
                    *d_beta += grad;
                }
            }
            if want_x {
                for (grad, &gamma) in grad.iter_mut().zip(gamma) {
                    *grad *= gamma;
                }
                let mean_grad = sum(grad, |v| v) / width as f32;
                let mean_product = sum2(grad, &normal, |a, b| a * b) / width as f32;
                for (grad, &n) in grad.iter_mut().zip(&normal) {
                    *grad = scale * (*grad - mean_grad - n * mean_product);
                }
            }
        }
    }
}
