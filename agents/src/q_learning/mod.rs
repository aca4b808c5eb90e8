//! Q-learning over slates with a value for "nothing chosen" (SlateQ, arXiv:1905.12767). See `README.md` here.
//!
//! Metrics, means over the updates of a round: `loss`; `click_loss`, negative log-likelihood of what was chosen;
//! `td_error`, mean |target − Q| in units of the reward; `q_none`, mean Q(s, none); `q_gap`, mean
//! |Q(s, i) − Q(s, none)| over shown items; `epsilon`; `grad_norm` before clipping.

mod actor;
mod config;
pub(crate) mod loss;
mod objective;
mod values;

#[cfg(test)]
mod tests;

pub use config::{Epsilon, QLearningConfig, TargetNetwork, TdLoss};

use crate::learning::{Guarded, ModelPlan, Part, ReplayLearner, Setup, Trainer};
use actor::ValueActor;
use objective::ValueObjective;
use retune::Result;
use retune::agent::{Actor, Agent, Learner};
use retune::env::{CandidateObs, Slate};

/// What the target takes at the next state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextSlate {
    /// The slate that the rule selects under the target network: Q-learning.
    Best,
    /// The slate that was shown: SARSA.
    Shown,
}

/// Q-learning, SARSA, and either after a supervised phase.
pub struct ValueAgent {
    config: QLearningConfig,
    slate_size: usize,
    learner: Guarded<ReplayLearner<ValueObjective>>,
}

impl ValueAgent {
    /// A fresh agent; the first `supervised_steps` env steps are random and supervised.
    ///
    /// # Errors
    /// [`retune::Error::Config`] if a setting is out of range or the env does not offer candidates and slates.
    pub fn new(setup: &Setup<'_>, config: &QLearningConfig, next: NextSlate, supervised_steps: u64) -> Result<Self> {
        let plan = ModelPlan {
            towers: values::towers(setup.learning.hidden, config),
            state_outputs: 2,
            parts: &[
                Part { name: "advantage.", rate: config.value_rate, decay: None },
                Part { name: "advantage.inner.", rate: config.value_rate, decay: Some(config.interaction_decay) },
                Part { name: "state.", rate: config.value_rate, decay: Some(config.level_decay) },
            ],
        };
        let trainer = Trainer::new(setup, plan)?;
        let slate_size = setup.slate_size()?;
        let objective = ValueObjective::new(config, next, supervised_steps, slate_size, &trainer)?;
        let learner = Guarded::new(ReplayLearner::new(objective, trainer, setup)?, config.gamma, 1.0);
        Ok(Self { config: config.clone(), slate_size, learner })
    }
}

impl Agent<CandidateObs, Slate> for ValueAgent {
    fn make_actor(&self) -> Result<Box<dyn Actor<CandidateObs, Slate>>> {
        let scorer = self.learner.trainer().scorer().clone();
        Ok(Box::new(ValueActor::new(&self.config, scorer, self.slate_size)))
    }

    fn learner(&mut self) -> &mut dyn Learner<CandidateObs, Slate> {
        &mut self.learner
    }
}
