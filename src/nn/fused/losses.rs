//! Softmax, its logarithm, and losses. The inputs are small (scores of actions or classes), so what counts here is
//! one operation instead of six or more, and stability.

use super::buffer::{assume_init, hold, uninit};
use super::exp::{exp, max, sum, sum2, vectorized};
use super::graph::{Backward, Grad, record};
use super::threads::{for_each_chunk, for_each_chunk2};
use candle_core::{DType, Result, Shape, Tensor, bail};
use std::mem::MaybeUninit;

/// Scalar operations per value, for the decision to use several threads.
const COST: usize = 16;

/// Fused form of [`crate::nn::ops::log_softmax`].
///
/// # Errors
/// If the tensor is a scalar or not F32 on the CPU.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    normalised(x, true)
}

/// Fused form of [`crate::nn::ops::softmax`].
///
/// # Errors
/// If the tensor is a scalar or not F32 on the CPU.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    normalised(x, false)
}

fn normalised(x: &Tensor, log: bool) -> Result<Tensor> {
    let width = match x.dims().last() {
        Some(&width) if width > 0 => width,
        _ => bail!("softmax: shape {:?} has no last axis to normalise over", x.dims()),
    };
    let x = x.contiguous()?;
    let mut y = hold(&x).get()?.to_vec();
    let work = COST * y.len();
    for_each_chunk(&mut y, chunk(width), work, |_, y| softmax_rows(y, width, log));
    let kept = if x.track_op() { y.clone() } else { Vec::new() };
    record(Softmax { y: kept, width, log }, &[&x], y, x.shape())
}

/// Whole rows of about 4096 values.
fn chunk(width: usize) -> usize {
    (1usize << 12).div_ceil(width) * width
}

struct Softmax {
    y: Vec<f32>,
    width: usize,
    log: bool,
}

impl Backward for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "fused-log-softmax" } else { "fused-softmax" }
    }

    fn backward(&self, _: &[Tensor], _: &[bool], mut grad: Vec<f32>) -> Result<Vec<Grad>> {
        let chunk = chunk(self.width);
        for_each_chunk(&mut grad, chunk, COST * self.y.len(), |i, grad| {
            softmax_rows_backward(&self.y[i * chunk..][..grad.len()], grad, self.width, self.log);
        });
        Ok(vec![Grad::Own(grad)])
    }
}

vectorized! {
    /// (log-)softmax of rows of `width` in place.
    fn softmax_rows<'a>(y: &'a mut [f32], width: usize, log: bool) {
        for row in y.chunks_exact_mut(width) {
            let top = max(row);
            if log {
                let total = sum(row, |v| exp(v - top)).ln();
                row.iter_mut().for_each(|v| *v = *v - top - total);
            } else {
                row.iter_mut().for_each(|v| *v = exp(*v - top));
                let inverse = 1.0 / sum(row, |v| v);
                row.iter_mut().for_each(|v| *v *= inverse);
            }
        }
    }
}

vectorized! {
    /// From results `y` and their gradients to those of the inputs, in place.
    fn softmax_rows_backward<'a>(y: &'a [f32], grads: &'a mut [f32], width: usize, log: bool) {
        for (y, grads) in y.chunks_exact(width).zip(grads.chunks_exact_mut(width)) {
            if log {
                let total = sum(grads, |g| g);
                grads.iter_mut().zip(y).for_each(|(g, &y)| *g -= exp(y) * total);
            } else {
                let mean = sum2(y, grads, |y, g| y * g);
                grads.iter_mut().zip(y).for_each(|(g, &y)| *g = y * (*g - mean));
            }
        }
    }
}

