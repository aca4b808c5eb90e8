//! The arithmetic of one step of gradient descent with momentum on one parameter, as PyTorch defines it.

use super::buffer::{Buffer, for_chunks2, for_chunks3, in_place};
use super::{Rates, Sgd};
use crate::Result;
use crate::nn::Gradient;
use crate::persist::StateDict;
use candle_core::{Tensor, Var};

/// The numbers that all values of one parameter share in one update.
#[derive(Clone, Copy, Debug)]
struct Constants {
    clip: f32,
    decay: f32,
    learning_rate: f32,
    momentum: f32,
    nesterov: bool,
}

impl Constants {
    fn new(config: &Sgd, rates: &Rates) -> Self {
        Self {
            clip: rates.clip as f32,
            decay: rates.weight_decay as f32,
            learning_rate: rates.learning_rate as f32,
            momentum: config.momentum as f32,
            nesterov: config.nesterov,
        }
    }
}

/// The velocity; `None` without momentum.
#[derive(Debug)]
pub(super) struct Velocity(pub(super) Option<Buffer>);

impl Velocity {
    pub(super) fn zeros(config: &Sgd, var: &Var) -> Result<Self> {
        Ok(Self(if config.momentum > 0.0 { Some(Buffer::zeros(var, var.dims())?) } else { None }))
    }

    pub(super) fn load(config: &Sgd, state: &StateDict, name: &str, var: &Var) -> Result<Self> {
        let load = || Buffer::load(state, &format!("{name}.velocity"), var, var.dims());
        Ok(Self(if config.momentum > 0.0 { Some(load()?) } else { None }))
    }

    pub(super) fn save(&self, state: &mut StateDict, name: &str) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |velocity| velocity.save(state, &format!("{name}.velocity")))
    }

    /// One update of parameter and velocity. `grad` is contiguous and has the shape of `var`.
    pub(super) fn apply(&mut self, var: &Var, grad: &Gradient, config: &Sgd, rates: &Rates) -> Result<()> {
        let c = Constants::new(config, rates);
        match &mut self.0 {
            Some(Buffer::Host(velocity)) => in_place(var, grad, |params, grads| {
                for_chunks3(params, grads, velocity, |p, g, v| with_momentum(p, g, v, &c));
            }),
            None if var.device().is_cpu() => in_place(var, grad, |params, grads| {
                for_chunks2(params, grads, |p, g| without_momentum(p, g, &c));
            }),
            Some(Buffer::Device(velocity)) => plain_step(var, &grad.dense()?, Some(velocity), &c),
            None => plain_step(var, &grad.dense()?, None, &c),
        }
    }
}

fn with_momentum(params: &mut [f32], grads: &[f32], velocity: &mut [f32], c: &Constants) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for ((p, &g), v) in params.iter_mut().zip(grads).zip(velocity.iter_mut()) {
                let g = g * c.clip + c.decay * *p;
                *v = c.momentum * *v + g;
                let step = if c.nesterov { g + c.momentum * *v } else { *v };
                *p -= c.learning_rate * step;
            }
        },
    );
}

fn without_momentum(params: &mut [f32], grads: &[f32], c: &Constants) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (p, &g) in params.iter_mut().zip(grads) {
                *p -= c.learning_rate * (g * c.clip + c.decay * *p);
            }
        },
    );
}

/// The same in candle operations, for devices without a kernel of their own.
fn plain_step(var: &Var, grad: &Tensor, velocity: Option<&mut Tensor>, c: &Constants) -> Result<()> {
    let scale = |x: &Tensor, factor: f32| x * f64::from(factor);
    let params = var.as_detached_tensor();
    let grad = (scale(&grad.detach(), c.clip)? + scale(&params, c.decay)?)?;
    let step = match velocity {
        None => grad,
        Some(v) => {
            *v = (scale(v, c.momentum)? + &grad)?;
            if c.nesterov { (grad + scale(v, c.momentum)?)? } else { v.clone() }
        }
    };
    Ok(var.set(&(params - scale(&step, c.learning_rate)?)?)?)
}
