//! Activations and their derivatives, elementwise.

use super::buffer::{assume_init, hold, uninit};
use super::exp::{normal, tanh, vectorized};
use super::graph::{Backward, Grad, record};
use super::threads::{for_each_chunk, for_each_chunk2};
use crate::nn::ops::Activation;
use candle_core::{Result, Tensor};
use std::mem::MaybeUninit;

/// Values per task: two outputs of this size stay in a low-level cache.
pub(super) const CHUNK: usize = 1 << 13;

/// Scalar operations that one value costs, for the decision to use several threads.
pub(super) const COST: usize = 16;

/// Fused form of [`crate::nn::ops::activation`].
///
/// # Errors
/// If the tensor is not F32 on the CPU.
pub fn activation(x: &Tensor, act: Activation) -> Result<Tensor> {
    if act == Activation::Identity {
        return Ok(x.clone());
    }
    let x = x.contiguous()?;
    let held = hold(&x);
    let z = held.get()?;
    let mut out = uninit(z.len());
    let mut slope = uninit(if x.track_op() { z.len() } else { 0 });
    let work = COST * z.len();
    if x.track_op() {
        for_each_chunk2(&mut out, &mut slope, CHUNK, work, |i, out, slope| {
            both(act, &z[i * CHUNK..][..out.len()], out, slope);
        });
    } else {
        for_each_chunk(&mut out, CHUNK, work, |i, out| forward(act, &z[i * CHUNK..][..out.len()], out));
    }
    // SAFETY: the chunks cover both buffers (an untracked slope is empty), and every element of a chunk is written.
    let (out, slope) = unsafe { (assume_init(out), assume_init(slope)) };
    record(Elementwise { slope }, &[&x], out, x.shape())
}

struct Elementwise {
    /// The derivative at every input.
    slope: Vec<f32>,
}

impl Backward for Elementwise {
    fn name(&self) -> &'static str {
        "fused-activation"
    }

    fn reads(&self, _: usize, _: &[bool]) -> bool {
        false
    }

    fn backward(&self, _: &[Tensor], _: &[bool], mut grad: Vec<f32>) -> Result<Vec<Grad>> {
        scale(&mut grad, &self.slope);
        Ok(vec![Grad::Own(grad)])
    }
}

/// Multiplies `grad` by `slope`.
pub(super) fn scale(grad: &mut [f32], slope: &[f32]) {
    let work = grad.len();
    for_each_chunk(grad, CHUNK, work, |i, grad| multiply(grad, &slope[i * CHUNK..][..grad.len()]));
}

vectorized! {
    fn multiply<'a>(a: &'a mut [f32], b: &'a [f32]) {
        for (a, &b) in a.iter_mut().zip(b) {
            *a *= b;
        }
    }
}

/// `act(z)` of every value.
pub(super) fn values(act: Activation, z: &[f32]) -> Vec<f32> {
    let mut out = uninit(z.len());
    for_each_chunk(&mut out, CHUNK, COST * z.len(), |i, out| forward(act, &z[i * CHUNK..][..out.len()], out));
    // SAFETY: the chunks cover the buffer, and every element of a chunk is written.
    unsafe { assume_init(out) }
}

/// Writes `act(z)` to `out` and multiplies `grad` by `act'(z)`; at most [`CHUNK`] values.
pub(super) fn backward(act: Activation, z: &[f32], out: &mut [MaybeUninit<f32>], grad: &mut [f32]) {
    let mut slope = uninit(z.len());
    both(act, z, out, &mut slope);
    // SAFETY: `both` writes every element.
    multiply(grad, &unsafe { assume_init(slope) });
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
fn forward(act: Activation, z: &[f32], out: &mut [MaybeUninit<f32>]) {
    match act {
        Activation::Gelu => gelu_forward(z, out),
        Activation::GeluTanh => gelu_tanh_forward(z, out),
        Activation::Relu => relu_forward(z, out),
        Activation::Tanh => tanh_forward(z, out),
        Activation::Identity => identity_forward(z, out),
    }
}

/// Writes `act(z)` to `out` and `act'(z)` to `slope`.
fn both(act: Activation, z: &[f32], out: &mut [MaybeUninit<f32>], slope: &mut [MaybeUninit<f32>]) {
    match act {
        Activation::Gelu => gelu_both(z, out, slope),
        Activation::GeluTanh => gelu_tanh_both(z, out, slope),
        Activation::Relu => relu_both(z, out, slope),
        Activation::Tanh => tanh_both(z, out, slope),
        Activation::Identity => {
            identity_forward(z, out);
            slope.fill(MaybeUninit::new(1.0));
        }
    }
}

macro_rules! elementwise {
    ($forward:ident, $both_parts:ident, $in_place:ident, $with_slope:ident, $z:ident => $both:expr) => {
        vectorized! {
            fn $forward<'a>(z: &'a [f32], out: &'a mut [MaybeUninit<f32>]) {
                for (&$z, out) in z.iter().zip(out) {
                    out.write($both.0);
                }
            }
        }
        vectorized! {
            fn $both_parts<'a>(z: &'a [f32], out: &'a mut [MaybeUninit<f32>], slope: &'a mut [MaybeUninit<f32>]) {
                for ((&$z, out), slope) in z.iter().zip(out).zip(slope) {
                    let both = $both;
                    out.write(both.0);
                    slope.write(both.1);
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

elementwise!(gelu_forward, gelu_both, gelu_in_place, gelu_with_slope, z => gelu(z));
elementwise!(gelu_tanh_forward, gelu_tanh_both, gelu_tanh_in_place, gelu_tanh_with_slope, z => gelu_tanh(z));
elementwise!(relu_forward, relu_both, relu_in_place, relu_with_slope, z => relu(z));
elementwise!(tanh_forward, tanh_both, tanh_in_place, tanh_with_slope, z => tanh_and_slope(z));

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
