//! x·Wᵀ + b with an optional activation, and its backward pass.

use super::buffer::{assume_init, hold, uninit, values};
use super::exp::vectorized;
use super::gelu;
use super::matmul::{Matrix, matmul};
use super::threads::{for_each_chunk, for_each_chunk2};
use super::vars;
use crate::nn::ops::Activation;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// Fused form of [`crate::nn::ops::linear`].
///
/// # Errors
/// If the shapes do not fit or a tensor is not F32 on the CPU.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    linear_act(x, w, b, Activation::Identity)
}

/// Fused form of [`crate::nn::ops::linear_act`].
///
/// # Errors
/// If the shapes do not fit or a tensor is not F32 on the CPU.
pub fn linear_act(x: &Tensor, w: &Tensor, b: Option<&Tensor>, act: Activation) -> Result<Tensor> {
    let (outputs, inputs) = w.dims2()?;
    if x.dims().last() != Some(&inputs) {
        bail!("linear: the input has shape {:?}, the weight {:?}; the last axes must agree", x.dims(), w.dims());
    }
    if let Some(b) = b
        && b.dims() != [outputs]
    {
        bail!("linear: the bias has shape {:?}, the weight {:?}; one bias per row of the weight", b.dims(), w.dims());
    }
    let tracked = x.track_op() || w.track_op() || b.is_some_and(Tensor::track_op);
    let op = Linear { act, keep_slope: tracked && act != Activation::Identity, slope: OnceLock::new() };
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    match b {
        Some(b) => x.apply_op3(&w, &b.contiguous()?, op),
        None => x.apply_op2(&w, op),
    }
}

struct Linear {
    act: Activation,
    /// Whether a backward pass may follow that needs the derivative of the activation.
    keep_slope: bool,
    /// act'(z) for every output. Kept instead of z: both come out of the same exponential, and the backward pass is
    /// then one multiplication.
    slope: OnceLock<Vec<f32>>,
}

impl Linear {
    fn forward(&self, x: &[f32], layout: &Layout, w: &[f32], w_shape: &Layout, b: Option<&[f32]>) -> Result<Output> {
        let (outputs, inputs) = w_shape.shape().dims2()?;
        let rows = x.len().checked_div(inputs).unwrap_or(0);
        let mut dims = layout.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = outputs;
        }
        let mut y = uninit(rows * outputs);
        matmul(&mut y, Matrix::new(x, rows, inputs), Matrix::new(w, outputs, inputs).t());
        // SAFETY: a product writes every element of its output.
        let mut y = unsafe { assume_init(y) };
        if b.is_some() || self.act != Activation::Identity {
            self.finish(&mut y, outputs, b);
        }
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    /// Adds the bias and applies the activation, in place.
    fn finish(&self, y: &mut [f32], outputs: usize, b: Option<&[f32]>) {
        if outputs == 0 {
            return;
        }
        let zeros = if b.is_none() { vec![0.0; outputs] } else { Vec::new() };
        let bias = b.unwrap_or(&zeros);
        // Whole rows of about `CHUNK` values.
        let chunk = gelu::CHUNK.div_ceil(outputs) * outputs;
        let cost = if self.act == Activation::Identity { 1 } else { gelu::COST };
        let work = y.len() * cost;
        if self.keep_slope {
            let mut slope = uninit(y.len());
            for_each_chunk2(y, &mut slope, chunk, work, |_, y, slope| gelu::with_slope(self.act, y, bias, slope));
            // SAFETY: the chunks cover `slope` in whole rows, and every row is written.
            let slope = unsafe { assume_init(slope) };
            // The operation is made for one call, so the cell is empty; were it not, the values would be the same.
            self.slope.get_or_init(|| slope);
        } else {
            for_each_chunk(y, chunk, work, |_, y| gelu::in_place(self.act, y, bias));
        }
    }

