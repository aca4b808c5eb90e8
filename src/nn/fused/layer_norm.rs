//! Layer normalisation with the residual addition before it, and its backward pass.

use super::buffer::{Held, assume_init, hold, uninit, values};
use super::exp::{sum, sum2, vectorized};
use super::threads::for_each_chunk;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

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
    // One tensor, since an operation takes three at most. It is two rows, so this costs nothing.
    let affine = Tensor::stack(&[gamma, beta], 0)?;
    let op = LayerNorm { width, eps: eps as f32, statistics: OnceLock::new() };
    match residual {
        Some(r) if r.dims() != x.dims() => {
            bail!("layer_norm: the input has shape {:?}, the residual {:?}", x.dims(), r.dims())
        }
        Some(residual) => x.contiguous()?.apply_op3(&residual.contiguous()?, &affine, op),
        None => x.contiguous()?.apply_op2(&affine, op),
    }
}

/// Rows per task. The gradients of gamma and beta are sums over such blocks, added in order.
const ROWS: usize = 32;
/// Scalar operations per value, for the decision to use several threads.
const COST: usize = 4;

struct LayerNorm {
    width: usize,
    eps: f32,
    /// Mean and 1/√(variance + eps) of every row.
    statistics: OnceLock<Vec<[f32; 2]>>,
}

impl LayerNorm {
    fn forward(&self, x: &[f32], residual: Option<&[f32]>, affine: &[f32], shape: &Shape) -> (CpuStorage, Shape) {
        let width = self.width;
        let mut y = uninit(x.len());
        let mut statistics = vec![[0.0; 2]; x.len() / width];
        let mut blocks: Vec<_> = y.chunks_mut(ROWS * width).zip(statistics.chunks_mut(ROWS)).collect();
        for_each_chunk(&mut blocks, 1, COST * x.len(), |i, block| {
            let first = i * ROWS * width;
            for (y, statistics) in block {
                let residual = residual.map(|r| &r[first..][..y.len()]);
                normalise(&x[first..][..y.len()], residual, affine, self.eps, y, statistics);
            }
        });
        // The operation is made for one call, so the cell is empty; were it not, the values would be the same.
        self.statistics.get_or_init(|| statistics);
        // SAFETY: the blocks cover `y` in whole rows, and `normalise` writes every row.
        (CpuStorage::F32(unsafe { assume_init(y) }), shape.clone())
    }

    /// The gradient of the normalised sum, and of gamma and beta as two rows; each only if wanted.
    fn backward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        affine: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(statistics) = self.statistics.get() else { bail!("layer_norm: backward without a forward pass") };
        let grad = grad.contiguous()?;
        let (x_held, affine_held, grad_held) = (hold(x), hold(affine), hold(&grad));
        let residual_held = residual.map(hold);
        let residual_values = residual_held.as_ref().map(Held::get).transpose()?;
        let (x_values, dy) = (x_held.get()?, grad_held.get()?);
        let gamma = &affine_held.get()?[..self.width];

        let want_x = x.track_op() || residual.is_some_and(Tensor::track_op);
        let blocks = statistics.len().div_ceil(ROWS);
        let mut dx = uninit(if want_x { dy.len() } else { 0 });
        let mut partial = vec![0.0; if affine.track_op() { blocks * 2 * self.width } else { 0 }];
        {
            let mut dx_parts = dx.chunks_mut(ROWS * self.width);
            let mut partial_parts = partial.chunks_mut(2 * self.width);
            let mut parts: Vec<_> = (0..blocks)
                .map(|_| (dx_parts.next().unwrap_or_default(), partial_parts.next().unwrap_or_default()))
                .collect();
            for_each_chunk(&mut parts, 1, 2 * COST * dy.len(), |i, part| {
                let statistics = &statistics[i * ROWS..statistics.len().min((i + 1) * ROWS)];
                let range = i * ROWS * self.width..(i * ROWS + statistics.len()) * self.width;
                let residual = residual_values.map(|r| &r[range.clone()]);
                for (dx, partial) in part {
                    block_backward(
                        &x_values[range.clone()],
                        residual,
                        &dy[range.clone()],
                        gamma,
                        statistics,
                        dx,
                        partial,
                    );
                }
            });
        }
        // SAFETY: if wanted, the parts cover `dx` in whole rows and every row is written; else it is empty.
        let dx = unsafe { assume_init(dx) };
        let dx = if want_x { Some(Tensor::from_vec(dx, x.shape(), x.device())?) } else { None };
        let d_affine = if affine.track_op() {
            let sums = super::linear::column_sums(&partial, 2 * self.width);
            Some(Tensor::from_vec(sums, affine.shape(), affine.device())?)
        } else {
            None
        };
        Ok((dx, d_affine))
    }
}

impl CustomOp2 for LayerNorm {
    fn name(&self) -> &'static str {
        "fused-layer-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, a: &CpuStorage, la: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(values(x, lx)?, None, values(a, la)?, lx.shape()))
    }

    fn bwd(&self, x: &Tensor, affine: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.backward(x, None, affine, grad)
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "fused-residual-layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        r: &CpuStorage,
        lr: &Layout,
        a: &CpuStorage,
        la: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(self.forward(values(x, lx)?, Some(values(r, lr)?), values(a, la)?, lx.shape()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        residual: &Tensor,
        affine: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, d_affine) = self.backward(x, Some(residual), affine, grad)?;
        // The sum gives both its terms the same gradient.
        let of = |t: &Tensor| if t.track_op() { dx.clone() } else { None };
        Ok((of(x), of(residual), d_affine))
    }
}

vectorized! {
    /// Normalises whole rows; `affine` is gamma, then beta, and `statistics` has one entry a row.
    fn normalise<'a>(
        x: &'a [f32],
        residual: Option<&'a [f32]>,
        affine: &'a [f32],
        eps: f32,
        y: &'a mut [MaybeUninit<f32>],
        statistics: &'a mut [[f32; 2]],
    ) {
        let width = affine.len() / 2;
        let (gamma, beta) = affine.split_at(width);
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
    /// Backward pass of whole rows. An empty `dx` or `d_affine` is not wanted; `d_affine` gets d gamma, then d beta.
    fn block_backward<'a>(
        x: &'a [f32],
        residual: Option<&'a [f32]>,
        dy: &'a [f32],
        gamma: &'a [f32],
        statistics: &'a [[f32; 2]],
        dx: &'a mut [MaybeUninit<f32>],
        d_affine: &'a mut [f32],
    ) {
        let width = gamma.len();
        let mut normal = vec![0.0f32; width];
        let mut scaled = vec![0.0f32; width];
        for (i, (dy, &[mean, scale])) in dy.chunks_exact(width).zip(statistics).enumerate() {
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
                for (((d_gamma, d_beta), &n), &dy) in d_gamma.iter_mut().zip(d_beta).zip(&normal).zip(dy) {
                    *d_gamma += dy * n;
                    *d_beta += dy;
                }
            }
            if !dx.is_empty() {
                for ((scaled, &dy), &gamma) in scaled.iter_mut().zip(dy).zip(gamma) {
                    *scaled = dy * gamma;
                }
                let mean_grad = sum(&scaled, |v| v) / width as f32;
                let mean_product = sum2(&scaled, &normal, |a, b| a * b) / width as f32;
                for ((dx, &g), &n) in dx[i * width..][..width].iter_mut().zip(&scaled).zip(&normal) {
                    dx.write(scale * (g - mean_grad - n * mean_product));
                }
            }
        }
    }
}
