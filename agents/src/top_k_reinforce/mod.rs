//! Policy gradient over slates with the top-K off-policy correction (Chen et al., arXiv:1812.02353). See `README.md`
//! here.
//!
//! Metrics, means over the updates of a round: `loss`; `policy_loss`; `value_loss`, half the squared error of the
//! baseline in units of its scale, with importance weights; `entropy` of the first draw of a slate in nats; `ratio`, mean
//! importance weight after capping; `capped`, share of weights at the cap; `multiplier`, mean factor of the top-K
//! correction over shown items; `grad_norm` before clipping.

mod config;
mod credit;
mod objective;
#[cfg(test)]
mod tests;

pub use config::TopKReinforceConfig;
pub use credit::{importance_weight, inclusion, multiplier, slate_multiplier};

use crate::learning::{Guarded, LearningConfig, ReplayLearner, Setup};
use crate::reinforce::{SlateActor, trainer};
use objective::TopKObjective;
use retune::Result;
use retune::agent::{Actor, Agent, Learner};
use retune::env::{CandidateObs, Slate};

/// The agent.
pub struct TopKReinforceAgent {
    slate_size: usize,
    learner: Guarded<ReplayLearner<TopKObjective>>,
}

impl TopKReinforceAgent {
    /// A fresh agent.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if a setting is out of range, the memory holds less than a minibatch, or the env does
    /// not offer candidates and slates.
    pub fn new(setup: &Setup<'_>, config: &TopKReinforceConfig) -> Result<Self> {
        config.validate()?;
        config.validate_memory(setup.learning.batch_size)?;
        // Only recent experience is near enough to the policy for its weights to say something.
        let learning = LearningConfig { buffer_size: config.replay_size, ..setup.learning.clone() };
        let setup = &Setup { learning: &learning, ..*setup };
        let trainer = trainer(setup, config.interaction_decay, config.baseline_decay)?;
        let slate_size = setup.slate_size()?;
        let learner = ReplayLearner::new(TopKObjective::new(config, slate_size), trainer, setup)?;
        let learner = Guarded::new(learner, config.gamma, 1.0);
        Ok(Self { slate_size, learner })
    }
}

impl Agent<CandidateObs, Slate> for TopKReinforceAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        let scorer = self.learner.trainer().scorer().clone();
        Ok(Box::new(SlateActor::new(scorer, self.slate_size)))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}
