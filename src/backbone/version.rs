//! Weight versions: checksums that tell two sets of weights apart.

use crate::Result;
use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// SHA-256 of name, shape and F32 bits of one parameter.
pub(super) fn digest(name: &str, tensor: &Tensor) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name.as_bytes());
    hash.update((tensor.rank() as u64).to_le_bytes());
    for &dim in tensor.dims() {
        hash.update((dim as u64).to_le_bytes());
    }
    let values = tensor.detach().flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
    let mut bytes = Vec::with_capacity(4 * values.len().min(1 << 14));
    for chunk in values.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|v| v.to_le_bytes()));
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
