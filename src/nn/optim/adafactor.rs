//! The arithmetic of one Adafactor update on one parameter.
//!
//! Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost" (ICML 2018), Algorithms 4 and 5,
//! with the weight decay of the common implementations: p ← p − α·decay·p before the step. A matrix `[rows, columns]`
//! keeps the mean square of its gradients by row and by column, R and C, and uses R·Cᵀ/mean(R) for the second
//! moment; other parameters keep all of it.

use super::buffer::{Buffer, CHUNK, Grads, in_place, sum_of_squares, sum_of_squares_of};
use super::{Adafactor, Rates};
use crate::nn::Gradient;
use crate::persist::StateDict;
use crate::{Error, Result};
use candle_core::{D, Tensor, Var};
use rayon::prelude::*;

/// The numbers that all values of one parameter share in one update.
#[derive(Clone, Copy, Debug)]
struct Constants {
    clip: f32,
    eps: f32,
    beta2: f32,
    one_minus_beta2: f32,
    beta1: f32,
    clip_threshold: f64,
    /// Learning rate times the scale of the parameter.
    alpha: f64,
    keep: f32,
}

impl Constants {
    fn new(config: &Adafactor, rates: &Rates, mean_square: impl FnOnce() -> Result<f64>) -> Result<Self> {
        let step = rates.step as f64;
        let decay = step.powf(-config.decay_rate);
        let rate = if config.relative_step { rates.learning_rate.min(1.0 / step.sqrt()) } else { rates.learning_rate };
        let scale = if config.scale_parameter { mean_square()?.sqrt().max(config.min_scale) } else { 1.0 };
        let alpha = rate * scale;
        Ok(Self {
            clip: rates.clip as f32,
            eps: config.eps as f32,
            beta2: (1.0 - decay) as f32,
            one_minus_beta2: decay as f32,
            beta1: config.beta1 as f32,
            clip_threshold: config.clip_threshold,
            alpha,
            keep: (1.0 - alpha * rates.weight_decay) as f32,
        })
    }

    /// Learning rate of a step with this mean square: a step longer than the threshold is shortened to it.
    fn step_size(&self, mean_square: f64) -> f32 {
        (self.alpha / (mean_square.sqrt() / self.clip_threshold).max(1.0)) as f32
    }
}

/// Running means of squared gradients, and of steps if there is a first moment.
#[derive(Debug)]
pub(super) struct Factors {
    pub(super) second: Second,
    pub(super) first: Option<Buffer>,
}

#[derive(Debug)]
pub(super) enum Second {
    Factored { rows: Buffer, columns: Buffer },
    Whole(Buffer),
}

impl Factors {
    pub(super) fn zeros(config: &Adafactor, var: &Var) -> Result<Self> {
        Self::make(config, var, |_, shape| Buffer::zeros(var, shape))
    }

    pub(super) fn load(config: &Adafactor, state: &StateDict, name: &str, var: &Var) -> Result<Self> {
        Self::make(config, var, |part, shape| Buffer::load(state, &format!("{name}.{part}"), var, shape))
    }

    fn make(config: &Adafactor, var: &Var, part: impl Fn(&str, &[usize]) -> Result<Buffer>) -> Result<Self> {
        let second = match *var.dims() {
            [rows, columns] => Second::Factored { rows: part("rows", &[rows])?, columns: part("columns", &[columns])? },
            _ => Second::Whole(part("v", var.dims())?),
        };
        let first = if config.beta1 > 0.0 { Some(part("m", var.dims())?) } else { None };
        Ok(Self { second, first })
    }

    pub(super) fn save(&self, state: &mut StateDict, name: &str) -> Result<()> {
        match &self.second {
            Second::Factored { rows, columns } => {
                rows.save(state, &format!("{name}.rows"))?;
                columns.save(state, &format!("{name}.columns"))?;
            }
            Second::Whole(v) => v.save(state, &format!("{name}.v"))?,
        }
        self.first.as_ref().map_or(Ok(()), |m| m.save(state, &format!("{name}.m")))
    }