/// Fused form of [`crate::nn::ops::cross_entropy`].
///
/// # Errors
/// If the shapes do not fit, a label is outside the classes, or the logits are not F32 on the CPU.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    if labels.dims() != [rows] || rows == 0 || classes == 0 {
        bail!("cross_entropy: logits {:?}, labels {:?}; one label per row is needed", logits.dims(), labels.dims());
    }
    let labels = labels.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    if let Some((row, label)) = labels.iter().enumerate().find(|&(_, &label)| label as usize >= classes) {
        bail!("cross_entropy: label {label} of row {row} is not below the number of classes, {classes}");
    }
    let logits = logits.contiguous()?;
    let mut log_probs = hold(&logits).get()?.to_vec();
    softmax_rows(&mut log_probs, classes, true);
    let chosen = log_probs.chunks_exact(classes).zip(&labels);
    let total: f64 = chosen.map(|(row, &label)| f64::from(row[label as usize])).sum();
    let loss = (-total / rows as f64) as f32;
    record(CrossEntropy { log_probs, labels, classes }, &[&logits], vec![loss], Shape::from(()))
}

struct CrossEntropy {
    log_probs: Vec<f32>,
    labels: Vec<u32>,
    classes: usize,
}

impl Backward for CrossEntropy {
    fn name(&self) -> &'static str {
        "fused-cross-entropy"
    }

    /// (softmax − one-hot) / rows.
    fn backward(&self, _: &[Tensor], _: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>> {
        let scale = grad[0] / self.labels.len() as f32;
        let mut out: Vec<f32> = self.log_probs.iter().map(|&v| exp(v) * scale).collect();
        for (row, &label) in out.chunks_exact_mut(self.classes).zip(&self.labels) {
            row[label as usize] -= scale;
        }
        Ok(vec![Grad::Own(out)])
    }
}

/// Fused form of [`crate::nn::ops::bce_with_logits`].
///
/// # Errors
/// If the shapes do not fit or a tensor is not F32 on the CPU.
pub fn bce_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if logits.dims() != targets.dims() {
        bail!("bce_with_logits: the logits have shape {:?}, the targets {:?}", logits.dims(), targets.dims());
    }
    let (logits, targets) = (logits.contiguous()?, targets.contiguous()?);
    let loss = |(&x, &t): (&f32, &f32)| x.max(0.0) - x * t + exp(-x.abs()).ln_1p();
    let out = hold(&logits).get()?.iter().zip(hold(&targets).get()?).map(loss).collect();
    record(BinaryCrossEntropy, &[&logits, &targets], out, logits.shape())
}

struct BinaryCrossEntropy;

/// Values per task.
const CHUNK: usize = 1 << 12;

impl Backward for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "fused-bce-with-logits"
    }

    fn backward(&self, inputs: &[Tensor], wanted: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>> {
        let (x, t) = (hold(&inputs[0]), hold(&inputs[1]));
        let (x, t) = (x.get()?, t.get()?);
        let (mut dx, mut dt) = (uninit(grad.len()), uninit(grad.len()));
        for_each_chunk2(&mut dx, &mut dt, CHUNK, COST * grad.len(), |i, dx, dt| {
            let range = i * CHUNK..i * CHUNK + dx.len();
            bce_backward(&x[range.clone()], &t[range.clone()], &grad[range], dx, dt);
        });
        // SAFETY: the chunks cover both outputs, and `bce_backward` writes every element of a chunk.
        let (dx, dt) = unsafe { (assume_init(dx), assume_init(dt)) };
        let own = |wanted: bool, grad| if wanted { Grad::Own(grad) } else { Grad::None };
        Ok(vec![own(wanted[0], dx), own(wanted[1], dt)])
    }
}

vectorized! {
    /// d/dx = logistic(x) − t and d/dt = −x, times the gradient of the loss.
    fn bce_backward<'a>(
        x: &'a [f32],
        t: &'a [f32],
        dy: &'a [f32],
        dx: &'a mut [MaybeUninit<f32>],
        dt: &'a mut [MaybeUninit<f32>],
    ) {
        for ((((&x, &t), &dy), dx), dt) in x.iter().zip(t).zip(dy).zip(dx).zip(dt) {
            dx.write((1.0 / (1.0 + exp(-x)) - t) * dy);
            dt.write(-x * dy);
        }
    }
}
