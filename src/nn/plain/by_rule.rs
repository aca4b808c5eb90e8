//! Values of kernels that have no backward pass, given one: a GPU runs one kernel instead of five.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail};

/// The gradient of x, of the value and its own gradient.
type Rule = fn(value: &Tensor, grad: &Tensor) -> Result<Tensor>;

/// Gradients of three inputs, of these and the gradient of the value.
pub(super) trait Rule3 {
    fn gradients(&self, inputs: [&Tensor; 3], grad: &Tensor) -> Result<[Option<Tensor>; 3]>;
}

/// `value`, contiguous, as a function of `x` whose gradient `rule` tells.
pub(super) fn of_one(x: &Tensor, value: Tensor, rule: Rule) -> Result<Tensor> {
    if x.track_op() { x.apply_op1(One { value, rule }) } else { Ok(value) }
}

/// `value`, contiguous, as a function of three inputs whose gradients `rule` tells.
pub(super) fn of_three(
    inputs: [&Tensor; 3],
    value: Tensor,
    rule: impl Rule3 + Send + Sync + 'static,
) -> Result<Tensor> {
    let [x, y, z] = inputs;
    if inputs.iter().any(|t| t.track_op()) { x.apply_op3(y, z, Three { value, rule }) } else { Ok(value) }
}

struct One {
    value: Tensor,
    rule: Rule,
}

struct Three<R> {
    value: Tensor,
    rule: R,
}

fn on_cpu(value: &Tensor) -> Result<(CpuStorage, Shape)> {
    let (storage, layout) = value.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
        _ => bail!("a value on another device than its input"),
    }
}

fn on_cuda(value: &Tensor) -> Result<(CudaStorage, Shape)> {
    let (storage, layout) = value.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
        _ => bail!("a value on another device than its input"),
    }
}

impl CustomOp1 for One {
    fn name(&self) -> &'static str {
        "value-with-gradient"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        on_cpu(&self.value)
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        on_cuda(&self.value)
    }

    fn bwd(&self, _: &Tensor, value: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        (self.rule)(&value.detach(), grad).map(Some)
    }
}

impl<R: Rule3> CustomOp3 for Three<R> {
    fn name(&self) -> &'static str {
        "value-with-gradients"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        on_cpu(&self.value)
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        on_cuda(&self.value)
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        z: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, y, z] = self.rule.gradients([x, y, z], grad)?;
        Ok((x, y, z))
    }
}
