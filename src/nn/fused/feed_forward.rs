//! Two linear maps with an activation between them, as one operation that keeps one value of the wide layer for its
//! backward pass instead of two: the activation and its derivative come out of the same exponential once more.

use super::buffer::{assume_init, hold, uninit};
use super::gelu;
use super::graph::{Backward, Grad, record};
use super::linear::{column_sums, finish, product};
use super::matmul::Matrix;
use super::threads::for_each_chunk2;
use crate::nn::ops::Activation;
use candle_core::{Result, Tensor, bail};

/// Fused form of [`crate::nn::ops::feed_forward`], for training: one of the parameters should be trained.
///
/// # Errors
/// If the shapes do not fit or a tensor is not F32 on the CPU.
pub fn feed_forward(x: &Tensor, [w1, b1, w2, b2]: [&Tensor; 4], act: Activation) -> Result<Tensor> {
    let ((hidden, width), (outputs, _)) = (w1.dims2()?, w2.dims2()?);
    let fits = b1.dims() == [hidden] && b2.dims() == [outputs] && w2.dims() == [outputs, hidden];
    if x.dims().last() != Some(&width) || !fits {
        let (x, w1, b1, w2, b2) = (x.dims(), w1.dims(), b1.dims(), w2.dims(), b2.dims());
        bail!("feed_forward: input {x:?}, weights {w1:?} and {w2:?}, biases {b1:?} and {b2:?} do not fit");
    }
    let [x, w1, b1, w2, b2] = [x, w1, b1, w2, b2].map(Tensor::contiguous);
    let (x, w1, b1, w2, b2) = (x?, w1?, b1?, w2?, b2?);
    let mut shape = x.dims().to_vec();
    shape.pop();
    let rows = shape.iter().product();
    shape.push(outputs);

    let mut z =
        product(Matrix::new(hold(&x).get()?, rows, width), Matrix::new(hold(&w1).get()?, hidden, width).t(), 1.0);
    finish(&mut z, hidden, Some(hold(&b1).get()?), Activation::Identity, false);
    let mut y = {
        let y = gelu::values(act, &z);
        let w2 = hold(&w2);
        product(Matrix::new(&y, rows, hidden), Matrix::new(w2.get()?, outputs, hidden).t(), 1.0)
    };
    finish(&mut y, outputs, Some(hold(&b2).get()?), Activation::Identity, false);
    record(FeedForward { z, act }, &[&x, &w1, &b1, &w2, &b2], y, shape)
}

struct FeedForward {
    /// What the activation was applied to, `[rows, hidden]`.
    z: Vec<f32>,
    act: Activation,
}

impl FeedForward {
    /// From the gradient of the hidden values to that of z, in place; gives the hidden values.
    fn through_activation(&self, grad: &mut [f32]) -> Vec<f32> {
        let mut hidden = uninit(self.z.len());
        let work = self.z.len() * gelu::COST;
        for_each_chunk2(grad, &mut hidden, gelu::CHUNK, work, |i, grad, hidden| {
            gelu::backward(self.act, &self.z[i * gelu::CHUNK..][..grad.len()], hidden, grad);
        });
        // SAFETY: the chunks cover both, which are of one length, and every element of a chunk is written.
        unsafe { assume_init(hidden) }
    }
}

impl Backward for FeedForward {
    fn name(&self) -> &'static str {
        "fused-feed-forward"
    }

    fn reads(&self, input: usize, wanted: &[bool]) -> bool {
        match input {
            0 => wanted[1],
            1 => wanted[0],
            3 => wanted[..3].contains(&true),
            _ => false,
        }
    }

    /// With h = act(z): dW₂ = dyᵀ·h, db₂ = Σ dy, dz = (dy·W₂)·act'(z), dx = dz·W₁, dW₁ = dzᵀ·x, db₁ = Σ dz.
    fn backward(&self, inputs: &[Tensor], wanted: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>> {
        let ((hidden, width), (outputs, _)) = (inputs[1].dims2()?, inputs[3].dims2()?);
        let rows = self.z.len().checked_div(hidden).unwrap_or(0);
        let dy = Matrix::new(&grad, rows, outputs);
        let mut grads = [const { Grad::None }; 5];
        let mut dz = Vec::new();
        let h = if wanted[..3].contains(&true) {
            dz = product(dy, Matrix::new(hold(&inputs[3]).get()?, outputs, hidden), 1.0);
            self.through_activation(&mut dz)
        } else {
            gelu::values(self.act, &self.z)
        };
        if wanted[3] {
            grads[3] = Grad::Own(product(dy.t(), Matrix::new(&h, rows, hidden), 1.0));
        }
        if wanted[4] {
            grads[4] = Grad::Own(column_sums(&grad, outputs));
        }
        // As wide as z: their memory is wanted for what follows.
        drop((h, grad));
        if wanted[0] {
            let w1 = hold(&inputs[1]);
            grads[0] = Grad::Own(product(Matrix::new(&dz, rows, hidden), Matrix::new(w1.get()?, hidden, width), 1.0));
        }
        if wanted[1] {
            let x = hold(&inputs[0]);
            grads[1] = Grad::Own(product(Matrix::new(&dz, rows, hidden).t(), Matrix::new(x.get()?, rows, width), 1.0));
        }
        if wanted[2] {
            grads[2] = Grad::Own(column_sums(&dz, hidden));
        }
        Ok(grads.into())
    }
}
