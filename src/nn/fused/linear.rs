//! x·Wᵀ + b with an optional activation, and its backward pass.

use super::buffer::{assume_init, hold, uninit};
use super::exp::vectorized;
use super::gelu;
use super::graph::{Backward, Grad, record};
use super::matmul::{Matrix, matmul};
use super::threads::{for_each_chunk, for_each_chunk2};
use crate::nn::ops::Activation;
use candle_core::{Result, Tensor, bail};

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
    let (x, w, b) = (x.contiguous()?, w.contiguous()?, b.map(Tensor::contiguous).transpose()?);
    let mut shape = x.dims().to_vec();
    shape.pop();
    let rows = shape.iter().product();
    shape.push(outputs);

    let mut y =
        product(Matrix::new(hold(&x).get()?, rows, inputs), Matrix::new(hold(&w).get()?, outputs, inputs).t(), 1.0);
    let held = b.as_ref().map(hold);
    let bias = held.as_ref().map(|b| b.get()).transpose()?;
    let slope = finish(&mut y, outputs, bias, act, tracked);
    let inputs: Vec<&Tensor> = [Some(&x), Some(&w), b.as_ref()].into_iter().flatten().collect();
    record(Linear { slope }, &inputs, y, shape)
}

/// scale·a·b as a new matrix.
pub(super) fn product(a: Matrix, b: Matrix, scale: f32) -> Vec<f32> {
    let mut out = uninit(a.rows() * b.cols());
    matmul(&mut out, a, b, scale);
    // SAFETY: a product writes every element of its output.
    unsafe { assume_init(out) }
}

/// Adds the bias and applies the activation, in place. Gives its derivative if that is wanted and not 1.
pub(super) fn finish(
    y: &mut [f32],
    outputs: usize,
    bias: Option<&[f32]>,
    act: Activation,
    slope: bool,
) -> Option<Vec<f32>> {
    if outputs == 0 || (bias.is_none() && act == Activation::Identity) {
        return None;
    }
    let zeros = if bias.is_none() { vec![0.0; outputs] } else { Vec::new() };
    let bias = bias.unwrap_or(&zeros);
    // Whole rows of about `CHUNK` values.
    let chunk = gelu::CHUNK.div_ceil(outputs) * outputs;
    let work = y.len() * if act == Activation::Identity { 1 } else { gelu::COST };
    if act == Activation::Identity || !slope {
        for_each_chunk(y, chunk, work, |_, y| gelu::in_place(act, y, bias));
        return None;
    }
    let mut slope = uninit(y.len());
    for_each_chunk2(y, &mut slope, chunk, work, |_, y, slope| gelu::with_slope(act, y, bias, slope));
    // SAFETY: the chunks cover `slope` in whole rows, and every row is written.
    Some(unsafe { assume_init(slope) })
}

struct Linear {
    /// act'(z) for every output, if it is not 1. Kept instead of z: both come out of the same exponential, and the
    /// backward pass is then one multiplication.
    slope: Option<Vec<f32>>,
}

impl Backward for Linear {
    fn name(&self) -> &'static str {
        "fused-linear"
    }

    fn reads(&self, input: usize, wanted: &[bool]) -> bool {
        match input {
            0 => wanted[1],
            1 => wanted[0],
            _ => false,
        }
    }

    /// dx = dz·W, dW = dzᵀ·x, db = Σ dz over the rows.
    fn backward(&self, inputs: &[Tensor], wanted: &[bool], mut grad: Vec<f32>) -> Result<Vec<Grad>> {
        if let Some(slope) = &self.slope {
            gelu::scale(&mut grad, slope);
        }
        let (outputs, width) = inputs[1].dims2()?;
        let rows = grad.len().checked_div(outputs).unwrap_or(0);
        let dz = Matrix::new(&grad, rows, outputs);
        let mut grads = vec![Grad::None, Grad::None];
        if wanted[0] {
            grads[0] = Grad::Own(product(dz, Matrix::new(hold(&inputs[1]).get()?, outputs, width), 1.0));
        }
        if wanted[1] {
            grads[1] = Grad::Own(product(dz.t(), Matrix::new(hold(&inputs[0]).get()?, rows, width), 1.0));
        }
        if let Some(&wanted) = wanted.get(2) {
            grads.push(if wanted { Grad::Own(column_sums(&grad, outputs)) } else { Grad::None });
        }
        Ok(grads)
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
