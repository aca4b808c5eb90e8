//! Memory of an optimizer, passes over a parameter without temporaries, and sums in a fixed order.

use crate::nn::{Gradient, RowGradient};
use crate::persist::StateDict;
use crate::{Error, Result};
use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Storage, Tensor, Var, bail};
use rayon::prelude::*;
use std::sync::Mutex;

/// Values that one rayon task handles: large enough to pay for itself, and a fixed split of every sum.
pub(in crate::nn) const CHUNK: usize = 1 << 14;

/// What an optimizer keeps of a parameter, beside it.
#[derive(Debug)]
pub(super) enum Buffer {
    /// On the CPU: flat, so that one pass can go over it together with parameter and gradient.
    Host(Vec<f32>),
    /// On another device, in the shape of what it belongs to.
    Device(Tensor),
}

impl Buffer {
    /// Zeros of this shape where `var` lives.
    pub(super) fn zeros(var: &Var, shape: &[usize]) -> Result<Self> {
        Ok(if var.device().is_cpu() {
            Self::Host(vec![0.0; shape.iter().product()])
        } else {
            Self::Device(Tensor::zeros(shape, DType::F32, var.device())?)
        })
    }

    /// The values in `state` under `name`.
    pub(super) fn load(state: &StateDict, name: &str, var: &Var, shape: &[usize]) -> Result<Self> {
        let (values, expected) = (state.f32s(name)?, shape.iter().product::<usize>());
        if values.len() != expected {
            let saved = values.len();
            return Err(Error::State(format!("{name} has {saved} values, the parameter calls for {expected}")));
        }
        Ok(if var.device().is_cpu() {
            Self::Host(values)
        } else {
            Self::Device(Tensor::from_vec(values, shape, var.device())?)
        })
    }

    pub(super) fn save(&self, state: &mut StateDict, name: &str) -> Result<()> {
        match self {
            Self::Host(values) => state.put_f32s(name, values),
            Self::Device(tensor) => state.put_tensor(name, &tensor.flatten_all()?)?,
        }
        Ok(())
    }
}

/// Values of a gradient, block by block.
#[derive(Clone, Copy)]
pub(super) enum Grads<'a> {
    Dense(&'a [f32]),
    Rows(&'a RowGradient),
}

impl Grads<'_> {
    /// Calls `f` with `len` values from `start` on.
    pub(super) fn with_block<R>(self, start: usize, len: usize, f: impl FnOnce(&[f32]) -> R) -> R {
        match self {
            Self::Dense(values) => f(&values[start..][..len]),
            Self::Rows(rows) => rows.with_block(start, len, f),
        }
    }
}

/// Runs `pass` over the values of parameter and gradient, the parameter in place. Both are F32 on the CPU, contiguous,
/// and of equal length.
pub(super) fn in_place<R>(var: &Var, grad: &Gradient, pass: impl FnOnce(&mut [f32], Grads<'_>) -> R) -> Result<R> {
    match grad {
        Gradient::Rows(rows) => over_params(var, |params| pass(params, Grads::Rows(rows))),
        Gradient::Dense(grad) => {
            let (storage, layout) = grad.storage_and_layout();
            let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) = (&*storage, layout.contiguous_offsets())
            else {
                return Err(Error::State("optimizer: a gradient is not contiguous F32 on the CPU".to_owned()));
            };
            over_params(var, |params| pass(params, Grads::Dense(&values[start..end])))
        }
    }
}

fn over_params<R>(var: &Var, pass: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
    let work = Mutex::new((Some(pass), None));
    var.inplace_op1(&InPlace(&work))?;
    let done = work.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(done.1.expect("an in-place operation runs its kernel or fails"))
}

/// Behind a lock because candle hands an operation out as a shared reference.
struct InPlace<'a, F, R>(&'a Mutex<(Option<F>, Option<R>)>);

impl<F: FnOnce(&mut [f32]) -> R, R> InplaceOp1 for InPlace<'_, F, R> {
    fn name(&self) -> &'static str {
        "optimizer-step"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(params), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("optimizer: a parameter is not contiguous F32");
        };
        let Ok(mut work) = self.0.lock() else { bail!("optimizer: left behind by a panic") };
        if let Some(pass) = work.0.take() {
            work.1 = Some(pass(&mut params[start..end]));
        }
        Ok(())
    }
}