    /// The gradients of `x`, `w` and the bias, each only if it is wanted.
    fn backward(&self, x: &Tensor, w: &Tensor, b: Option<&Tensor>, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let (outputs, inputs) = w.dims2()?;
        let grad = grad.contiguous()?;
        let grad_values = hold(&grad);
        let dz = self.before_activation(grad_values.get()?)?;
        let dz = dz.as_deref().map_or_else(|| grad_values.get(), Ok)?;
        let rows = dz.len().checked_div(outputs).unwrap_or(0);
        let dx = if x.track_op() {
            let mut dx = uninit(rows * inputs);
            matmul(&mut dx, Matrix::new(dz, rows, outputs), Matrix::new(hold(w).get()?, outputs, inputs));
            // SAFETY: a product writes every element of its output.
            Some(Tensor::from_vec(unsafe { assume_init(dx) }, x.shape(), x.device())?)
        } else {
            None
        };
        let dw = if w.track_op() {
            let mut dw = uninit(outputs * inputs);
            let (dz, x) = (Matrix::new(dz, rows, outputs), hold(x));
            matmul(&mut dw, dz.t(), Matrix::new(x.get()?, rows, inputs));
            // SAFETY: a product writes every element of its output.
            vars::deliver(w, unsafe { assume_init(dw) })?
        } else {
            None
        };
        let db = match b {
            Some(b) if b.track_op() => vars::deliver(b, column_sums(dz, outputs))?,
            _ => None,
        };
        Ok([dx, dw, db])
    }

    /// The gradient before the activation; `None` if that is the gradient itself.
    fn before_activation(&self, dy: &[f32]) -> Result<Option<Vec<f32>>> {
        if self.act == Activation::Identity {
            return Ok(None);
        }
        let Some(slope) = self.slope.get() else { bail!("linear: backward without a tracked forward pass") };
        let mut dz = uninit(dy.len());
        for_each_chunk(&mut dz, gelu::CHUNK, dy.len(), |i, out| {
            let range = i * gelu::CHUNK..i * gelu::CHUNK + out.len();
            multiply(&dy[range.clone()], &slope[range], out);
        });
        // SAFETY: the chunks cover `dz`, and `multiply` writes every element of a chunk.
        Ok(Some(unsafe { assume_init(dz) }))
    }
}

type Output = (CpuStorage, Shape);

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "fused-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<Output> {
        self.forward(values(x, lx)?, lx, values(w, lw)?, lw, None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, _] = self.backward(x, w, None, grad)?;
        Ok((dx, dw))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "fused-linear-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<Output> {
        self.forward(values(x, lx)?, lx, values(w, lw)?, lw, Some(values(b, lb)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dw, db] = self.backward(x, w, Some(b), grad)?;
        Ok((dx, dw, db))
    }
}

vectorized! {
    fn multiply<'a>(a: &'a [f32], b: &'a [f32], out: &'a mut [MaybeUninit<f32>]) {
        for ((&a, &b), out) in a.iter().zip(b).zip(out) {
            out.write(a * b);
        }
    }
}

/// Columns per task of [`column_sums`]: eight AVX-512 registers.
const COLUMNS: usize = 128;
/// Rows that are summed before the partial sum is added to the total, which keeps the rounding error small.
const ROWS: usize = 64;

/// Σ over the rows of a row-major matrix with `cols` columns. A column is always summed in the same order.
pub(super) fn column_sums(matrix: &[f32], cols: usize) -> Vec<f32> {
    let mut sums = vec![0.0; cols];
    for_each_chunk(&mut sums, COLUMNS, matrix.len(), |i, sums| add_columns(matrix, cols, i * COLUMNS, sums));
    sums
}

vectorized! {
    /// Adds the columns from `first` on to `sums`.
    fn add_columns<'a>(matrix: &'a [f32], cols: usize, first: usize, sums: &'a mut [f32]) {
        let width = sums.len();
        for block in matrix.chunks(ROWS * cols) {
            let mut partial = [0.0f32; COLUMNS];
            for row in block.chunks_exact(cols) {
                for (partial, &value) in partial.iter_mut().zip(&row[first..first + width]) {
                    *partial += value;
                }
            }
            for (sum, partial) in sums.iter_mut().zip(partial) {
                *sum += partial;
            }
        }
    }
}
