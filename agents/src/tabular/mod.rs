//! Tabular reinforcement learning: one value per state and action, for environments whose observation is the number of
//! a state. See `README.md` here for the algorithms and their sources.
//!
//! [`TabularAgent`] runs in every runner; [`BlockTableAgent`] is the same for candidates whose states are one-hot blocks, with
//! masks. With one env slot and one step a round it is the textbook's online algorithm,
//! update by update; with more, the actors see the values of the last round.
//!
//! Metrics: `td_error`, mean of |target − Q| over the updates of the round; `epsilon`, `learning_rate`, as used in the
//! round (before division by visits); `updates`, number of updates so far.

mod actor;
mod backup;
mod blocks;
mod config;
mod learner;
mod memory;
mod policy;
mod table;
#[cfg(test)]
mod tests;
mod traces;

pub use blocks::BlockTableAgent;
pub use config::{Linear, TabularAlgorithm, TabularConfig, TraceKind};
pub use learner::TabularLearner;
pub use policy::EpsilonGreedy;
pub use table::QTable;

use actor::TabularActor;
use retune::Result;
use retune::agent::{Actor, Agent, Learner};
use retune::env::EnvSpec;
use retune::rng::Seed;

/// A tabular agent.
pub struct TabularAgent {
    learner: TabularLearner,
}

impl TabularAgent {
    /// A fresh agent for environments of this spec.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if a setting is out of range or contradicts another, or the spec does not describe
    /// numbered states and actions.
    pub fn new(config: &TabularConfig, spec: &EnvSpec, seed: &Seed) -> Result<Self> {
        Ok(Self { learner: TabularLearner::new(config, spec, seed)? })
    }

    /// The learner with its table.
    #[must_use]
    pub fn tabular(&self) -> &TabularLearner {
        &self.learner
    }
}

impl Agent<u32, u32> for TabularAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<u32, u32>>> {
        Ok(Box::new(TabularActor::new(self.learner.table().shape())))
    }

    fn learner(&mut self) -> &mut dyn Learner<u32, u32> {
        &mut self.learner
    }
}
