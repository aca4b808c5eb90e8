//! The arithmetic of one AdamW update on one parameter, in the order of operations of PyTorch: decay, moments, step.

use super::buffer::{Buffer, CHUNK, Grads, in_place};
use super::{AdamW, Rates};
use crate::nn::Gradient;
use crate::persist::StateDict;
use crate::{Error, Result};
use candle_core::{Tensor, Var};
use rayon::prelude::*;

/// The numbers that all values of one parameter share in one update.
#[derive(Clone, Copy, Debug)]
struct Constants {
    clip: f32,
    keep: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step_size: f32,
    root_correction2: f32,
    eps: f32,
}

impl Constants {
    fn new(config: &AdamW, rates: &Rates) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(rates.step as f64);
        Self {
            clip: rates.clip as f32,
            keep: (1.0 - rates.learning_rate * rates.weight_decay) as f32,
            beta1: config.beta1 as f32,
            one_minus_beta1: (1.0 - config.beta1) as f32,
            beta2: config.beta2 as f32,
            one_minus_beta2: (1.0 - config.beta2) as f32,
            step_size: (rates.learning_rate / correction(config.beta1)) as f32,
            root_correction2: correction(config.beta2).sqrt() as f32,
            eps: config.eps as f32,
        }
    }
}

/// Running means of a gradient and of its square.
#[derive(Debug)]
pub(super) struct Moments {
    pub(super) m: Buffer,
    pub(super) v: Buffer,
}

impl Moments {
    pub(super) fn zeros(var: &Var) -> Result<Self> {
        Ok(Self { m: Buffer::zeros(var, var.dims())?, v: Buffer::zeros(var, var.dims())? })
    }

    pub(super) fn load(state: &StateDict, name: &str, var: &Var) -> Result<Self> {
        let part = |part: &str| Buffer::load(state, &format!("{name}.{part}"), var, var.dims());
        Ok(Self { m: part("m")?, v: part("v")? })
    }

    pub(super) fn save(&self, state: &mut StateDict, name: &str) -> Result<()> {
        self.m.save(state, &format!("{name}.m"))?;
        self.v.save(state, &format!("{name}.v"))
    }

    /// One update of parameter and moments. `grad` is contiguous and has the shape of `var`.
    pub(super) fn apply(&mut self, var: &Var, grad: &Gradient, config: &AdamW, rates: &Rates) -> Result<()> {
        let constants = Constants::new(config, rates);
        match (&mut self.m, &mut self.v) {
            (Buffer::Host(m), Buffer::Host(v)) => in_place(var, grad, |params, grads| {
                fused_step(params, grads, m, v, &constants);
            }),
            (Buffer::Device(m), Buffer::Device(v)) => plain_step(var, &grad.dense()?, m, v, &constants),
            _ => Err(Error::State("adamw: the two moments of a parameter are on different devices".to_owned())),
        }
    }
}

/// One pass over parameter, gradient and both moments, without a temporary. The plain form makes eight passes and as
/// many buffers, which for an embedding table costs more than the backward pass of the whole model.
fn fused_step(params: &mut [f32], grads: Grads<'_>, m: &mut [f32], v: &mut [f32], constants: &Constants) {
    if params.len() <= CHUNK {
        return grads.with_block(0, params.len(), |grads| update(params, grads, m, v, constants));
    }
    let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
    let chunks = params.par_chunks_mut(CHUNK).zip(moments).enumerate();
    chunks.for_each(|(i, (p, (m, v)))| grads.with_block(i * CHUNK, p.len(), |g| update(p, g, m, v, constants)));
}

/// The update, written for the vectoriser and run with the widest instructions the machine has. No instruction set
/// contracts or reorders it, so all give the same bits.
fn update(params: &mut [f32], grads: &[f32], m: &mut [f32], v: &mut [f32], c: &Constants) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (((p, &g), m), v) in params.iter_mut().zip(grads).zip(m.iter_mut()).zip(v.iter_mut()) {
                let g = g * c.clip;
                *m = c.beta1 * *m + c.one_minus_beta1 * g;
                *v = c.beta2 * *v + c.one_minus_beta2 * (g * g);
                *p = *p * c.keep - c.step_size * (*m / (v.sqrt() / c.root_correction2 + c.eps));
            }
        },
    );
}

/// [`fused_step`] in candle operations, for devices without a kernel of their own.
fn plain_step(var: &Var, grad: &Tensor, m: &mut Tensor, v: &mut Tensor, c: &Constants) -> Result<()> {
    let scale = |x: &Tensor, factor: f32| x * f64::from(factor);
    let grad = scale(&grad.detach(), c.clip)?;
    *m = (scale(m, c.beta1)? + scale(&grad, c.one_minus_beta1)?)?;
    *v = (scale(v, c.beta2)? + scale(&grad.sqr()?, c.one_minus_beta2)?)?;
    let denominator = ((v.sqrt()? / f64::from(c.root_correction2))? + f64::from(c.eps))?;
    let kept = scale(&var.as_detached_tensor(), c.keep)?;
    Ok(var.set(&(kept - scale(&m.div(&denominator)?, c.step_size)?)?)?)
}
