//! Where tensors live.

use crate::failure::bad_input;
use anyhow::Result;
use candle_core::Device;
use candle_core::utils::cuda_is_available;
use retune::nn::gpu;

/// `auto` (a GPU if the program can use one, else the CPU), `cpu` or `cuda:N`.
///
/// # Errors
/// [`crate::failure::BadInput`] for another word or a GPU that cannot be used.
pub fn choose(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(auto()),
        _ => {
            let number = name.strip_prefix("cuda:").and_then(|n| n.parse().ok()).ok_or_else(|| {
                bad_input(format!("device = {name}: expected `auto`, `cpu` or `cuda:N`, such as `cuda:0`"))
            })?;
            if !cuda_is_available() {
                return Err(bad_input(format!(
                    "device = {name}: this program was built without CUDA; expected `auto` or `cpu`, or build it with \
                     `--features cuda` (docs/CUDA.md)"
                )));
            }
            gpu(number).map_err(|e| {
                bad_input(format!(
                    "device = {name}: there is no such GPU that can be used ({e}); expected `auto`, `cpu` \
                                   or one that `nvidia-smi --list-gpus` shows"
                ))
            })
        }
    }
}

/// The first GPU, or the CPU where there is none.
fn auto() -> Device {
    if !cuda_is_available() {
        return Device::Cpu;
    }
    gpu(0).unwrap_or_else(|error| {
        tracing::warn!("no GPU can be used ({error}); computing on the CPU");
        Device::Cpu
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        choose(name).expect_err("refused").to_string()
    }

    #[test]
    fn devices_that_cannot_be_used_are_refused_by_name() {
        for wrong in ["gpu", "cuda", "cuda:", "cuda:-1", "cuda:x", "CPU", ""] {
            assert_eq!(
                refusal(wrong),
                format!("device = {wrong}: expected `auto`, `cpu` or `cuda:N`, such as `cuda:0`")
            );
        }
        let message = refusal("cuda:4000");
        let reason = if cuda_is_available() { "there is no such GPU" } else { "this program was built without CUDA" };
        assert!(message.starts_with("device = cuda:4000: ") && message.contains(reason), "{message}");
    }

    #[test]
    fn auto_always_finds_something() {
        let device = choose("auto").expect("the CPU at least");
        assert!(device.is_cpu() || cuda_is_available());
        assert_eq!(name(&choose("cpu").expect("the CPU")), "cpu");
    }
}
