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

use crate::agent::{Rollout, Transition};
use crate::env::{CandidateObs, Slate};
use crate::{Error, Result};

/// Hands the transitions of a round to `push` with their env slots, one slot after the other; says where one that does not
/// fit was.
fn each_step(
    rollout: &Rollout<CandidateObs, Slate>,
    num_envs: usize,
    mut push: impl FnMut(usize, &Transition<CandidateObs, Slate>) -> Result<()>,
) -> Result<()> {
    for segment in &rollout.segments {
        let env = segment.env;
        if env >= num_envs {
            return Err(Error::State(format!("a transition of env slot {env} in a memory for {num_envs} slots")));
        }
        for (t, step) in segment.steps.iter().enumerate() {
            let place = |e| Error::State(format!("round {}, env slot {env}, step {t}: {e}", rollout.round));
            push(env, step).map_err(place)?;
        }
    }
    Ok(())
}