    /// One update of parameter and means. `grad` is contiguous and has the shape of `var`.
    pub(super) fn apply(&mut self, var: &Var, grad: &Gradient, config: &Adafactor, rates: &Rates) -> Result<()> {
        let count = var.elem_count().max(1) as f64;
        let c = Constants::new(config, rates, || Ok(sum_of_squares(var)? / count))?;
        let first = match &mut self.first {
            Some(Buffer::Host(m)) => Some(m.as_mut_slice()),
            Some(Buffer::Device(_)) | None => None,
        };
        match &mut self.second {
            Second::Factored { rows: Buffer::Host(rows), columns: Buffer::Host(columns) } => {
                in_place(var, grad, |p, g| factored(p, g, rows, columns, first, &c))
            }
            Second::Whole(Buffer::Host(v)) => in_place(var, grad, |p, g| whole(p, g, v, first, &c)),
            _ => self.plain(var, &grad.dense()?, &c),
        }
    }

    /// The same in candle operations, for devices without a kernel of their own.
    fn plain(&mut self, var: &Var, grad: &Tensor, c: &Constants) -> Result<()> {
        let grad = (grad.detach() * f64::from(c.clip))?;
        let squares = (grad.sqr()? + f64::from(c.eps))?;
        let mix = |old: &Tensor, new: Tensor| -> Result<Tensor> {
            Ok(((old * f64::from(c.beta2))? + (new * f64::from(c.one_minus_beta2))?)?)
        };
        let step = match &mut self.second {
            Second::Factored { rows: Buffer::Device(rows), columns: Buffer::Device(columns) } => {
                *rows = mix(rows, squares.mean(1)?)?;
                *columns = mix(columns, squares.mean(0)?)?;
                let by_row = rows.broadcast_div(&rows.mean_all()?)?.sqrt()?.recip()?.unsqueeze(D::Minus1)?;
                grad.broadcast_mul(&by_row)?.broadcast_mul(&columns.sqrt()?.recip()?)?
            }
            Second::Whole(Buffer::Device(v)) => {
                *v = mix(v, squares)?;
                grad.div(&v.sqrt()?)?
            }
            _ => return Err(Error::State("adafactor: the means of a parameter are on different devices".to_owned())),
        };
        let mean_square = sum_of_squares(&step.contiguous()?)? / step.elem_count().max(1) as f64;
        let mut step = (step * f64::from(c.step_size(mean_square)))?;
        if let Some(Buffer::Device(m)) = &mut self.first {
            *m = ((&*m * f64::from(c.beta1))? + (step * f64::from(1.0 - c.beta1))?)?;
            step = m.clone();
        }
        Ok(var.set(&((var.as_detached_tensor() * f64::from(c.keep))? - step)?)?)
    }
}

/// An update with the full second moment.
fn whole(params: &mut [f32], grads: Grads<'_>, v: &mut [f32], first: Option<&mut [f32]>, c: &Constants) {
    let count = params.len().max(1) as f64;
    let chunks = v.par_chunks_mut(CHUNK).enumerate();
    let parts: Vec<f64> =
        chunks.map(|(i, v)| grads.with_block(i * CHUNK, v.len(), |g| second_moment(v, g, c))).collect();
    let step_size = c.step_size(parts.iter().sum::<f64>() / count);
    let step = |i: usize, p: &mut [f32], g: &[f32], m: Option<&mut [f32]>| {
        let v = &v[i * CHUNK..][..p.len()];
        take_step(p, g, m, c, step_size, v.iter().map(|v| 1.0 / v.sqrt()));
    };
    for_blocks(params, grads, first, CHUNK, step);
}

/// Moves the second moment of a chunk on and gives Σ (gradient/root)².
fn second_moment(v: &mut [f32], grads: &[f32], c: &Constants) -> f64 {
    let mut sum = 0.0;
    for (v, &g) in v.iter_mut().zip(grads) {
        let g = g * c.clip;
        *v = c.beta2 * *v + c.one_minus_beta2 * (g * g + c.eps);
        sum += f64::from(g) * f64::from(g) / f64::from(*v);
    }
    sum
}

