//! Output buffers that are written once instead of zeroed and then written, and access to tensor memory.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;

/// A buffer of `len` values that are not yet written.
pub(super) fn uninit(len: usize) -> Vec<MaybeUninit<f32>> {
    let mut buffer = Vec::with_capacity(len);
    // SAFETY: the capacity is `len`, and `MaybeUninit` needs no initialisation.
    unsafe { buffer.set_len(len) };
    buffer
}

/// The same memory as plain values.
///
/// # Safety
/// Every element must have been written.
pub(super) unsafe fn assume_init(buffer: Vec<MaybeUninit<f32>>) -> Vec<f32> {
    let mut buffer = ManuallyDrop::new(buffer);
    // SAFETY: pointer, length and capacity come from a vector that is not dropped; `MaybeUninit<f32>` has the layout
    // of `f32`, and the caller promises that all elements are written.
    unsafe { Vec::from_raw_parts(buffer.as_mut_ptr().cast::<f32>(), buffer.len(), buffer.capacity()) }
}

/// The values of a contiguous F32 storage.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (CpuStorage::F32(data), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
        candle_core::bail!("fused kernels take contiguous f32 tensors on the CPU, got {layout:?}")
    };
    Ok(&data[start..end])
}

/// A tensor held for reading. The guard is generic because candle's lock has no name outside of candle.
pub(super) struct Held<'a, G> {
    storage: G,
    layout: &'a Layout,
}

/// Holds `tensor` for reading.
pub(super) fn hold(tensor: &Tensor) -> Held<'_, impl Deref<Target = Storage> + '_> {
    let (storage, layout) = tensor.storage_and_layout();
    Held { storage, layout }
}

impl<G: Deref<Target = Storage>> Held<'_, G> {
    /// The values; the tensor must be contiguous.
    pub(super) fn get(&self) -> Result<&[f32]> {
        match &*self.storage {
            Storage::Cpu(storage) => values(storage, self.layout),
            _ => candle_core::bail!("fused kernels run on the CPU only"),
        }
    }
}

/// Shared access to an output of which every task writes its own part.
#[derive(Clone, Copy)]
pub(super) struct SharedOutput {
    start: *mut f32,
    len: usize,
}

// SAFETY: the pointer is only dereferenced through `rows`, whose contract rules out overlapping writes.
unsafe impl Send for SharedOutput {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput {}

impl SharedOutput {
    pub(super) fn of(buffer: &mut [MaybeUninit<f32>]) -> Self {
        Self { start: buffer.as_mut_ptr().cast(), len: buffer.len() }
    }

    /// Pointer to element `offset` of a block of `rows` rows of `cols` values, `stride` apart, all of it inside.
    ///
    /// # Panics
    /// If the block leaves the buffer.
    pub(super) fn block(self, offset: usize, rows: usize, cols: usize, stride: usize) -> *mut f32 {
        assert!(rows == 0 || cols == 0 || offset + (rows - 1) * stride + cols <= self.len, "block outside of output");
        self.start.wrapping_add(offset)
    }
}
