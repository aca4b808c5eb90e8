//! Small fully connected networks on plain `f32` slices: no graph, no tensors, no allocation once warm.
//!
//! A network of a few thousand parameters computes for microseconds; a tensor library spends more than that on every
//! operation around it. Here all parameters of a model lie in one flat array that a [`Layout`] gives names to, a
//! [`Stack`] of dense layers reads and differentiates them, and [`Adam`] updates the whole array in one pass.
//!
//! * Weights are `[inputs, outputs]`, row by row, each row padded with zeros to a multiple of [`LANES`] values. Padding
//!   stays zero: its gradients are zero, and so are its updates.
//! * Every element of a product is one chain of multiply-adds over the inner dimension, whatever the instruction set,
//!   the number of rows and the number of threads. So a row of a batch has the same bits as the same row alone: an
//!   actor that asks about one state and a learner that asks about 256 agree exactly.
//! * Products up to [`MIN_PARALLEL_WORK`] stay on the calling thread.
//!
//! `forward` of a 4-64-64-2 network for one state takes well under a microsecond; the figures against PyTorch are
//! printed by `benches/mlp.rs`.

mod adam;
mod init;
mod kernel;
mod layout;
mod stack;
#[cfg(test)]
mod tests;

pub use adam::{Adam, AdamConfig};
pub use init::{constant, orthogonal, torch_uniform, uniform};
pub use kernel::MIN_PARALLEL_WORK;
pub use layout::{Block, Layout};
pub use stack::{Activation, Dense, Stack, Trace};

/// Rows of matrices are padded to a multiple of this many values: one AVX-512 register, two of AVX2, four of NEON.
pub const LANES: usize = 16;

/// `cols` rounded up to a multiple of [`LANES`]: how far apart the rows of a matrix of so many columns are.
#[must_use]
pub const fn padded(cols: usize) -> usize {
    cols.div_ceil(LANES) * LANES
}
