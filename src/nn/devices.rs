//! The devices that tensors can live on.

use candle_core::utils::cuda_is_available;
use candle_core::{Device, Tensor};

/// The CPU and, in a program built with the feature `cuda`, the first GPU if it can be used.
#[must_use]
pub fn devices() -> Vec<Device> {
    let mut devices = vec![Device::Cpu];
    if cuda_is_available() {
        devices.extend(gpu(0));
    }
    devices
}

/// The GPU of this number, in a program built with the feature `cuda`.
///
/// # Errors
/// The driver's own words if there is no such GPU or it cannot be used.
pub fn gpu(number: usize) -> Result<Device, String> {
    Device::new_cuda(number).map_err(|e| e.to_string())
}

/// A real copy on the CPU, which later changes of `tensor` do not reach.
///
/// # Errors
/// If the tensor cannot be copied.
pub fn host_copy(tensor: &Tensor) -> crate::Result<Tensor> {
    let tensor = tensor.detach();
    Ok(if tensor.device().is_cpu() { tensor.copy()? } else { tensor.to_device(&Device::Cpu)? })
}

/// Runs a check on each of [`devices`] and says on standard error which one it is.
#[doc(hidden)]
pub fn on_each_device(check: impl Fn(&Device)) {
    for device in devices() {
        eprintln!("on {device:?}");
        check(&device);
    }
}