/// An update with the second moment by row and by column.
fn factored(
    params: &mut [f32],
    grads: Grads<'_>,
    rows: &mut [f32],
    columns: &mut [f32],
    first: Option<&mut [f32]>,
    c: &Constants,
) {
    let width = columns.len();
    if params.is_empty() {
        return;
    }
    // Whole rows, and always as many: the split of the sums does not depend on the number of threads.
    let block = CHUNK.div_ceil(width) * width;
    let partial: Vec<Vec<f64>> = rows
        .par_chunks_mut(block / width)
        .enumerate()
        .map(|(i, rows)| grads.with_block(i * block, rows.len() * width, |g| mean_squares(g, rows, width, c)))
        .collect();
    for (j, column) in columns.iter_mut().enumerate() {
        let sum: f64 = partial.iter().map(|sums| sums[j]).sum();
        let mean = (sum / rows.len() as f64) as f32 + c.eps;
        *column = c.beta2 * *column + c.one_minus_beta2 * mean;
    }
    let mean = rows.iter().map(|&r| f64::from(r)).sum::<f64>() / rows.len() as f64;
    let by_row: Vec<f32> = rows.iter().map(|&r| 1.0 / (r / mean as f32).sqrt()).collect();
    let by_column: Vec<f32> = columns.iter().map(|&r| 1.0 / r.sqrt()).collect();
    let squares = |(i, by_row): (usize, &[f32])| {
        grads.with_block(i * block, by_row.len() * width, |g| step_squares(g, by_row, &by_column, c.clip))
    };
    let parts: Vec<f64> = by_row.par_chunks(block / width).enumerate().map(squares).collect();
    let step_size = c.step_size(parts.iter().sum::<f64>() / params.len() as f64);
    for_blocks(params, grads, first, block, |i, p, g, mut m| {
        let by_row = &by_row[i * (block / width)..];
        let lines = p.chunks_exact_mut(width).zip(g.chunks_exact(width)).zip(by_row).enumerate();
        for (line, ((p, g), &row)) in lines {
            let m = m.as_deref_mut().map(|m| &mut m[line * width..][..width]);
            take_step(p, g, m, c, step_size, by_column.iter().map(|&column| row * column));
        }
    });
}

/// Moves the means of the rows of a block on, and gives the sums of squares by column.
fn mean_squares(grads: &[f32], rows: &mut [f32], width: usize, c: &Constants) -> Vec<f64> {
    let mut sums = vec![0f64; width];
    for (grads, row) in grads.chunks_exact(width).zip(rows) {
        for (sum, &g) in sums.iter_mut().zip(grads) {
            let g = f64::from(g * c.clip);
            *sum += g * g;
        }
        let clip = f64::from(c.clip);
        let mean = (clip * clip * sum_of_squares_of(grads) / width as f64) as f32 + c.eps;
        *row = c.beta2 * *row + c.one_minus_beta2 * mean;
    }
    sums
}

/// Σ step² over a block.
fn step_squares(grads: &[f32], by_row: &[f32], by_column: &[f32], clip: f32) -> f64 {
    let mut total = 0.0;
    for (grads, &row) in grads.chunks_exact(by_column.len()).zip(by_row) {
        let mut lanes = [0f64; 8];
        for (i, (&g, &column)) in grads.iter().zip(by_column).enumerate() {
            let step = f64::from(g * clip * (row * column));
            lanes[i % 8] += step * step;
        }
        total += lanes.iter().sum::<f64>();
    }
    total
}

/// Calls `f(i, parameters, gradients, first moment)` on blocks, on several threads if there is more than one.
fn for_blocks(
    params: &mut [f32],
    grads: Grads<'_>,
    first: Option<&mut [f32]>,
    block: usize,
    f: impl Fn(usize, &mut [f32], &[f32], Option<&mut [f32]>) + Send + Sync,
) {
    let step = |i: usize, p: &mut [f32], m: Option<&mut [f32]>| {
        grads.with_block(i * block, p.len(), |g| f(i, p, g, m));
    };
    let blocks = params.par_chunks_mut(block);
    match first {
        Some(m) => blocks.zip(m.par_chunks_mut(block)).enumerate().for_each(|(i, (p, m))| step(i, p, Some(m))),
        None => blocks.enumerate().for_each(|(i, p)| step(i, p, None)),
    }
}

/// p ← keep·p − step, with step = `step_size`·gradient·factor, or its running mean.
fn take_step(
    params: &mut [f32],
    grads: &[f32],
    first: Option<&mut [f32]>,
    c: &Constants,
    step_size: f32,
    factors: impl Iterator<Item = f32>,
) {
    let steps = grads.iter().zip(factors).map(|(&g, factor)| step_size * (g * c.clip * factor));
    match first {
        None => params.iter_mut().zip(steps).for_each(|(p, step)| *p = c.keep * *p - step),
        Some(m) => {
            for ((p, m), step) in params.iter_mut().zip(m).zip(steps) {
                *m = c.beta1 * *m + (1.0 - c.beta1) * step;
                *p = c.keep * *p - *m;
            }
        }
    }
}
