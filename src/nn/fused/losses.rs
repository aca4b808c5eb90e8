//! Softmax, its logarithm, and losses. The inputs are small (scores of actions or classes), so what counts here is
//! one operation instead of six or more, and stability.

use super::buffer::{assume_init, hold, uninit, values};
use super::exp::{exp, max, sum, sum2, vectorized};
use super::threads::for_each_chunk2;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use std::mem::MaybeUninit;

/// Scalar operations per value, for the decision to use several threads.
const COST: usize = 16;

/// Fused form of [`crate::nn::ops::log_softmax`].
///
/// # Errors
/// If the tensor is a scalar or not F32 on the CPU.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Softmax { width: last_axis(x)?, log: true })
}

/// Fused form of [`crate::nn::ops::softmax`].
///
/// # Errors
/// If the tensor is a scalar or not F32 on the CPU.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Softmax { width: last_axis(x)?, log: false })
}

fn last_axis(x: &Tensor) -> Result<usize> {
    match x.dims().last() {
        Some(&width) if width > 0 => Ok(width),
        _ => bail!("softmax: shape {:?} has no last axis to normalise over", x.dims()),
    }
}

struct Softmax {
    width: usize,
    log: bool,
}

impl Softmax {
    /// Whole rows per task.
    fn chunk(&self) -> usize {
        (1usize << 12).div_ceil(self.width) * self.width
    }
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "fused-log-softmax" } else { "fused-softmax" }
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = values(x, layout)?.to_vec();
        let work = COST * y.len();
        super::threads::for_each_chunk(&mut y, self.chunk(), work, |_, y| softmax_rows(y, self.width, self.log));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (y, grad) = (hold(y), hold(&grad));
        let (y, grad) = (y.get()?, grad.get()?);
        let mut dx = grad.to_vec();
        super::threads::for_each_chunk(&mut dx, self.chunk(), COST * y.len(), |i, dx| {
            softmax_rows_backward(&y[i * self.chunk()..][..dx.len()], dx, self.width, self.log);
        });
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
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
    logits.contiguous()?.apply_op1(CrossEntropy { labels, classes })
}

struct CrossEntropy {
    labels: Vec<u32>,
    classes: usize,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "fused-cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut log_probs = values(logits, layout)?.to_vec();
        softmax_rows(&mut log_probs, self.classes, true);
        let rows = log_probs.chunks_exact(self.classes).zip(&self.labels);
        let total: f64 = rows.map(|(row, &label)| f64::from(row[label as usize])).sum();
        Ok((CpuStorage::F32(vec![(-total / self.labels.len() as f64) as f32]), Shape::from(())))
    }

    /// (softmax − one-hot) / rows.
    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let scale = grad.to_scalar::<f32>()? / self.labels.len() as f32;
        let mut out = hold(logits).get()?.to_vec();
        softmax_rows(&mut out, self.classes, false);
        for (row, &label) in out.chunks_exact_mut(self.classes).zip(&self.labels) {
            row[label as usize] -= 1.0;
            row.iter_mut().for_each(|v| *v *= scale);
        }
        Ok(Some(Tensor::from_vec(out, logits.shape(), logits.device())?))
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
    logits.contiguous()?.apply_op2(&targets.contiguous()?, BinaryCrossEntropy)
}

struct BinaryCrossEntropy;

/// Values per task.
const CHUNK: usize = 1 << 12;

impl CustomOp2 for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        "fused-bce-with-logits"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, t: &CpuStorage, lt: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, t) = (values(x, lx)?, values(t, lt)?);
        let loss = |(&x, &t): (&f32, &f32)| x.max(0.0) - x * t + exp(-x.abs()).ln_1p();
        Ok((CpuStorage::F32(x.iter().zip(t).map(loss).collect()), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, t: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (x_held, t_held, grad) = (hold(x), hold(t), hold(&grad));
        let (logits, targets, dy) = (x_held.get()?, t_held.get()?, grad.get()?);
        let (mut dx, mut dt) = (uninit(dy.len()), uninit(dy.len()));
        for_each_chunk2(&mut dx, &mut dt, CHUNK, COST * dy.len(), |i, dx, dt| {
            let range = i * CHUNK..i * CHUNK + dx.len();
            bce_backward(&logits[range.clone()], &targets[range.clone()], &dy[range], dx, dt);
        });
        // SAFETY: the chunks cover both outputs, and `bce_backward` writes every element of a chunk.
        let (dx, dt) = unsafe { (assume_init(dx), assume_init(dt)) };
        let wanted = |tensor: &Tensor, grad: Vec<f32>| {
            tensor.track_op().then(|| Tensor::from_vec(grad, tensor.shape(), tensor.device())).transpose()
        };
        Ok((wanted(x, dx)?, wanted(t, dt)?))
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
