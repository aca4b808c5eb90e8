//! A frozen linear map with a trained low-rank update beside it, as one operation.

use super::buffer::hold;
use super::graph::{Backward, Grad, record};
use super::linear::{finish, product};
use super::matmul::{Matrix, matmul_add};
use crate::nn::ops::Activation;
use candle_core::{Result, Tensor, bail};

/// Fused form of [`crate::nn::ops::linear_lora`], for a `w` and `b` that are not trained.
///
/// # Errors
/// If the shapes do not fit, a tensor is not F32 on the CPU, or `w` or `b` is trained.
pub fn linear_lora(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    down: &Tensor,
    up: &Tensor,
    scaling: f64,
) -> Result<Tensor> {
    let ((outputs, inputs), (rank, _)) = (w.dims2()?, down.dims2()?);
    let bias_fits = b.is_none_or(|b| b.dims() == [outputs]);
    if x.dims().last() != Some(&inputs) || down.dims() != [rank, inputs] || up.dims() != [outputs, rank] || !bias_fits {
        let (x, w, down, up) = (x.dims(), w.dims(), down.dims(), up.dims());
        bail!("linear_lora: input {x:?}, weight {w:?}, down {down:?}, up {up:?} do not fit");
    }
    if w.track_op() || b.is_some_and(Tensor::track_op) {
        bail!("linear_lora: the weight and the bias below an adapter must not be trained");
    }
    let (x, w, b) = (x.contiguous()?, w.contiguous()?, b.map(Tensor::contiguous).transpose()?);
    let (down, up) = (down.contiguous()?, up.contiguous()?);
    let mut shape = x.dims().to_vec();
    shape.pop();
    let rows = shape.iter().product();
    shape.push(outputs);
    let scaling = scaling as f32;

    let (mut y, inner) = {
        let (x, w, down) = (hold(&x), hold(&w), hold(&down));
        let x = Matrix::new(x.get()?, rows, inputs);
        let times = |w: &[f32], outputs: usize| product(x, Matrix::new(w, outputs, inputs).t(), 1.0);
        (times(w.get()?, outputs), times(down.get()?, rank))
    };
    matmul_add(&mut y, Matrix::new(&inner, rows, rank), Matrix::new(hold(&up).get()?, outputs, rank).t(), scaling);
    if let Some(b) = &b {
        finish(&mut y, outputs, Some(hold(b).get()?), Activation::Identity, false);
    }
    record(Lora { inner, scaling }, &[&x, &w, &down, &up], y, shape)
}

struct Lora {
    /// x·Aᵀ, `[rows, rank]`.
    inner: Vec<f32>,
    scaling: f32,
}

impl Backward for Lora {
    fn name(&self) -> &'static str {
        "fused-linear-lora"
    }

    fn reads(&self, input: usize, wanted: &[bool]) -> bool {
        match input {
            0 => wanted[2],
            1 | 2 => wanted[0],
            _ => true,
        }
    }

    /// With g = s·dy·B: dx = dy·W + g·A, dA = gᵀ·x, dB = s·dyᵀ·(x·Aᵀ).
    fn backward(&self, inputs: &[Tensor], wanted: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>> {
        let [x, w, down, up] = [&inputs[0], &inputs[1], &inputs[2], &inputs[3]].map(hold);
        let ((outputs, width), (rank, _)) = (inputs[1].dims2()?, inputs[2].dims2()?);
        let rows = self.inner.len().checked_div(rank).unwrap_or(0);
        let dy = Matrix::new(&grad, rows, outputs);
        let g = product(dy, Matrix::new(up.get()?, outputs, rank), self.scaling);
        let g = Matrix::new(&g, rows, rank);
        let mut grads = [const { Grad::None }; 4];
        if wanted[0] {
            let mut dx = product(dy, Matrix::new(w.get()?, outputs, width), 1.0);
            matmul_add(&mut dx, g, Matrix::new(down.get()?, rank, width), 1.0);
            grads[0] = Grad::Own(dx);
        }
        if wanted[2] {
            grads[2] = Grad::Own(product(g.t(), Matrix::new(x.get()?, rows, width), 1.0));
        }
        if wanted[3] {
            grads[3] = Grad::Own(product(dy.t(), Matrix::new(&self.inner, rows, rank), self.scaling));
        }
        Ok(grads.into())
    }
}
