//! Where tensors live.

use crate::failure::bad_input;
use anyhow::Result;
use candle_core::Device;

/// `auto` (a GPU if the program can use one, else the CPU), `cpu` or `cuda:N`.
///
/// # Errors
/// [`crate::failure::BadInput`] for another word or a GPU that cannot be used.
pub fn choose(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(Device::cuda_if_available(0)?),
        _ => {
            let number = name.strip_prefix("cuda:").and_then(|n| n.parse().ok()).ok_or_else(|| {
                bad_input(format!("device = {name}: expected `auto`, `cpu` or `cuda:N`, such as `cuda:0`"))
            })?;
            Device::new_cuda(number).map_err(|e| {
                bad_input(format!(
                    "device = {name}: cannot be used ({e}); expected `auto` or `cpu`, or a program built with \
                     `--features cuda` on a machine that has this GPU"
                ))
            })
        }
    }
}

/// How a device is called in files.
#[must_use]
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}
