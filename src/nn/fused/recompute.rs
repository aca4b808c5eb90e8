//! Part of a graph whose activations are computed a second time instead of being kept (Chen et al., "Training deep nets
//! with sublinear memory cost", 2016).

use super::buffer::hold;
use super::graph::{Backward, Grad, record};
use super::vars;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, Var, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// A part of a model: from its input to its output, which has a graph exactly where something tracked takes part.
pub type Part = Box<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// `part(x)`, of which only `x` is kept for the backward pass. `params` are the variables that `part` uses; those that
/// are left out get no gradient. Values and gradients have the bits of `part` itself.
///
/// # Errors
/// If `part` fails, or gives something else than an F32 tensor on the CPU.
pub fn recompute(x: &Tensor, params: &[Tensor], part: Part) -> Result<Tensor> {
    if !x.track_op() && params.is_empty() {
        return part(x);
    }
    // The graph of this first pass goes when `y` does; what follows sees the values alone.
    let y = part(&x.detach())?.detach();
    let values = values_of(&y)?;
    let grads = Grads(Arc::new(Mutex::new(vec![None; params.len()])));
    let inputs = [Some(x.contiguous()?), tie(params, &grads)?];
    let op = Recompute { part, params: params.to_vec(), grads };
    let inputs: Vec<&Tensor> = inputs.iter().flatten().collect();
    record(op, &inputs, values, y.shape())
}

struct Recompute {
    part: Part,
    params: Vec<Tensor>,
    grads: Grads,
}

impl Backward for Recompute {
    fn name(&self) -> &'static str {
        "recompute"
    }

    fn backward(&self, inputs: &[Tensor], wanted: &[bool], grad: Vec<f32>) -> Result<Vec<Grad>> {
        // A variable of its own, so that the second graph ends here.
        let leaf = if wanted[0] { Some(Var::from_tensor(&inputs[0])?) } else { None };
        let x = leaf.as_ref().map_or(&inputs[0], |leaf| leaf.as_tensor());
        let y = (self.part)(x)?;
        let grad = Tensor::from_vec(grad, y.shape(), y.device())?;
        // d(Σ y·grad)/dy is `grad` to the bit.
        let mut found = vars::backward_once(&(y * grad)?.sum_all()?)?;
        let dx = match &leaf {
            None => Grad::None,
            Some(leaf) => match found.remove(leaf) {
                Some(dx) => Grad::Own(values_of(&dx)?),
                None => bail!("recompute: the part does not depend on its input"),
            },
        };
        let mut grads = self.grads.lock();
        for (param, slot) in self.params.iter().zip(grads.iter_mut()) {
            if let Some(grad) = found.remove(param) {
                *slot = vars::deliver(param, values_of(&grad)?)?;
            }
        }
        let tied = if self.params.is_empty() { None } else { Some(Grad::Own(vec![0.0])) };
        Ok([Some(dx), tied].into_iter().flatten().collect())
    }
}

fn values_of(tensor: &Tensor) -> Result<Vec<f32>> {
    let tensor = tensor.contiguous()?;
    Ok(hold(&tensor).get()?.to_vec())
}

/// Gradients of the parameters on their way from the operation to candle; those put aside are not here.
#[derive(Clone)]
struct Grads(Arc<Mutex<Vec<Option<Tensor>>>>);

impl Grads {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Tensor>>> {
        // Each entry is replaced as a whole, so it is sound even if another thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One tensor of one value that has all parameters below it: candle's operations have three inputs at most.
fn tie(params: &[Tensor], grads: &Grads) -> Result<Option<Tensor>> {
    let Some((first, rest)) = params.split_first() else { return Ok(None) };
    // The first is tied to itself: it gets its gradient once.
    let mut tied = first.apply_op2(first, Tie { grads: grads.clone(), index: 0, ends: true })?;
    for (index, param) in rest.iter().enumerate() {
        tied = tied.apply_op2(param, Tie { grads: grads.clone(), index: index + 1, ends: false })?;
    }
    Ok(Some(tied))
}

struct Tie {
    grads: Grads,
    index: usize,
    /// Whether both inputs are the first parameter.
    ends: bool,
}

impl CustomOp2 for Tie {
    fn name(&self) -> &'static str {
        "recompute-tie"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, zero: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let own = self.grads.lock()[self.index].take();
        Ok((if self.ends { None } else { Some(zero.clone()) }, own))
    }
}
