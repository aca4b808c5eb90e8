//! Weight versions: checksums that tell two sets of weights apart.

use crate::Result;
use crate::nn::Quantised;
use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Values that are looked at together: a copy of a whole word table would be the largest thing in memory.
const BLOCK: usize = 1 << 16;

/// SHA-256 of name, shape and F32 bits of one parameter.
pub(super) fn digest(name: &str, tensor: &Tensor) -> Result<[u8; 32]> {
    digest_of(name, tensor.dims(), |start, rows| Ok(tensor.detach().narrow(0, start, rows)?))
}

/// [`digest`] of the F32 form of a matrix in 8 bits.
pub(super) fn digest_quantised(name: &str, matrix: &Quantised) -> Result<[u8; 32]> {
    digest_of(name, matrix.dims(), |start, rows| matrix.block(start, rows))
}

/// `block` gives consecutive rows of the first axis.
fn digest_of(name: &str, dims: &[usize], block: impl Fn(usize, usize) -> Result<Tensor>) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name.as_bytes());
    hash.update((dims.len() as u64).to_le_bytes());
    for &dim in dims {
        hash.update((dim as u64).to_le_bytes());
    }
    let (rows, width) = (dims.first().copied().unwrap_or(0), dims.iter().skip(1).product::<usize>().max(1));
    let step = (BLOCK / width).max(1);
    let mut bytes = Vec::with_capacity(4 * step.min(rows) * width);
    for start in (0..rows).step_by(step) {
        let values = block(start, step.min(rows - start))?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        bytes.clear();
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        hash.update(&bytes);
    }
    Ok(hash.finalize().into())
}

/// The version of a set of parameters, as hex: SHA-256 over their digests in name order, so that digests of what
/// does not change need not be taken again.
pub(super) fn combine(digests: &BTreeMap<String, [u8; 32]>) -> String {
    let mut hash = Sha256::new();
    for digest in digests.values() {
        hash.update(digest);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
