//! Memories of past experience: bounded, sampled from a named stream, saved exactly.
//!
//! [`Replay`] holds values of any type. [`CandidateReplay`] holds transitions of candidate-set environments in flat
//! columns, allocated once, and hands out [`CandidateBatch`]es that are ready to become tensors. [`DecisionReplay`] is
//! the same for single decisions, with n-step sums and [`Priorities`].

mod batch;
mod candidate;
mod column;
mod decision;
mod priorities;
mod ring;
mod sampling;
#[cfg(test)]
mod tests;
mod window;

pub use batch::{CandidateBatch, NO_TEXT, ObsBatch};
pub use candidate::{CandidateReplay, CandidateReplayConfig};
pub use decision::{DecisionBatch, DecisionReplay, DecisionReplayConfig};
pub use priorities::{Priorities, PriorityConfig, SumTree, WeightScale};
pub use ring::Replay;
pub use sampling::Sampling;
