//! Fused, differentiable kernels for F32 tensors on the CPU.
//!
//! Each is a drop-in for the operation of the same name in [`super::ops`], whose documentation states the contract;
//! the composition of candle operations in [`super::plain`] is its test oracle and what runs elsewhere. A backward
//! pass computes only the gradients that somebody wants. No result depends on the number of [`threads`].

mod attention;
mod buffer;
mod dropout;
mod embedding;
pub(in crate::nn) mod exp;
mod feed_forward;
mod gelu;
mod graph;
mod layer_norm;
mod linear;
mod lora;
mod losses;
mod matmul;
mod peak;
mod quantised;
mod recompute;
pub mod threads;
mod vars;

pub use attention::{attention, attention_dropout};
pub use dropout::dropout;
pub use embedding::{embedding, embedding_sum, masked_mean_pool};
pub use feed_forward::feed_forward;
pub use gelu::activation;
pub(super) use graph::add_here;
pub use layer_norm::layer_norm;
pub use linear::{linear, linear_act};
pub use lora::linear_lora;
pub use losses::{bce_with_logits, cross_entropy, log_softmax, softmax};
pub(in crate::nn) use matmul::transpose_into_panel;
pub use peak::fma_per_second;
pub(super) use quantised::dequantise;
pub use recompute::{Part, recompute};
pub(super) use vars::backward_by_rows;
pub use vars::{backward, backward_once};

use candle_core::{DType, Tensor};

/// What computes the matrix products of the kernels on this machine, for people.
#[must_use]
pub fn matmul_kernel() -> &'static str {
    matmul::Kernel::best().name()
}

/// Whether the kernels can take these tensors: F32 on the CPU.
#[must_use]
pub fn supports(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32)
}

#[cfg(test)]
mod tests;
