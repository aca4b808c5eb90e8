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

    /// Chooses among the actions that are `legal`; an empty list stands for all.
    pub fn decide(&self, state: u32, legal: &[bool], rng: &mut StreamRng, mode: Mode) -> Result<Decision<u32>> {
        if !self.loaded {
            return Err(Error::State("a tabular actor must load a snapshot before it acts".to_owned()));
        }
        let (states, actions) = self.table.shape();
        if state as usize >= states {
            return Err(Error::State(format!("state {state}, the table has {states}")));
        }
        if !legal.is_empty() && (legal.len() != actions || !legal.contains(&true)) {
            let message =
                format!("{} of {actions} actions with a mask, expected all and one of them legal", legal.len());
            return Err(Error::State(message));
        }
        let q = self.table.legal_row(state, legal);
        Ok(match mode {
            Mode::Train => {
                let (action, probability) = self.policy.sample(&q, rng);
                Decision { action, log_prob: probability.ln() as f32 }
            }
            Mode::Evaluate => Decision { action: argmax(&q), log_prob: 0.0 },
        })
    }

    /// Takes over what was published.
    pub fn load(&mut self, snapshot: &Snapshot) -> Result<()> {
        let missing = |name: &str| Error::State(format!("the snapshot has no parameter {name}"));
        let q = snapshot.params.get(Q).ok_or_else(|| missing(Q))?;
        let epsilon = snapshot.params.get(EPSILON).ok_or_else(|| missing(EPSILON))?;
        let table = QTable::from_published(q, self.table.shape())?;
        self.policy = EpsilonGreedy { epsilon: f64::from(epsilon.to_scalar::<f32>()?) };
        (self.table, self.loaded) = (table, true);
        Ok(())
    }
}

impl Actor<u32, u32> for TabularActor {
    fn load(&mut self, snapshot: &Arc<Snapshot>) -> Result<()> {
        Self::load(self, snapshot)
    }

    fn act(&mut self, obs: &[Arc<u32>], rngs: &mut [StreamRng], mode: Mode) -> Result<Vec<Decision<u32>>> {
        check_streams(obs.len(), rngs.len())?;
        obs.iter().zip(rngs).map(|(state, rng)| self.decide(**state, &[], rng, mode)).collect()
    }
}
