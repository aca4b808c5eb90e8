//! Acts on a published table.

use super::policy::{EpsilonGreedy, argmax};
use super::table::QTable;
use crate::acting::check_streams;
use retune::agent::{Actor, Decision, Mode, Snapshot};
use retune::rng::StreamRng;
use retune::{Error, Result};
use std::sync::Arc;

/// Name of the table among the published parameters.
pub(super) const Q: &str = "q";
/// Name of the exploration rate among them.
pub(super) const EPSILON: &str = "epsilon";

/// Explores in training; measured, it takes the first of the best actions.
pub(super) struct TabularActor {
    table: QTable,
    policy: EpsilonGreedy,
    loaded: bool,
}

impl TabularActor {
    pub fn new(shape: (usize, usize)) -> Self {
        Self { table: QTable::new(shape, 0.0), policy: EpsilonGreedy::GREEDY, loaded: false }
    }

    fn decide(&self, state: u32, rng: &mut StreamRng, mode: Mode) -> Result<Decision<u32>> {
        let (states, _) = self.table.shape();
        if state as usize >= states {
            return Err(Error::State(format!("state {state}, the table has {states}")));
        }
        let q = self.table.row(state);
        Ok(match mode {
            Mode::Train => {
                let (action, probability) = self.policy.sample(q, rng);
                Decision { action, log_prob: probability.ln() as f32 }
            }
            Mode::Evaluate => Decision { action: argmax(q), log_prob: 0.0 },
        })
    }
}

impl Actor<u32, u32> for TabularActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        let missing = |name: &str| Error::State(format!("the snapshot has no parameter {name}"));
        let q = snapshot.params.get(Q).ok_or_else(|| missing(Q))?;
        let epsilon = snapshot.params.get(EPSILON).ok_or_else(|| missing(EPSILON))?;
        let table = QTable::from_published(q, self.table.shape())?;
        self.policy = EpsilonGreedy { epsilon: f64::from(epsilon.to_scalar::<f32>()?) };
        (self.table, self.loaded) = (table, true);
        Ok(())
    }

    fn act(&mut self, obs: &[Arc<u32>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<u32>>> {
        check_streams(obs.len(), rngs.len())?;
        if !self.loaded {
            return Err(Error::State("a tabular actor must load a snapshot before it acts".to_owned()));
        }
        obs.iter().zip(rngs).map(|(state, rng)| self.decide(**state, rng, mode)).collect()
    }
}
