//! Tables for observations whose state is a list of one-hot blocks, such as a belief in bins, and whose mask says which
//! candidates are legal.

use super::actor::TabularActor;
use super::config::TabularConfig;
use super::learner::TabularLearner;
use super::memory::Move;
use crate::acting::check_streams;
use retune::agent::{Actor, Agent, Decision, Learner, Ledger, Metrics, Mode, Rollout, Snapshot, Stop};
use retune::env::{CandidateObs, EnvSpec, ObsSpec, Slate, TextId};
use retune::persist::StateDict;
use retune::rng::{Seed, StreamRng};
use retune::{Error, Result};
use std::sync::Arc;

/// Most values of a table, half a gigabyte.
const MAX_CELLS: usize = 1 << 26;

/// Sizes of the one-hot blocks of a state: states are numbered by the places of the ones, the last block fastest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Blocks(Vec<usize>);

impl Blocks {
    /// Number of states; `None` if that overflows.
    fn num_states(&self) -> Option<usize> {
        self.0.iter().try_fold(1usize, |n, &size| n.checked_mul(size))
    }

    fn number(&self, state: &[f32]) -> Result<u32> {
        let (mut number, mut rest) = (0, state);
        for &size in &self.0 {
            let (block, after) = rest.split_at_checked(size).ok_or_else(|| self.misfit(state))?;
            let one = block.iter().position(|&x| x == 1.0).ok_or_else(|| self.misfit(state))?;
            number = number * size + one;
            rest = after;
        }
        if rest.is_empty() { Ok(number as u32) } else { Err(self.misfit(state)) }
    }

    fn misfit(&self, state: &[f32]) -> Error {
        Error::State(format!("a state of {} numbers, expected one-hot blocks of {:?}", state.len(), self.0))
    }
}

/// A tabular agent that sees candidates, and takes only those that the mask allows.
pub struct BlockTableAgent(BlockLearner);

struct BlockLearner {
    blocks: Blocks,
    table: TabularLearner,
}

struct BlockActor {
    blocks: Blocks,
    table: TabularActor,
}

impl BlockTableAgent {
    /// A fresh agent for states of one-hot `blocks` of these sizes.
    ///
    /// # Errors
    /// [`Error::Config`] if a setting is out of range or contradicts another, the env does not offer candidates with such
    /// states, or the table would be too large, before memory is taken.
    pub fn new(config: &TabularConfig, blocks: &[usize], spec: &EnvSpec, seed: &Seed) -> Result<Self> {
        let blocks = Blocks(blocks.to_vec());
        let ObsSpec::Candidates(candidates) = &spec.obs else {
            return Err(Error::config("env", &spec.id, "expected candidates"));
        };
        if candidates.state_dim != blocks.0.iter().sum::<usize>() || blocks.0.contains(&0) {
            let expected = format!("expected states of one-hot blocks {:?}", blocks.0);
            return Err(Error::config("env", &spec.id, expected));
        }
        let shape = blocks.num_states().map(|states| (states, candidates.num_candidates));
        let cells = shape.and_then(|(states, actions)| states.checked_mul(actions)).filter(|&c| c <= MAX_CELLS);
        let (Some(shape), Some(_)) = (shape, cells) else {
            let found = format!("blocks {:?} by {} candidates", blocks.0, candidates.num_candidates);
            let expected = format!("expected at most {MAX_CELLS} values in a table; use fewer bins or fewer questions");
            return Err(Error::config("env", found, expected));
        };
        Ok(Self(BlockLearner { blocks, table: TabularLearner::with_shape(config, shape, seed)? }))
    }
}

impl Agent<CandidateObs, Slate> for BlockTableAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        let table = TabularActor::new(self.0.table.table().shape());
        Ok(Box::new(BlockActor { blocks: self.0.blocks.clone(), table }))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.0
    }
}

impl Actor<CandidateObs, Slate> for BlockActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        self.table.load(snapshot)
    }

    fn act(&mut self, obs: &[Arc<CandidateObs>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<Slate>>> {
        check_streams(obs.len(), rngs.len())?;
        let mut decide = |(obs, rng): (&Arc<CandidateObs>, &mut StreamRng)| {
            let decided = self.table.decide(self.blocks.number(&obs.state)?, &obs.mask, rng, mode)?;
            Ok(Decision { action: Slate(vec![decided.action]), log_prob: decided.log_prob })
        };
        obs.iter().zip(rngs).map(&mut decide).collect()
    }
}

impl Learner<CandidateObs, Slate> for BlockLearner {
    fn snapshot(&mut self, texts: &[TextId]) -> Result<Arc<Snapshot>> {
        self.table.snapshot(texts)
    }

    fn learn(&mut self, rollout: Rollout<CandidateObs, Slate>, stop: &Stop) -> Result<Metrics> {
        stop.check()?;
        let mut moves = Vec::with_capacity(rollout.env_steps());
        for segment in &rollout.segments {
            for step in &segment.steps {
                let [action] = step.action.0[..] else {
                    let message = format!("a slate of {} candidates, expected one", step.action.0.len());
                    return Err(Error::State(message));
                };
                let step = Move {
                    state: self.blocks.number(&step.obs.state)?,
                    action,
                    reward: step.reward,
                    status: step.status,
                    next_state: self.blocks.number(&step.next_obs.state)?,
                    legal: step.obs.mask.clone(),
                    next_legal: step.next_obs.mask.clone(),
                };
                moves.push((segment.env, step));
            }
        }
        self.table.take_in(rollout.env_steps() as u64, moves.into_iter())
    }

    fn ledger(&self) -> Ledger {
        self.table.ledger()
    }

    fn trainable_parameters(&self) -> usize {
        self.table.trainable_parameters()
    }

    fn save(&self, state: &mut StateDict, prefix: &str) -> Result<()> {
        self.table.save(state, prefix)
    }

    fn load(&mut self, state: &StateDict, prefix: &str) -> Result<()> {
        self.table.load(state, prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_numbered_by_the_places_of_the_ones() {
        let blocks = Blocks(vec![2, 3]);
        assert_eq!(blocks.num_states(), Some(6));
        assert_eq!(blocks.number(&[0., 1., 0., 0., 1.]).unwrap(), 5);
        assert_eq!(blocks.number(&[1., 0., 0., 1., 0.]).unwrap(), 1);
        for wrong in [&[1., 0., 0., 0., 0.][..], &[1., 0., 1., 0.], &[1., 0., 1., 0., 0., 1.]] {
            let error = blocks.number(wrong).unwrap_err().to_string();
            assert!(error.contains("one-hot blocks of [2, 3]"), "{error}");
        }
    }
}
