//! Activations and their derivatives, elementwise.

use super::buffer::{assume_init, hold, uninit, values};
use super::exp::{normal, tanh, vectorized};
use super::threads::for_each_chunk;
use crate::nn::ops::Activation;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use std::mem::MaybeUninit;

/// Values per task: two outputs of this size stay in a first-level cache.
pub(super) const CHUNK: usize = 1 << 13;

/// Scalar operations that one value costs, for the decision to use several threads.
pub(super) const COST: usize = 16;

/// Fused form of [`crate::nn::ops::activation`].
///
/// # Errors
/// If the tensor is not F32 on the CPU.
pub fn activation(x: &Tensor, act: Activation) -> Result<Tensor> {
    match act {
        Activation::Identity => Ok(x.clone()),
        _ => x.contiguous()?.apply_op1(Elementwise(act)),
    }
}

struct Elementwise(Activation);

impl CustomOp1 for Elementwise {
    fn name(&self) -> &'static str {
        "fused-activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let mut out = uninit(x.len());
        for_each_chunk(&mut out, CHUNK, COST * x.len(), |i, out| {
            let part = &x[i * CHUNK..][..out.len()];
            forward(self.0, part, out);
        });
        // SAFETY: the chunks cover `out`, and `forward` writes every element of a chunk.
        Ok((CpuStorage::F32(unsafe { assume_init(out) }), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (x_values, grad_values) = (hold(x), hold(&grad));
        let (z, dy) = (x_values.get()?, grad_values.get()?);
        let mut out = uninit(z.len());
        for_each_chunk(&mut out, CHUNK, COST * z.len(), |i, out| {
            let range = i * CHUNK..i * CHUNK + out.len();
            backward(self.0, &z[range.clone()], &dy[range], out);
        });
        // SAFETY: the chunks cover `out`, and `backward` writes every element of a chunk.
        let out = unsafe { assume_init(out) };
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

/// √(2/π)
const SQRT_2_BY_PI: f32 = 0.797_884_6;

/// (value, derivative) of GELU at `z`.
#[inline(always)]
fn gelu(z: f32) -> (f32, f32) {
    let (cdf, density) = normal(z);
    (z * cdf, z.mul_add(density, cdf))
}

/// (value, derivative) of the tanh form of GELU at `z`.
#[inline(always)]
fn gelu_tanh(z: f32) -> (f32, f32) {
    let s = z * z;
    let u = SQRT_2_BY_PI * (0.044_715 * s).mul_add(z, z);
    // (1 + tanh u)/2 as a logistic function, which does not cancel for negative u.
    let e = super::exp::exp(-2.0 * u);
    let half = 1.0 / (1.0 + e);
    let slope = SQRT_2_BY_PI * (0.134_145 * s + 1.0);
    // e·half is 1 − half without cancellation. At half = 0 both e and z·slope may be infinite; the limit is 0.
    let curve = if half > 0.0 { 2.0 * half * (e * half) * z * slope } else { 0.0 };
    (if half > 0.0 { z * half } else { 0.0 * z }, half + curve)
}

/// Writes `act(z)` to `out`.
pub(super) fn forward(act: Activation, z: &[f32], out: &mut [MaybeUninit<f32>]) {
    match act {
        Activation::Gelu => gelu_forward(z, out),
        Activation::GeluTanh => gelu_tanh_forward(z, out),
        Activation::Relu => relu_forward(z, out),
        Activation::Tanh => tanh_forward(z, out),
        Activation::Identity => identity_forward(z, out),
    }
}

/// Writes `act'(z)·dy` to `out`.
fn backward(act: Activation, z: &[f32], dy: &[f32], out: &mut [MaybeUninit<f32>]) {
    match act {
        Activation::Gelu => gelu_backward(z, dy, out),
        Activation::GeluTanh => gelu_tanh_backward(z, dy, out),
        Activation::Relu => relu_backward(z, dy, out),
        Activation::Tanh => tanh_backward(z, dy, out),
        Activation::Identity => identity_forward(dy, out),
    }
}

macro_rules! elementwise {
    ($forward:ident, $backward:ident, $in_place:ident, $with_slope:ident, $z:ident => $both:expr) => {
        vectorized! {
            fn $forward<'a>(z: &'a [f32], out: &'a mut [MaybeUninit<f32>]) {
                for (&$z, out) in z.iter().zip(out) {
                    out.write($both.0);
                }
            }
        }
        vectorized! {
            fn $backward<'a>(z: &'a [f32], dy: &'a [f32], out: &'a mut [MaybeUninit<f32>]) {
                for ((&$z, &dy), out) in z.iter().zip(dy).zip(out) {
                    out.write($both.1 * dy);
                }
            }
        }
        vectorized! {
            fn $in_place<'a>(z: &'a mut [f32], bias: &'a [f32]) {
                for row in z.chunks_exact_mut(bias.len()) {
                    for (value, &bias) in row.iter_mut().zip(bias) {
                        let $z = *value + bias;
                        *value = $both.0;
                    }
                }
            }
        }
        vectorized! {
            fn $with_slope<'a>(z: &'a mut [f32], bias: &'a [f32], slope: &'a mut [MaybeUninit<f32>]) {
                for (row, slope) in z.chunks_exact_mut(bias.len()).zip(slope.chunks_exact_mut(bias.len())) {
                    for ((value, &bias), slope) in row.iter_mut().zip(bias).zip(slope) {
                        let $z = *value + bias;
                        let both = $both;
                        *value = both.0;
                        slope.write(both.1);
                    }
                }
            }
        }
    };
}