/// Calls `f` on chunks of parameters and gradients, on several threads if they are long.
pub(super) fn for_chunks2(a: &mut [f32], b: Grads<'_>, f: impl Fn(&mut [f32], &[f32]) + Send + Sync) {
    if a.len() <= CHUNK {
        return b.with_block(0, a.len(), |b| f(a, b));
    }
    let chunks = a.par_chunks_mut(CHUNK).enumerate();
    chunks.for_each(|(i, a)| b.with_block(i * CHUNK, a.len(), |b| f(a, b)));
}

/// Calls `f` on chunks of parameters, gradients and what is kept beside, on several threads if they are long.
pub(super) fn for_chunks3(
    a: &mut [f32],
    b: Grads<'_>,
    c: &mut [f32],
    f: impl Fn(&mut [f32], &[f32], &mut [f32]) + Send + Sync,
) {
    if a.len() <= CHUNK {
        return b.with_block(0, a.len(), |b| f(a, b, c));
    }
    let chunks = a.par_chunks_mut(CHUNK).zip(c.par_chunks_mut(CHUNK)).enumerate();
    chunks.for_each(|(i, (a, c))| b.with_block(i * CHUNK, a.len(), |b| f(a, b, c)));
}

/// Σ x² in F64, summed in a fixed order whatever the number of threads. Not finite exactly if an entry is not.
pub(super) fn sum_of_squares(x: &Tensor) -> Result<f64> {
    let (storage, layout) = x.storage_and_layout();
    let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        drop(storage);
        return Ok(square_on_device(x)?.to_scalar()?);
    };
    Ok(sum_of_squares_of(&values[start..end]))
}

/// [`sum_of_squares`] of each, of which those on a GPU cross to the host together: each crossing waits for all work there.
pub(super) fn sums_of_squares(tensors: &[&Tensor]) -> Result<Vec<f64>> {
    let away: Vec<Tensor> =
        tensors.iter().filter(|x| !x.device().is_cpu()).map(|x| square_on_device(x)).collect::<Result<_>>()?;
    let mut crossed = if away.is_empty() { Vec::new() } else { Tensor::stack(&away, 0)?.to_vec1()? }.into_iter();
    let square = |x: &&Tensor| match x.device().is_cpu() {
        true => sum_of_squares(x),
        false => Ok(crossed.next().expect("one for each tensor that is not on the CPU")),
    };
    tensors.iter().map(square).collect()
}

/// Σ x² as an F64 scalar where `x` is.
fn square_on_device(x: &Tensor) -> Result<Tensor> {
    total_by_rows(&x.flatten_all()?.to_dtype(DType::F64)?.sqr()?)
}

/// Σ x of a vector, by rows first: a sum over everything is the work of a single block of threads of a GPU.
fn total_by_rows(x: &Tensor) -> Result<Tensor> {
    const ROW: usize = 1024;
    let count = x.elem_count();
    if count <= ROW {
        return Ok(x.sum_all()?);
    }
    let (rows, rest) = (count / ROW, count % ROW);
    let sums = x.narrow(0, 0, rows * ROW)?.reshape((rows, ROW))?.sum(1)?;
    if rest == 0 {
        return total_by_rows(&sums);
    }
    total_by_rows(&Tensor::cat(&[&sums, &x.narrow(0, rows * ROW, rest)?.sum_keepdim(0)?], 0)?)
}

/// [`sum_of_squares`] of a slice.
pub(in crate::nn) fn sum_of_squares_of(values: &[f32]) -> f64 {
    if values.len() <= CHUNK {
        return chunk_sum_of_squares(values);
    }
    let parts: Vec<f64> = values.par_chunks(CHUNK).map(chunk_sum_of_squares).collect();
    parts.iter().sum()
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

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_total_by_rows_is_the_sum_whatever_the_length() {
        for count in [1, 1023, 1024, 1025, 5000, 1024 * 1024, 1024 * 1030 + 7] {
            let values: Vec<f32> = (0..count).map(|i| (i % 17) as f32 - 3.0).collect();
            let expected: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
            let x = Tensor::from_vec(values, count, &Device::Cpu).unwrap();
            let found: f64 = square_on_device(&x).unwrap().to_scalar().unwrap();
            assert_eq!(found, expected, "{count}");
        }
    }
}
