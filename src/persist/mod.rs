//! Saved state: named tensors and JSON values, in checksummed files that are written whole or not at all.
//!
//! A [`StateDict`] is filled by everything a continuation depends on. [`save_file`] and [`load_file`] give it a file;
//! a [`CheckpointDir`] keeps the last few such files and falls back when the newest is damaged. [`write_atomic`]
//! serves every other file that must never be seen half-written.

mod atomic;
mod checkpoint;
mod file;
mod state;

pub use atomic::write_atomic;
pub use checkpoint::{CheckpointDir, DamagedCheckpoint, LoadedCheckpoint};
pub use file::{FORMAT_VERSION, load_file, save_file};
pub use state::{RawTensor, StateDict};
