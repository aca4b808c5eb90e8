//! Memories of past experience: bounded, sampled from a named stream, saved exactly.
//!
//! [`Replay`] holds values of any type. [`CandidateReplay`] holds transitions of candidate-set environments in flat
//! columns, allocated once, and hands out [`CandidateBatch`]es that are ready to become tensors.

mod batch;
mod candidate;
mod column;
mod ring;
mod sampling;
#[cfg(test)]
mod tests;

pub use batch::{CandidateBatch, NO_TEXT, ObsBatch};
pub use candidate::{CandidateReplay, CandidateReplayConfig};
pub use ring::Replay;
pub use sampling::Sampling;