elementwise!(gelu_forward, gelu_backward, gelu_in_place, gelu_with_slope, z => gelu(z));
elementwise!(gelu_tanh_forward, gelu_tanh_backward, gelu_tanh_in_place, gelu_tanh_with_slope, z => gelu_tanh(z));
elementwise!(relu_forward, relu_backward, relu_in_place, relu_with_slope, z => relu(z));
elementwise!(tanh_forward, tanh_backward, tanh_in_place, tanh_with_slope, z => tanh_and_slope(z));

vectorized! {
    fn identity_forward<'a>(z: &'a [f32], out: &'a mut [MaybeUninit<f32>]) {
        for (&z, out) in z.iter().zip(out) {
            out.write(z);
        }
    }
}

/// (value, derivative) of relu at `z`; NaN stays NaN.
#[inline(always)]
fn relu(z: f32) -> (f32, f32) {
    (if z < 0.0 { 0.0 } else { z }, if z > 0.0 { 1.0 } else { 0.0 })
}

/// (value, derivative) of tanh at `z`.
#[inline(always)]
fn tanh_and_slope(z: f32) -> (f32, f32) {
    let t = tanh(z);
    (t, (1.0 - t) * (1.0 + t))
}

vectorized! {
    fn add_bias<'a>(z: &'a mut [f32], bias: &'a [f32]) {
        for row in z.chunks_exact_mut(bias.len()) {
            for (z, &bias) in row.iter_mut().zip(bias) {
                *z += bias;
            }
        }
    }
}

/// Rows of the bias' length in place: z becomes act(z + bias).
pub(super) fn in_place(act: Activation, z: &mut [f32], bias: &[f32]) {
    match act {
        Activation::Gelu => gelu_in_place(z, bias),
        Activation::GeluTanh => gelu_tanh_in_place(z, bias),
        Activation::Relu => relu_in_place(z, bias),
        Activation::Tanh => tanh_in_place(z, bias),
        Activation::Identity => add_bias(z, bias),
    }
}

/// As [`in_place`], and act'(z + bias) goes to `slope`.
pub(super) fn with_slope(act: Activation, z: &mut [f32], bias: &[f32], slope: &mut [MaybeUninit<f32>]) {
    match act {
        Activation::Gelu => gelu_with_slope(z, bias, slope),
        Activation::GeluTanh => gelu_tanh_with_slope(z, bias, slope),
        Activation::Relu => relu_with_slope(z, bias, slope),
        Activation::Tanh => tanh_with_slope(z, bias, slope),
        Activation::Identity => {
            add_bias(z, bias);
            slope.fill(MaybeUninit::new(1.0));
        }
    }
}
