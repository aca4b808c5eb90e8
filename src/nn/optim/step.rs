//! The arithmetic of one AdamW update on one parameter.

use super::AdamWConfig;
use crate::persist::StateDict;
use crate::{Error, Result};
use candle_core::{CpuStorage, InplaceOp2, Layout, Storage, Tensor, Var, bail};
use rayon::prelude::*;
use std::sync::Mutex;

/// Values that one rayon task handles: large enough to pay for itself, and a fixed split of every sum.
pub(in crate::nn) const CHUNK: usize = 1 << 14;

/// The numbers that all values of one parameter share in one update.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constants {
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
    pub(in crate::nn) fn new(
        config: &AdamWConfig,
        learning_rate: f64,
        weight_decay: f64,
        clip: f64,
        step: u64,
    ) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        Self {
            clip: clip as f32,
            keep: (1.0 - learning_rate * weight_decay) as f32,
            beta1: config.beta1 as f32,
            one_minus_beta1: (1.0 - config.beta1) as f32,
            beta2: config.beta2 as f32,
            one_minus_beta2: (1.0 - config.beta2) as f32,
            step_size: (learning_rate / correction(config.beta1)) as f32,
            root_correction2: correction(config.beta2).sqrt() as f32,
            eps: config.eps as f32,
        }
    }
}

/// Running means of a gradient and of its square.
#[derive(Debug)]
pub(super) struct Moments {
    /// Updates that went into them.
    pub(super) steps: u64,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// On the CPU: flat, so that one pass can go over parameter, gradient and moments.
    Host { m: Vec<f32>, v: Vec<f32> },
    /// On another device.
    Device { m: Tensor, v: Tensor },
}

impl Moments {
    pub(super) fn zeros(var: &Var) -> Result<Self> {
        let values = if var.device().is_cpu() {
            Values::Host { m: vec![0.0; var.elem_count()], v: vec![0.0; var.elem_count()] }
        } else {
            Values::Device { m: var.zeros_like()?.detach(), v: var.zeros_like()?.detach() }
        };
        Ok(Self { steps: 0, values })
    }

    /// One update of parameter and moments. `grad` is contiguous and has the shape of `var`.
    pub(super) fn apply(&mut self, var: &Var, grad: &Tensor, constants: &Constants) -> Result<()> {
        match &mut self.values {
            Values::Host { m, v } => var.inplace_op2(grad, &Fused { moments: Mutex::new((m, v)), constants })?,
            Values::Device { m, v } => plain_step(var, grad, m, v, constants)?,
        }
        self.steps += 1;
        Ok(())
    }

    pub(super) fn save(&self, state: &mut StateDict, name: &str) -> Result<()> {
        let (m, v) = (format!("{name}.m"), format!("{name}.v"));
        match &self.values {
            Values::Host { m: first, v: second } => {
                state.put_f32s(m, first);
                state.put_f32s(v, second);
            }
            Values::Device { m: first, v: second } => {
                state.put_tensor(m, &first.flatten_all()?)?;
                state.put_tensor(v, &second.flatten_all()?)?;
            }
        }
        Ok(())
    }

    pub(super) fn load(state: &StateDict, name: &str, var: &Var, steps: u64) -> Result<Self> {
        let (m, v) = (state.f32s(&format!("{name}.m"))?, state.f32s(&format!("{name}.v"))?);
        for moment in [&m, &v] {
            if moment.len() != var.elem_count() {
                let (saved, count) = (moment.len(), var.elem_count());
                return Err(Error::State(format!("a moment of {name} has {saved} values, the parameter {count}")));
            }
        }
        let values = if var.device().is_cpu() {
            Values::Host { m, v }
        } else {
            let (m, v) =
                (Tensor::from_vec(m, var.dims(), var.device())?, Tensor::from_vec(v, var.dims(), var.device())?);
            Values::Device { m, v }
        };
        Ok(Self { steps, values })
    }
}

/// One pass over parameter, gradient and both moments, without a temporary. The plain form makes eight passes and as
/// many buffers, which for an embedding table costs more than the backward pass of the whole model.
struct Fused<'a> {
    /// Behind a lock because candle hands the operation out as a shared reference.
    moments: Mutex<(&'a mut [f32], &'a mut [f32])>,
    constants: &'a Constants,
}

impl<'a> Fused<'a> {
    fn run(&self, params: &mut [f32], grads: &[f32]) -> candle_core::Result<()> {
        let Ok(mut moments) = self.moments.lock() else { bail!("adamw: the moments were left behind by a panic") };
        let (m, v) = &mut *moments;
        if params.len() != grads.len() || params.len() != m.len() {
            bail!("adamw: {} parameters, {} gradients, {} moments", params.len(), grads.len(), m.len());
        }
        let constants = *self.constants;
        if params.len() <= CHUNK {
            update(params, grads, m, v, &constants);
            return Ok(());
        }
        let chunks = params.par_chunks_mut(CHUNK).zip(grads.par_chunks(CHUNK));
        let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
        chunks.zip(moments).for_each(|((p, g), (m, v))| update(p, g, m, v, &constants));
        Ok(())
    }
}

impl InplaceOp2 for Fused<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(params), CpuStorage::F32(grads)) = (s1, s2) else { bail!("adamw: parameters are F32") };
        match (l1.contiguous_offsets(), l2.contiguous_offsets()) {
            (Some((p0, p1)), Some((g0, g1))) => self.run(&mut params[p0..p1], &grads[g0..g1]),
            _ => bail!("adamw: parameters and gradients must be contiguous"),
        }
    }
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

/// [`update`] in candle operations, for devices without a kernel of their own.
pub(super) fn plain_step(var: &Var, grad: &Tensor, m: &mut Tensor, v: &mut Tensor, c: &Constants) -> Result<()> {
    let scale = |x: &Tensor, factor: f32| x * f64::from(factor);
    let grad = scale(&grad.detach(), c.clip)?;
    *m = (scale(m, c.beta1)? + scale(&grad, c.one_minus_beta1)?)?;
    *v = (scale(v, c.beta2)? + scale(&grad.sqr()?, c.one_minus_beta2)?)?;
    let denominator = ((v.sqrt()? / f64::from(c.root_correction2))? + f64::from(c.eps))?;
    let kept = scale(&var.as_detached_tensor(), c.keep)?;
    Ok(var.set(&(kept - scale(&m.div(&denominator)?, c.step_size)?)?)?)
}

/// Σ x² in F64, summed in a fixed order whatever the number of threads. Not finite exactly if an entry is not.
pub(super) fn sum_of_squares(x: &Tensor) -> Result<f64> {
    let (storage, layout) = x.storage_and_layout();
    let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        drop(storage);
        return Ok(x.to_dtype(candle_core::DType::F64)?.sqr()?.sum_all()?.to_scalar()?);
    };
    let values = &values[start..end];
    if values.len() <= CHUNK {
        return Ok(chunk_sum_of_squares(values));
    }
    let parts: Vec<f64> = values.par_chunks(CHUNK).map(chunk_sum_of_squares).collect();
    Ok(parts.iter().sum())
}

pub(in crate::nn) fn chunk_sum_of_squares(values: &[f32]) -> f64 {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut lanes = [0f64; 16];
            let (blocks, rest) = values.as_chunks::<16>();
            for block in blocks {
                for (lane, &x) in lanes.iter_mut().zip(block) {
                    *lane += f64::from(x) * f64::from(x);
                }
            }
            let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            lanes.iter().sum::<f64>() + rest
        },
    )
}
